"""What an audit reads from Kafka: committed records between two offsets, and the progress of the groups."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError
from wcsup.kafka import clients, failures, groups, positions, topics
from wcsup.kafka.positions import Position
from wcsup.kafka.reader import messages, reads_on

_BATCH_RECORDS = 10_000
_WAIT_SECONDS = 0.2
_STABLE_SECONDS = 0.5
"""How long one request for stable offsets waits for pending transactions."""
HELD_SECONDS = 20.0
"""How much longer than the application's transaction time-out an open transaction may hold a reader back."""

Spans = Mapping[int, tuple[int, int]]
"""For each partition the first offset to read, and the offset before which to stop."""


class HeldBackError(Exception):
    """A transaction does not end, and holds back the reader of committed records."""


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """The progress of a group."""

    next: dict[int, int]
    """The first uncommitted offset of each partition of the input."""
    positions: list[Position]
    """The positions in the metadata of the committed offsets."""
    by_others: dict[int, int]
    """Offsets that somebody else set for the group, by partition, where they differ from the position of counting."""
    forgotten: int
    """For how many counted partitions Kafka has deleted the group's offset."""
    remade: bool
    """Whether the input was deleted and made again since: then the old offsets mean nothing."""


class TopicReader:
    """Reads committed records of an application's topics, or all records."""

    def __init__(self, config: Config, admin: AdminClient, isolation: clients.Isolation = clients.COMMITTED) -> None:
        self._config = config
        self._admin = admin
        self._consumer = clients.assigned_consumer(config, isolation)
        with suppress(KafkaException):
            # librdkafka looks for the leaders of topics that are new to a client once a second. It takes them from its
            # cache where it has them.
            self._consumer.list_topics(timeout=clients.REACH_SECONDS)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def read(self, name: str, spans: Spans) -> Iterator[list[Message]]:
        """Yield the records of spans of a topic, given by its plain name, as `read_topic` does."""
        yield from self.read_topic(self._config.topic(name), spans)

    def read_topic(self, topic: str, spans: Spans) -> Iterator[list[Message]]:
        """Yield the records of spans of a topic, in the order of each partition.

        Ends when every partition is read to the end of its span. The consumer's position tells that, since control
        records and compaction leave gaps. Raises `HeldBackError` where an open transaction holds the reader back.
        """
        waiting = {p: end for p, (start, end) in spans.items() if start < end}
        if not waiting:
            return
        self._consumer.assign([TopicPartition(topic, p, spans[p][0]) for p in waiting])
        heard = time.monotonic()
        while waiting:
            came = messages(self._consumer, _BATCH_RECORDS, _WAIT_SECONDS)
            found: list[Message] = []
            for message in came:
                partition = message.partition() or 0
                offset = message.offset() or 0
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    if not reads_on(error):
                        raise KafkaException(error)
                    continue
                end = waiting.get(partition)
                if end is None:
                    continue
                if error is None and offset < end:
                    found.append(message)
                    offset += 1
                if offset >= end:
                    del waiting[partition]
                    # Not `pause`: the partition would still be paused when it is assigned again.
                    self._consumer.incremental_unassign([TopicPartition(topic, partition)])
            if came:
                heard = time.monotonic()
            elif time.monotonic() - heard > HELD_SECONDS + self._config.transaction_timeout:
                self._explain(topic, waiting)
            yield found

    def _explain(self, topic: str, waiting: Mapping[int, int]) -> None:
        """Raise an error that says what holds the reader back from the end of its spans."""
        partitions = [TopicPartition(topic, p) for p in waiting]
        try:
            stable = topics.stable_ends(self._admin, partitions)
        except KafkaException:
            stable = {}
        held = [p for p, end in waiting.items() if stable.get((topic, p), end) < end]
        if not held:
            raise BrokerUnreachableError(f"{topic} can't be read to its end: the brokers fell silent")
        first = held[0]
        raise HeldBackError(
            f"an open transaction holds readers of {topic} back at partition {first}, offset {stable[topic, first]}; "
            "wcsup doctor lists them"
        )

    def progress(self, stage: str, topic_id: str, *, stable: bool = True) -> GroupProgress:
        """Return a stage's progress in the topic of that id, once no pending transaction can change it (KIP-447).

        `stage` is the topic's plain name. When the records of a transaction can be read, its offsets may still be
        pending in the group's coordinator: with `stable` this waits for them. If the group has no offset any more, or
        one that somebody else set, the topic `positions` has the progress.
        """
        found = self._offsets(positions.group(self._config, stage), stage, stable=stable)
        doubtful = any(not positions.is_own(one) for one in found)
        said = positions.recorded(self._config, self._admin) if doubtful else positions.Recorded()
        progress = GroupProgress({}, [], remade=False, by_others={}, forgotten=0)
        for one in found:
            own = Position.read(one.metadata) if positions.is_own(one) and one.metadata else None
            position = own or said.of(stage, one.partition, topic_id)
            offset = one.offset if own is not None or position is None else position.offset or 0
            if position is not None:
                progress.positions.append(position)
                if position.input != topic_id:
                    offset = 0
                    progress = replace(progress, remade=True)
            progress.next[one.partition] = max(0, offset)
            if one.offset < 0 and position is not None:
                progress = replace(progress, forgotten=progress.forgotten + 1)
            if one.offset >= 0 and own is None and one.offset != offset:
                progress.by_others[one.partition] = one.offset
        return progress

    def _offsets(self, group: str, name: str, *, stable: bool) -> list[TopicPartition]:
        topic = self._config.topic(name)
        if not stable:
            return groups.offsets(self._config, group, topic, self._config.partitions)
        deadline = time.monotonic() + HELD_SECONDS + self._config.transaction_timeout
        while (found := self._stable(group, self._partitions(name))) is None:
            if time.monotonic() > deadline:
                groups.offsets(self._config, group, topic, self._config.partitions)  # raises where brokers are silent
                held = [p for p in self._partitions(name) if self._stable(group, [p]) is None]
                raise HeldBackError(
                    f"a transaction that does not end holds the committed offset of {topic}, partition "
                    f"{', '.join(str(p.partition) for p in held)}; wcsup doctor says which it is"
                )
        return found

    def _stable(self, group: str, partitions: list[TopicPartition]) -> list[TopicPartition] | None:
        """Return a group's stable offsets; none while a transaction is pending, or where they can't be read now."""
        try:
            found = clients.offsets_reader(self._config, group, clients.COMMITTED).committed(
                partitions, _STABLE_SECONDS
            )
        except KafkaException as error:
            if failures.meaning(failures.of(error)).passes:
                return None
            raise
        return None if any(p.error is not None for p in found) else found

    def starts(self, name: str) -> dict[int, int]:
        """Return the start of the log, by partition."""
        return self._by_partition(topics.starts(self._admin, self._partitions(name)))

    def ends(self, name: str) -> dict[int, int]:
        """Return the high watermark, by partition."""
        return self._by_partition(topics.ends(self._admin, self._partitions(name)))

    def _partitions(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(self._config.topic(name), p) for p in range(self._config.partitions)]

    @staticmethod
    def _by_partition(offsets: dict[tuple[str, int], int]) -> dict[int, int]:
        return {partition: offset for (_, partition), offset in offsets.items()}
