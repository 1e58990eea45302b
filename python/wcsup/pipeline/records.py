"""The formats of `dead-letters` and `top`; those of `words` and `counts` are in the Rust core."""

import json
from dataclasses import dataclass

Refused = tuple[int, int, bytes | None, bytes | None, str]
"""A record that a batch refused: partition, offset, key, value and why."""

PACKED_BYTES = 64 << 10
"""Longest value of many words in one record: about 5,000, so that what a record costs is spread over enough of them."""

LETTER_BYTES = 2_900_000
"""Longest value of a dead letter; what is longer is cut, which a header says. `dead-letters` takes 3 MiB."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that can't be processed, as it goes to `dead-letters`."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]

    @classmethod
    def of(cls, topic: str, refused: Refused) -> "Letter":
        """Return the dead letter of a record that a batch refused: as it was, headers say what and where."""
        partition, offset, key, value, why = refused
        return cls.at((topic, partition, offset), why, key, value)

    @classmethod
    def at(cls, place: tuple[str, int, int], error: str, key: bytes | None, value: bytes | None) -> "Letter":
        """Return a dead letter of what stands at a place, or came up to there: topic, partition, offset."""
        topic, partition, offset = place
        headers: list[tuple[str, str | bytes | None]] = [
            ("topic", topic),
            ("partition", str(partition)),
            ("offset", str(offset)),
            ("error", error),
        ]
        size = len(key or b"") + len(value or b"")
        if size > LETTER_BYTES:
            # A stranger's key may be too long by itself, where the cluster lets `words` take such records.
            headers.append(("cut-from-bytes", str(size)))
            key = key and key[:LETTER_BYTES]
            value = value and value[: LETTER_BYTES - len(key or b"")]
        return cls(key, value, headers)


def readable(word: bytes) -> str:
    """Return a word as text; bytes that are not UTF-8 become escapes."""
    return word.decode("utf-8", "backslashreplace")


def top_record(partition: int, top: list[tuple[bytes, int]]) -> tuple[bytes, bytes]:
    """Return key and value of topic `top` for a partition of `counts`."""
    words = [[readable(word), total] for word, total in top]
    value = json.dumps({"words": words}, ensure_ascii=False, separators=(",", ":"))
    return str(partition).encode(), value.encode()
