"""How Kafka writes requests, answers and its own records: types of the protocol guide, and compact ones (KIP-482)."""

import struct
from typing import Any

from confluent_kafka import KafkaError, KafkaException

NO_TAGS = b"\0"
"""The end of a structure without tagged fields."""


class Answer:
    """Reads an answer, or a record, from its start to its end.

    Raises `KafkaException` with `_BAD_MSG` where the answer is shorter than its length fields say.
    """

    def __init__(self, body: bytes) -> None:
        self._body, self._place = body, 0

    def take(self, form: str) -> tuple[Any, ...]:
        """Return the numbers of a `struct` format, without its byte order."""
        try:
            found = struct.unpack_from(f">{form}", self._body, self._place)
        except struct.error as error:
            raise KafkaException(KafkaError(KafkaError._BAD_MSG)) from error
        self._place += struct.calcsize(f">{form}")
        return found

    def number(self, form: str) -> int:
        """Return one number."""
        (found,) = self.take(form)
        return int(found)

    def string(self) -> str:
        """Return a text; empty where it is null."""
        return self._text(self.number("h"))

    def compact_string(self) -> str:
        """Return a text in the compact form."""
        return self._text(self._varint() - 1)

    def data(self) -> bytes:
        """Return bytes with a length before them."""
        length = max(0, self.number("i"))
        (found,) = self.take(f"{length}s")
        return bytes(found)

    def items(self) -> range:
        """Read the length of an array and return a range of it. The caller reads the items."""
        return range(self.number("i"))

    def compact_items(self) -> range:
        """Read the length of an array in the compact form and return a range of it."""
        return range(self._varint() - 1)

    def tags(self) -> None:
        """Skip the tagged fields at the end of a structure."""
        for _ in range(self._varint()):
            self._varint()
            size = self._varint()
            self._place += size

    def _text(self, length: int) -> str:
        start = self._place
        self._place += max(0, length)
        return self._body[start : self._place].decode()

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.number("B")
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number


def string(text: str) -> bytes:
    """Write a text."""
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def array(items: list[bytes]) -> bytes:
    """Write an array."""
    return struct.pack(">i", len(items)) + b"".join(items)


def compact_string(text: str) -> bytes:
    """Write a text in the compact form."""
    data = text.encode()
    return _varint(len(data) + 1) + data


def compact_array(items: list[bytes]) -> bytes:
    """Write an array in the compact form."""
    return _varint(len(items) + 1) + b"".join(items)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)
