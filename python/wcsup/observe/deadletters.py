"""The newest records of `dead-letters`, to look at: what could not be counted, where it stood, and why."""

import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError
from wcsup.kafka import clients, failures, topics
from wcsup.kafka.reader import messages, reads_on
from wcsup.process.printable import printable
from wcsup.process.times import utc

MOST = 100
"""How many are read at most."""
_SHOWN_BYTES = 256
"""How many bytes of a key or value are shown."""
_BATCH_RECORDS = 20
_WAIT_SECONDS = 0.2
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Bytes as a person can look at them."""

    text: str
    """The first bytes as text: controls, and bytes that are no UTF-8, are escapes."""
    size: int
    """How many bytes there are in all."""
    cut: bool
    """Whether the text has only the first of them."""

    @classmethod
    def of(cls, whole: bytes | None) -> Self | None:
        """Return what is shown of bytes; none for none."""
        if whole is None:
            return None
        text = whole[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
        return cls(printable(text), len(whole), len(whole) > _SHOWN_BYTES)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record of the topic."""

    partition: int
    offset: int
    """Where it is in `dead-letters`."""
    time: str | None
    """When it was written, as ISO 8601 in UTC."""
    topic: str | None
    """The topic that the record was read from, its place there, and why it could not be counted, as headers say."""
    of_partition: int | None
    of_offset: int | None
    error: str | None
    key: Excerpt | None
    value: Excerpt | None

    @classmethod
    def read(cls, message: Message) -> Self:
        """Return what a message says. Somebody else may have written it: nothing is sure to be there."""
        headers: dict[str, str | bytes | None] = dict(message.headers() or ())

        def text(name: str) -> str | None:
            excerpt = Excerpt.of(_bytes(headers.get(name)))
            return excerpt.text if excerpt else None

        def number(name: str) -> int | None:
            value = _bytes(headers.get(name)) or b""
            return int(value) if value.isdigit() and len(value) < 20 else None

        kind, at = message.timestamp()
        return cls(
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            time=utc(at / 1000) if kind and 0 <= at < 1 << 47 else None,
            topic=text("topic"),
            of_partition=number("partition"),
            of_offset=number("offset"),
            error=text("error"),
            key=Excerpt.of(message.key()),
            value=Excerpt.of(message.value()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object that `GET /dead-letters.json` lists."""
        return asdict(self)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def newest(config: Config, limit: int) -> list[DeadLetter]:
    """Return the newest committed dead letters, the newest one first; raise `KafkaException` where they can't be read.

    A transaction's markers take offsets, too: with a limit below `MOST` there may be fewer letters than it says.
    """
    topic = config.topic("dead-letters")
    with closing(clients.assigned_consumer(config)) as consumer:
        listed = clients.unreachable(config, lambda: consumer.list_topics(topic, timeout=clients.REACH_SECONDS))
        found = listed.topics[topic]
        if found.error is not None:
            if found.error.code() in failures.NO_SUCH_TOPIC:
                return []
            raise KafkaException(found.error)
        wanted = [TopicPartition(topic, partition) for partition in found.partitions]
        admin = clients.admin(config)
        starts, ends = topics.starts(admin, wanted), topics.stable_ends(admin, wanted)
        begin = [TopicPartition(topic, p, max(starts[topic, p], ends[topic, p] - 2 * limit)) for p in found.partitions]
        some = [one for one in begin if one.offset < ends[topic, one.partition]]
        letters = ((-_written(message), next(_numbers), DeadLetter.read(message)) for message in _read(consumer, some))
        return [letter for _, _, letter in heapq.nsmallest(limit, letters)]


_numbers = itertools.count()
"""Of two letters of one moment, the one that was read first comes first: letters can't be compared."""


def _written(message: Message) -> int:
    return message.timestamp()[1]


def _read(consumer: Consumer, begin: list[TopicPartition]) -> Iterator[Message]:
    """Yield the records of partitions up to their ends."""
    consumer.assign(begin)
    waiting = {one.partition for one in begin}
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while waiting:
        if time.monotonic() > deadline:
            raise BrokerUnreachableError("dead-letters can't be read to its end: the brokers are slow or silent")
        for message in messages(consumer, _BATCH_RECORDS, _WAIT_SECONDS):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition() or 0)
            elif not reads_on(error):
                raise KafkaException(error)
