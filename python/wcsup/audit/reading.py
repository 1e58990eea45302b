"""What an audit reads from Kafka: committed records between two offsets, and how far the groups have come."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import messages
from wcsup.pipeline.memory import Memory

_BATCH_RECORDS = 10_000
_WAIT_SECONDS = 0.2
_PAUSE_SECONDS = 0.05
HELD_SECONDS = 20.0
"""How long an open transaction may hold a reader back on top of the time that the application's own may take."""

Spans = Mapping[int, tuple[int, int]]
"""By partition, the first offset to read and the first not to."""


class HeldBackError(Exception):
    """A transaction that does not end keeps committed records from being told from those that are not."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group has come."""

    next: dict[int, int]
    """The first offset that is not committed, by partition of the input."""
    memories: list[Memory]
    """What was committed along with the offsets."""
    remade: bool
    """Whether the input was deleted and made again since: the offsets of the old one are nothing to go by."""


class Reader:
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
                    if error.fatal() or not error.retriable():
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

    def progress(self, group: str, name: str, topic_id: str, *, stable: bool = True) -> Progress:
        """Return how far a group has come in the topic of that id, once no pending transaction can change it (KIP-447).

        A transaction whose records can be read may not have moved its offsets yet: those are pending in the group's
        coordinator, and are waited for unless they need not be `stable`.
        """
        offsets: dict[int, int] = {}
        memories = []
        remade = False
        for found in self._offsets(group, name, stable=stable):
            offsets[found.partition] = max(0, found.offset)
            if found.offset >= 0 and found.metadata:
                memory = Memory(**json.loads(found.metadata))
                memories.append(memory)
                if memory.input != topic_id:
                    offsets[found.partition], remade = 0, True
        return Progress(offsets, memories, remade)

    def _offsets(self, group: str, name: str, *, stable: bool) -> list[TopicPartition]:
        request = ConsumerGroupTopicPartitions(group, self._partitions(name))
        deadline = time.monotonic() + HELD_SECONDS + self._config.transaction_timeout
        while True:
            answer = self._admin.list_consumer_group_offsets([request], require_stable=stable)[group].result()
            found: list[TopicPartition] = answer.topic_partitions
            unstable = next((p for p in found if p.error is not None), None)
            if unstable is None or unstable.error is None:
                return found
            if unstable.error.code() != KafkaError.UNSTABLE_OFFSET_COMMIT:
                raise KafkaException(unstable.error)
            if time.monotonic() > deadline:
                where = f"{unstable.topic}, partition {unstable.partition}"
                raise HeldBackError(f"a transaction that does not end holds the committed offset of {where}")
            time.sleep(_PAUSE_SECONDS)

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
