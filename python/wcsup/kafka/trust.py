"""Whom wcsup's own connections trust, by librdkafka's settings for TLS."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    import ssl


def unsupported(what: str) -> KafkaException:
    """Return the error for something that only librdkafka supports."""
    return KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE, what))


def context(given: Mapping[str, object], authority: str) -> "ssl.SSLContext":
    """Return a context that verifies servers.

    `authority` is the prefix of the settings that name the certificates of the authorities: `ssl.ca` or `https.ca`.
    Without them, those of the system are trusted. Raises `KafkaException` with `_UNSUPPORTED_FEATURE` where they can't
    be loaded.
    """
    import ssl  # noqa: PLC0415 - costs a start some milliseconds, and most starts have no TLS

    location, pem = given.get(f"{authority}.location"), given.get(f"{authority}.pem")
    try:
        return ssl.create_default_context(cafile=str(location) if location else None, cadata=str(pem) if pem else None)
    except (OSError, ValueError) as error:  # of OpenSSL, too
        raise unsupported(f"the TLS settings: {error}") from error
