"""The formats of `dead-letters` and `top`; those of `words` and `counts` are in the Rust core."""

import json
from dataclasses import dataclass
from hashlib import sha256

from wcsup.errors import ConfigurationError

Refused = tuple[int, int, bytes | None, bytes | None, str]
"""A record that a batch refused: partition, offset, key, value and why."""

_PACKED_KEY, _PACKED_NAME, _PACKED_VERSION = b"\0", b"WCSUP\0\0", 2
"""How packed records begin, and the newest version that the Rust core reads (`rust/wire/packed.rs`)."""

PACKED_BYTES = 64 << 10
"""Longest value of a packed record: about 5,000 words, so that the cost of a record is spread over enough words."""

LETTER_BYTES = 2_900_000
"""Largest dead letter, if the topic takes that; as wcsup makes the topic, it takes 3 MiB. A larger letter is cut."""

_RECORD_BYTES = 64
_HEADER_BYTES = 10
"""Upper bounds for the length fields and numbers of a record, and of a header."""


def refuse_newer(topic: str, refused: Refused) -> None:
    """Raise `ConfigurationError` for a packed record of a newer wcsup, which counts it: it is no dead letter."""
    partition, offset, key, value, _ = refused
    if key != _PACKED_KEY or value is None or not value.startswith(_PACKED_NAME):
        return
    version = value[len(_PACKED_NAME) :][:1]
    if version > bytes([_PACKED_VERSION]):
        raise ConfigurationError(
            f"{topic} has a record that a newer wcsup wrote (partition {partition}, offset {offset}, version "
            f"{version[0]} where this one reads {_PACKED_VERSION}): upgrade wcsup on this host. Nothing was counted "
            "wrongly: the record waits"
        )


Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that can't be processed, as it goes to `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def at(
        cls,
        place: tuple[str, int, int],
        error: str,
        key: bytes | None,
        value: bytes | None,
        limit: int = LETTER_BYTES,
    ) -> "Letter":
        """Return a dead letter of the input at `place`, or up to there. A place is a topic, a partition and an offset.

        A letter that is larger than `limit` with its headers is cut; headers have the lengths and digests of key and
        value.
        """
        topic, partition, offset = place
        headers: Headers = [
            ("topic", topic),
            ("partition", str(partition)),
            ("offset", str(offset)),
            ("error", error),
        ]
        size = len(key or b"") + len(value or b"")
        if size + _overhead(headers) > limit:
            headers.append(("cut-from-bytes", str(size)))
            for name, whole in (("key", key), ("value", value)):
                if whole is not None:
                    headers.append((f"{name}-bytes", str(len(whole))))
                    headers.append((f"{name}-sha256", sha256(whole).hexdigest()))
            room = max(0, limit - _overhead(headers))
            # The key of another program's record may be too long by itself, if the cluster lets `words` take it.
            key = key and key[:room]
            value = value and value[: room - len(key or b"")]
        return cls(key, value, headers)


def _overhead(headers: Headers) -> int:
    """Return how many bytes a record has at most besides key and value: its own fields, and headers with lengths."""
    return _RECORD_BYTES + sum(_HEADER_BYTES + len(name) + len(value or b"") for name, value in headers)


def readable(word: bytes) -> str:
    """Return a word as text; bytes that are not UTF-8 become escapes."""
    return word.decode("utf-8", "backslashreplace")


def top_record(partition: int, top: list[tuple[bytes, int]]) -> tuple[bytes, bytes]:
    """Return key and value of topic `top` for a partition of `counts`."""
    words = [[readable(word), total] for word, total in top]
    value = json.dumps({"words": words}, ensure_ascii=False, separators=(",", ":"))
    return str(partition).encode(), value.encode()
