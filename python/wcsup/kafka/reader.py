"""Reading partitions: Python serves the consumer's rebalances and errors, and Rust takes its records."""

import time

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from wcsup import _core
from wcsup.errors import RetryError
from wcsup.kafka import failures

POLL_RECORDS = 20_000
POLL_BYTES = 512 << 10
"""What one `read` takes at most: a batch is seen to be full in time, and what was read is still in a cache."""

DIVERT_SECONDS = 0.1
"""How often assigned partitions are diverted again. librdkafka undoes it when a partition's former fetcher has stopped
(`rd_kafka_toppar_fetch_stop`), which may be after it was assigned again; its records wait in its own queue then."""

Notice = tuple[KafkaError, int]
"""An error, or that a partition's end was reached, and the partition; -1 where it is of none."""


def messages(consumer: Consumer, most: int, seconds: float) -> list[Message]:
    """Return what an assigned consumer has by now, errors and ends of partitions among it; wait so long for the first.

    `consume` waits for all of its messages or its whole time-out. What concerns the group, which is none of its own, is
    left out.
    """
    first = consumer.poll(seconds)
    found = [] if first is None else [first, *consumer.consume(most, 0)]
    return [message for message in found if (error := message.error()) is None or not failures.of_a_group(error)]


def reads_on(error: KafkaError) -> bool:
    """Return whether an assigned consumer goes on by itself after an error that it tells."""
    if failures.of_a_group(error):
        return True
    return failures.meaning(error).passes and error.code() not in failures.NO_SUCH_TOPIC


class Reader:
    """A consumer whose records go to a batch in Rust by way of its inbox, none of them as a Python object."""

    def __init__(self, consumer: Consumer) -> None:
        """`consumer` is the one that this thread made last, with `_core.plugin()` among its settings."""
        self.consumer = consumer
        self.inbox = _core.Inbox.of_newest_consumer()
        self._assigned: set[tuple[str, int]] = set()
        self._divert_again = 0.0

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Assign more partitions, whose records come to the inbox."""
        self._take_on(partitions)
        self.consumer.incremental_assign(partitions)

    def assign_paused(self, partitions: list[TopicPartition]) -> None:
        """Assign more partitions, of which nothing is read until they were sought and resumed.

        An offset of their own spares librdkafka two requests, for the committed offset (again after 500 ms where a
        transaction holds it) and for the topic's start, and until both are answered it would refuse to seek.

        Partitions that were assigned before are read on at once: librdkafka pauses and resumes them for a rebalance.
        """
        kept = self._assigned.copy()
        for partition in partitions:
            partition.offset = 0
        self._take_on(partitions)  # this makes them known, so that they can be paused before they are assigned
        self.consumer.pause(partitions)
        self.consumer.incremental_assign(partitions)
        self._wake(kept)

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Read paused partitions from where they were sought."""
        self.consumer.resume(partitions)
        self._wake({(p.topic, p.partition) for p in partitions})

    def _wake(self, resumed: set[tuple[str, int]]) -> None:
        """Have partitions fetched that were resumed.

        librdkafka does not tell the thread that fetches, which sleeps for up to a second while it has nothing to fetch
        (`rd_kafka_max_block_ms`).
        """
        if resumed:
            self.inbox.wake(sorted(resumed))

    def unassign(self, partitions: list[TopicPartition]) -> None:
        """Take assigned partitions away."""
        self._assigned -= {(p.topic, p.partition) for p in partitions}
        self.consumer.incremental_unassign(partitions)

    def _take_on(self, partitions: list[TopicPartition]) -> None:
        """Divert partitions before they are assigned, so that no record comes elsewhere."""
        self._assigned |= {(p.topic, p.partition) for p in partitions}
        self._divert()

    def _divert(self) -> None:
        for topic, partition in self._assigned:
            self.inbox.divert(topic, partition)
        self._divert_again = time.monotonic() + DIVERT_SECONDS

    def read(self, seconds: float, records: int = POLL_RECORDS, size: int = POLL_BYTES) -> list[Notice]:
        """Serve the consumer's callbacks and fill the inbox; wait so long for the first of either.

        It takes so many records, and about so many bytes, at most.

        It returns for a rebalance as well as for records. Whoever calls it adds the inbox to a batch before the next.
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
        """Close the consumer; what the inbox still holds is gone."""
        self.consumer.close()
