"""The formats of `dead-letters` and `top`; those of `words` and `counts` are in the Rust core."""

import json
from dataclasses import dataclass
from hashlib import sha256

Refused = tuple[int, int, bytes | None, bytes | None, str]
"""A record that a batch refused: partition, offset, key, value and why."""

PACKED_BYTES = 64 << 10
"""Longest value of many words in one record: about 5,000, so that what a record costs is spread over enough of them."""

LETTER_BYTES = 2_900_000
"""Largest dead letter, where the topic takes that; it takes 3 MiB as wcsup makes it. What is larger is cut."""

_RECORD_BYTES = 64
_HEADER_BYTES = 10
"""The most that lengths and numbers take in a record, and in a header."""

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
        """Return a dead letter of what stands at a place, or came up to there: topic, partition, offset.

        What is larger than `limit` with its headers is cut; headers say how long key and value were, and their digests.
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
            # A stranger's key may be too long by itself, where the cluster lets `words` take such records.
            key = key and key[:room]
            value = value and value[: room - len(key or b"")]
        return cls(key, value, headers)


def _overhead(headers: Headers) -> int:
    """Return how many bytes a record has at most beside key and value: its own fields, and headers with lengths."""
    return _RECORD_BYTES + sum(_HEADER_BYTES + len(name) + len(value or b"") for name, value in headers)


def readable(word: bytes) -> str:
    """Return a word as text; bytes that are not UTF-8 become escapes."""
    return word.decode("utf-8", "backslashreplace")


def top_record(partition: int, top: list[tuple[bytes, int]]) -> tuple[bytes, bytes]:
    """Return key and value of topic `top` for a partition of `counts`."""
    words = [[readable(word), total] for word, total in top]
    value = json.dumps({"words": words}, ensure_ascii=False, separators=(",", ":"))
    return str(partition).encode(), value.encode()
