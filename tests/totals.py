"""Totals for a store, without a reducer and its Kafka."""

from typing import cast

from confluent_kafka import Message

from wcsup import _core


def totals(words: dict[bytes, int]) -> _core.Totals:
    """Return totals as a reducer would write them."""
    batch = _core.Aggregator()
    batch.own(0, 0)
    batch.add([cast("Message", _Message(number, *pair)) for number, pair in enumerate(words.items())])
    return batch.totals(0, [None] * len(words))


class _Message:
    """What `Aggregator.add` asks of a message."""

    def __init__(self, offset: int, word: bytes, count: int) -> None:
        self.parts = (offset, word, count.to_bytes(8, "big"))

    def topic(self) -> str:
        return "words"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.parts[0]

    def key(self) -> bytes:
        return self.parts[1]

    def value(self) -> bytes:
        return self.parts[2]

    def error(self) -> None:
        return None
