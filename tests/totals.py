"""Totals and records of the Rust core, without Kafka."""

from wcsup import _core


def eight(number: int) -> bytes:
    """Return a number as the topics and the stores have it."""
    return number.to_bytes(8, "big", signed=True)


def placed(records: _core.Records) -> list[tuple[int, bytes, bytes]]:
    """Return partitions, keys and values of records."""
    return [records[place] for place in range(len(records))]


def listed(records: _core.Records) -> list[tuple[bytes, bytes]]:
    """Return keys and values of records."""
    return [(key, value) for _, key, value in placed(records)]


def totals(words: dict[bytes, int]) -> _core.Totals:
    """Return totals as a reducer would write them."""
    batch = _core.Aggregator(1)
    batch.own(0, 0)
    batch.add(_core.Inbox((0, offset, word, eight(count)) for offset, (word, count) in enumerate(words.items())))
    return batch.totals(0, [None] * len(words))
