"""Reading partitions: Python handles the consumer's rebalances and errors, Rust takes its records."""

import time
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from wcsup import _core
from wcsup.errors import RetryError
from wcsup.kafka import failures

POLL_RECORDS = 20_000
POLL_BYTES = 512 << 10
"""The most that one `read` takes: a full batch is noticed in time, and records are counted while they are in a CPU
cache."""

DIVERT_SECONDS = 0.1
"""How often assigned partitions are diverted to the inbox again. librdkafka undoes the diversion when a partition's
former fetcher has stopped (`rd_kafka_toppar_fetch_stop`), which may be after a new assignment; the partition's records
then wait in its own queue."""

_PART_RECORDS = 100
_PART_SECONDS = 0.1
_PATIENCE_SECONDS = 30.0

Notice = tuple[KafkaError, int]
"""An error, or the end of a partition, and the partition; -1 where the error is not of one partition."""


def messages(consumer: Consumer, most: int, seconds: float) -> list[Message]:
    """Return the messages that an assigned consumer has now, with errors and ends of partitions.

    Waits up to `seconds` for the first one; `consume` alone would wait for all messages or its whole time-out. Errors
    of the group are left out, since an assigned consumer never joins it.
    """
    first = consumer.poll(seconds)
    found = [] if first is None else [first, *consumer.consume(most, 0)]
    return [message for message in found if (error := message.error()) is None or not failures.of_a_group(error)]


def reads_on(error: KafkaError) -> bool:
    """Return whether an assigned consumer goes on by itself after it has reported this error."""
    if failures.of_a_group(error):
        return True
    return failures.meaning(error).passes and error.code() not in failures.NO_SUCH_TOPIC


def read_partition(consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[Message]:
    """Yield the committed records of a partition from its start up to the offset `end`.

    Raises `RetryError` where an open transaction holds them back for long.
    """
    if not end:
        return
    consumer.assign([TopicPartition(topic, partition, 0)])
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        for message in messages(consumer, _PART_RECORDS, _PART_SECONDS):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                if (message.offset() or 0) >= end:
                    return
            elif not reads_on(error):
                raise KafkaException(error)
        if time.monotonic() > deadline:
            raise RetryError(
                f"partition {partition} of {topic} can't be read to its end: a transaction stays open; wcsup doctor "
                "lists it"
            )


class Reader:
    """A consumer whose records go through an inbox to a batch in Rust, without a Python object for each."""

    def __init__(self, consumer: Consumer) -> None:
        """`consumer` has to be the last one that this thread made, with `_core.plugin()` among its settings."""
        self.consumer = consumer
        self.inbox = _core.Inbox.of_newest_consumer()
        self._assigned: set[tuple[str, int]] = set()
        self._divert_again = 0.0

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Assign more partitions; their records come to the inbox."""
        self._take_on(partitions)
        self.consumer.incremental_assign(partitions)

    def assign_paused(self, partitions: list[TopicPartition]) -> None:
        """Assign more partitions, which are not read until the caller has sought and resumed them.

        They are assigned with offset 0. Without an offset librdkafka would request the committed offset (again after
        500 ms where a transaction holds it) and the start of the log, and refuse to seek until both are answered.

        librdkafka pauses and resumes the partitions that were assigned before, for the rebalance; they are read on at
        once.
        """
        kept = self._assigned.copy()
        for partition in partitions:
            partition.offset = 0
        self._take_on(partitions)  # this makes librdkafka know them, so that they can be paused before the assignment
        self.consumer.pause(partitions)
        self.consumer.incremental_assign(partitions)
        self._wake(kept)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Read paused partitions from the offsets that they were sought to."""
        self.consumer.resume(partitions)
        self._wake({(p.topic, p.partition) for p in partitions})

    def _wake(self, resumed: set[tuple[str, int]]) -> None:
        """Have resumed partitions fetched at once.

        librdkafka does not wake its fetching thread, which sleeps for up to a second while it has nothing to fetch
        (`rd_kafka_max_block_ms`).
        """
        if resumed:
            self.inbox.wake(sorted(resumed))

    def unassign(self, partitions: list[TopicPartition]) -> None:
        """Unassign partitions."""
        self._assigned -= {(p.topic, p.partition) for p in partitions}
        self.consumer.incremental_unassign(partitions)

    def _take_on(self, partitions: list[TopicPartition]) -> None:
        """Divert partitions before they are assigned, so that all of their records come to the inbox."""
        self._assigned |= {(p.topic, p.partition) for p in partitions}
        self._divert()

    def _divert(self) -> None:
        for topic, partition in self._assigned:
            self.inbox.divert(topic, partition)
        self._divert_again = time.monotonic() + DIVERT_SECONDS

    def read(self, seconds: float, records: int = POLL_RECORDS, size: int = POLL_BYTES) -> list[Notice]:
        """Run the consumer's callbacks and fill the inbox; wait up to `seconds` for the first of either.

        Takes at most `records` records and about `size` bytes. Returns for a rebalance as well as for records. The
        caller has to add the inbox to a batch before the next `read`.
        """
        self.inbox.wait(seconds)
        notices = []
        while (message := self.consumer.poll(0)) is not None:
            error = message.error()
            if error is None:
                raise RetryError(f"a record of {message.topic()}, partition {message.partition()}, was not diverted")
            notices.append((error, -1))
        if time.monotonic() >= self._divert_again:
            self._divert()
        for code, partition, text in self.inbox.take(records, size):
            notices.append((KafkaError(code, text), partition))
        return notices

    def close(self) -> None:
        """Close the consumer and drop the inbox."""
        self.consumer.close()
