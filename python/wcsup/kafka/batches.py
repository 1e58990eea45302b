"""Record batches as brokers keep them: who wrote each one, in which order, and where transactions end.

librdkafka hides all of that from its users. Batches are read from the broker's answer to a Fetch request, of version 2
of the format (Kafka 0.11, KIP-98). Only headers are read, which are not compressed; a marker's record is not, either.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct(">qiibIhiqqqhii")
_BEFORE_LENGTH = 12
"""Bytes of a batch that its length does not count: the offset and the length itself."""
_FORMAT = 2
_TRANSACTIONAL, _CONTROL = 0x10, 0x20
_ABORT, _COMMIT = 0, 1
"""Types of control records."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """The header of a batch."""

    offset: int
    """Offset of the first record; it stays when compaction takes that record away."""
    last: int
    """Offset of the last one, which stays as well."""
    records: int
    """How many records are left in it."""
    producer: int = -1
    """The producer's id; -1 where the producer is neither idempotent nor transactional."""
    epoch: int = -1
    sequence: int = -1
    """The sequence number of the first record; -1 as above, and for markers."""
    transactional: bool = False
    commit: bool | None = None
    """For a marker of a transaction's end: whether it says commit or abort. None for records."""

    @property
    def marker(self) -> bool:
        """Whether this is the end of a transaction."""
        return self.commit is not None


def batches(data: bytes) -> Iterator[RecordBatch]:
    """Yield the batches of a partition in an answer; the last one, which may be cut off, is left out.

    Batches of formats before version 2 are left out: brokers of Kafka 4 keep none.
    """
    at = 0
    while at + _HEADER.size <= len(data):
        offset, length, _, form, _, attributes, delta, _, _, producer, epoch, sequence, records = _HEADER.unpack_from(
            data, at
        )
        end = at + _BEFORE_LENGTH + length
        if end > len(data):
            return
        if form == _FORMAT:
            kind = _control(data, at + _HEADER.size) if attributes & _CONTROL and records else None
            commit = {_ABORT: False, _COMMIT: True}.get(kind) if kind is not None else None
            yield RecordBatch(
                offset,
                offset + delta,
                records,
                producer,
                epoch,
                sequence,
                transactional=bool(attributes & _TRANSACTIONAL),
                commit=commit,
            )
        at = end


def _control(data: bytes, at: int) -> int:
    """Return the type of the control record at an index: it is in the key, behind the key's version."""
    _, at = _varint(data, at)  # length
    at += 1  # attributes
    for _ in range(3):  # times, offset, length of the key
        _, at = _varint(data, at)
    _, kind = struct.unpack_from(">hh", data, at)
    return int(kind)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at an index as it is encoded, and the index behind it."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return number, at
