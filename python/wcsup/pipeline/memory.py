"""What an application remembers in Kafka, beside its committed offsets: their metadata.

The offsets of a group are only right together with the topics that they were committed for. Their metadata
says which: so a topic that was deleted and made again, and a worker that was started with another word
rule, are seen by any worker on any host.
"""

import json
import logging
from dataclasses import asdict, dataclass
from functools import cache

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from wcsup.errors import ConfigurationError
from wcsup.kafka.watch import COUNTS_LOST

log = logging.getLogger("wcsup.offsets")

_WAIT_SECONDS = 0.2
"""How long one question for stable offsets may keep the work loop waiting; it asks again."""

_NOT_YET = {
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._WAIT_COORD,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError.REQUEST_TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Memory:
    """The metadata of each committed offset."""

    words: str
    """The word rule."""
    input: str
    """Topic id of the input that the offset is of."""
    counts: str | None = None
    """Reducer: topic id of `counts`, which has the totals below the offset."""

    def commit(self, topic: str, offsets: list[tuple[int, int]]) -> list[TopicPartition]:
        """Return (partition, next offset) as they are sent to a transaction."""
        text = _text(self)
        return [TopicPartition(topic, partition, offset, text) for partition, offset in offsets]

    def committed(self, consumer: Consumer, topic: str, partitions: list[int]) -> dict[int, int] | None:
        """Return by partition the offset to go on from, 0 where nothing was committed.

        Not `OFFSET_BEGINNING`: librdkafka resolves it by a request that costs half a second, and where 0 is gone
        `auto.offset.reset` finds the start.

        Waits for pending transactions (KIP-447); None where that takes longer than a moment.
        Raises `ConfigurationError` where the application was started with other words or lost its `counts`.
        """
        try:
            found = consumer.committed([TopicPartition(topic, p) for p in partitions], _WAIT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() in _NOT_YET:
                return None
            raise
        if any(p.error is not None for p in found):
            return None
        return {p.partition: self._start(p) for p in found}

    def _start(self, found: TopicPartition) -> int:
        if found.offset < 0:
            return 0
        if not found.metadata:
            return found.offset
        then = Memory(**json.loads(found.metadata))
        if then.words != self.words:
            raise ConfigurationError(
                f"this application counts {then.words} words and was started with --words {self.words}; "
                "use the same rule, another --app-id with another --topic-prefix, or start over with wcsup del"
            )
        if then.counts != self.counts:
            raise ConfigurationError(COUNTS_LOST)
        if then.input != self.input:
            log.warning("topic %s was made again: partition %d is read from its start", found.topic, found.partition)
            return 0
        return found.offset


@cache
def _text(memory: Memory) -> str:
    return json.dumps(asdict(memory), separators=(",", ":"))
