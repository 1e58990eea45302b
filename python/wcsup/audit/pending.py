"""Records of `words` read in plain Python: one word, or packed words (`rust/wire/packed.rs` has the format)."""

from collections.abc import Iterator

from wcsup import _core

_PACKED_KEY = b"\0"
_PACKED_NAMES = (b"WCSUP\0\0\x01", b"WCSUP\0\0\x02")
"""The keys of packed records with words of their own partition, and of mixed records."""


def entries(key: bytes | None, value: bytes | None) -> list[tuple[bytes, int]]:
    """Return the words of a record with their counts; no words for a record that goes to `dead-letters`."""
    if key is None or len(key) > _core.MAX_WORD_BYTES:
        return []
    if value is None:
        return [(key, 1)]
    if len(value) == 8:
        return [(key, int.from_bytes(value, "big", signed=True))]
    if key != _PACKED_KEY or not value.startswith(_PACKED_NAMES):
        return []
    try:
        return list(_unpack(memoryview(value)[len(_PACKED_NAMES[0]) :]))
    except (ValueError, IndexError):
        return []


def _unpack(rest: memoryview) -> Iterator[tuple[bytes, int]]:
    """Yield the entries; raise `ValueError` or `IndexError` where they are malformed."""
    last = None
    at = 0
    while at < len(rest):
        length, at = _number(rest, at)
        word = bytes(rest[at : at + length])
        if len(word) < length or length > _core.MAX_WORD_BYTES or (last is not None and word <= last):
            raise ValueError("not in order, or cut off")
        count, at = _number(rest, at + length)
        yield word, count
        last = word


def _number(rest: memoryview, at: int) -> tuple[int, int]:
    """Return the LEB128 number at an index, and the index behind it."""
    number = shift = 0
    while True:
        byte = rest[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            break
    if (byte == 0 and shift > 7) or number >= 1 << 63:
        raise ValueError("a number that is longer than it has to be, or too large")
    return number, at
