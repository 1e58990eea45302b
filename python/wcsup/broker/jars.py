"""Kafka's jars: kept in the user's cache, and verified before every use."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wcsup.broker.locking import exclusive
from wcsup.broker.pinned import KAFKA_VERSION, Jar, locked
from wcsup.errors import ConfigurationError


def cache_home() -> Path:
    """Return wcsup's cache folder under XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wcsup" / f"kafka-{KAFKA_VERSION}"


def fetch(*, quiet: bool = False) -> list[Path]:
    """Return the class path, after fetching jars that are missing or damaged in the cache.

    Every jar is hashed on every call: 30 ms for 45 MB, and only the start of a broker calls it.
    Raises ConfigurationError where jgo or a writable cache is missing, BrokerUnreachableError where a jar is
    neither in the local Maven repository nor to be had from Maven Central.
    """
    home = cache_home()
    if _absent(home):
        try:
            home.mkdir(parents=True, exist_ok=True)
            with exclusive(home / "fetch.lock"):
                if absent := _absent(home):  # another process may have fetched the jars during the wait
                    from wcsup.broker import maven

                    maven.download(absent, home, title=f"Apache Kafka {KAFKA_VERSION}", quiet=quiet)
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep Kafka's jars in {error.filename or home} ({error.strerror}): "
                "set XDG_CACHE_HOME to a folder that has room and can be written"
            ) from error
    return [home / jar.filename for jar in locked()]


def _absent(home: Path) -> list[Jar]:
    jars = locked()
    with ThreadPoolExecutor(2) as pool:
        present = pool.map(lambda jar: jar.is_at(home / jar.filename), jars)
        return [jar for jar, there in zip(jars, present, strict=True) if not there]
