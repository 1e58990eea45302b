"""What an audit reads from Kafka: committed records between two offsets, and how far the groups have come."""

import time
from collections.abc import Iterator, Mapping
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
"""How long one question for stable offsets waits for transactions."""
HELD_SECONDS = 20.0
"""How long an open transaction may hold a reader back on top of the time that the application's own may take."""

Spans = Mapping[int, tuple[int, int]]
"""By partition, the first offset to read and the first not to."""


class HeldBackError(Exception):
    """A transaction that does not end keeps committed records from being told from those that are not."""


@dataclass(frozen=True, slots=True)
class GroupProgress:
    """How far a group has come."""

    next: dict[int, int]
    """The first offset that is not committed, by partition of the input."""
    positions: list[Position]
    """What was committed along with the offsets."""
    by_others: dict[int, int]
    """Offsets that somebody else set for the group, by partition: where they differ, they are not where counting is."""
    forgotten: int
    """How many offsets the group has no more, of partitions that were counted."""
    remade: bool
    """Whether the input was deleted and made again since: the offsets of the old one are nothing to go by."""


class TopicReader:
    """Reads committed records of an application's topics."""

    def __init__(self, config: Config, admin: AdminClient) -> None:
        self._config = config
        self._admin = admin
        self._consumer = clients.assigned_consumer(config)

    def close(self) -> None:
        """Let go of the client."""
        self._consumer.close()

    def read(self, name: str, spans: Spans) -> Iterator[list[Message]]:
        """Yield the committed records of spans of a topic, in the order of each partition.

        Ends where every partition was read to the end of its span: control records and what compaction took away
        leave gaps, so it is known by the position. Raises `HeldBackError` where an open transaction is in the way.
        """
        topic = self._config.topic(name)
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
                    # Not `pause`, which would still hold when the partition is assigned again.
                    self._consumer.incremental_unassign([TopicPartition(topic, partition)])
            if came:
                heard = time.monotonic()
            elif time.monotonic() - heard > HELD_SECONDS + self._config.transaction_timeout:
                self._explain(topic, waiting)
            yield found

    def _explain(self, topic: str, waiting: Mapping[int, int]) -> None:
        """Raise what keeps a reader from the end of its spans."""
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
        """Return how far a stage has come in the topic of that id, once no pending transaction can change it (KIP-447).

        `stage` is the topic's plain name. A transaction whose records can be read may not have moved its offsets yet:
        those are pending in the group's coordinator, and are waited for unless they need not be `stable`. Where the
        group has no offset any more, or one that somebody else set, the topic `positions` says how far it is.
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
        """Return the offsets of a group; none where they are about to be changed, or can't be known right now."""
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
        """Return the first offset that is still there, by partition."""
        return self._by_partition(topics.starts(self._admin, self._partitions(name)))

    def ends(self, name: str) -> dict[int, int]:
        """Return the end by partition, behind committed and uncommitted records alike."""
        return self._by_partition(topics.ends(self._admin, self._partitions(name)))

    def _partitions(self, name: str) -> list[TopicPartition]:
        return [TopicPartition(self._config.topic(name), p) for p in range(self._config.partitions)]

    @staticmethod
    def _by_partition(offsets: dict[tuple[str, int], int]) -> dict[int, int]:
        return {partition: offset for (_, partition), offset in offsets.items()}
