"""How transactions were decided: what their coordinators wrote to `__transaction_state`.

Only that topic has the decisions. It is compacted, so old decisions are gone; recent ones are there, since the active
segment, of up to 100 MB, is not compacted.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.kafka import clients
from wcsup.kafka.encoding import Answer
from wcsup.kafka.requests import Open, Place

STATES = "__transaction_state"
_EMPTY, _PREPARE_COMMIT, _PREPARE_ABORT, _COMPLETE_COMMIT, _COMPLETE_ABORT = 0, 2, 3, 4, 5
_BATCH_RECORDS = 10_000
_WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Decision:
    """The coordinator's decision about one transaction."""

    producer: int
    epoch: int
    commit: bool
    places: frozenset[Place]
    """The partitions that were to get its marker."""
    at: int
    """When it was decided, by the coordinator's clock, in milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Step:
    """A record of the topic: a step of a transaction, as its coordinator takes it."""

    name: str
    """The `transactional.id`."""
    producer: int
    epoch: int
    state: int
    """As Kafka numbers states (`TransactionState`)."""
    places: frozenset[Place]
    at: int
    """When it was taken, as in `Decision`."""

    @property
    def began(self) -> bool:
        """Whether a producer started under the name here, with no transaction yet."""
        return self.state == _EMPTY

    @property
    def over(self) -> bool:
        """Whether no transaction is under way: all partitions have its marker."""
        return self.state in {_EMPTY, _COMPLETE_COMMIT, _COMPLETE_ABORT}

    @property
    def decision(self) -> Decision | None:
        """The decision, if the step is one."""
        if self.state not in {_PREPARE_COMMIT, _PREPARE_ABORT}:
            return None
        return Decision(self.producer, self.epoch, self.state == _PREPARE_COMMIT, self.places, self.at)


def read(config: Config, name: str, partitions: int, alive: Callable[[], None] = lambda: None) -> list[Decision]:
    """Return all decisions about a `transactional.id` that are still known, in their order.

    `partitions` is how many `__transaction_state` has. `alive` is called during the read. Raises `KafkaException`.
    """
    found: list[Decision] = []
    with closing(clients.assigned_consumer(config, "read_uncommitted")) as consumer:
        where = TopicPartition(STATES, partition_of(name, partitions))
        start, end = consumer.get_watermark_offsets(where, timeout=clients.REACH_SECONDS)
        where.offset = start
        consumer.assign([where])
        at = start
        while at < end:
            alive()
            for message in consumer.consume(_BATCH_RECORDS, _WAIT_SECONDS):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                at = max(at, (message.offset() or 0) + (error is None))
                if error is None and (decision := _decision(name, message.key(), message.value())):
                    found.append(decision)
    return found


def decide(one: Open, first: int | None, decisions: Iterable[Decision], *, verified: bool = True) -> bool | None:
    """Return whether an open transaction of a partition was decided to commit; none where that can't be known.

    `first` is when its first record was written, in milliseconds since 1970. Without markers in between, a partition
    may have records of several transactions of one producer. A single marker ends them all, so their decisions have to
    agree. An abort that fences the producer has the next epoch (`TransactionMetadata.prepareFenceProducerEpoch`).

    Where brokers don't verify (KIP-890), a retried record may arrive after the end of its transaction, and hang: such
    as offsets that were committed already, and that the group has passed since. So without verification a decision has
    to be later than the first record. With verification, if no decision is later, the clocks of two brokers may differ,
    and the last decision is the right one.
    """
    about = [
        decision
        for decision in decisions
        if decision.producer == one.producer
        and one.place in decision.places
        and one.epoch <= decision.epoch <= one.epoch + 1
    ]
    later = [decision for decision in about if first is not None and decision.at >= first]
    if not later and not verified:
        return None
    outcomes = {decision.commit for decision in later or about[-1:]}
    return outcomes.pop() if len(outcomes) == 1 else None


def partition_of(name: str, partitions: int) -> int:
    """Return the partition of a group in `__consumer_offsets`, or of a `transactional.id` in `__transaction_state`."""
    number = 0
    units = name.encode("utf-16-be")
    for high, low in zip(units[::2], units[1::2], strict=True):
        number = (31 * number + (high << 8 | low)) & 0xFFFFFFFF  # as Java's String.hashCode
    return abs(number - (1 << 32) if number >> 31 else number) % partitions


def step(key: bytes | None, value: bytes | None) -> Step | None:
    """Read a record (`TransactionLogKey`, `TransactionLogValue` of Kafka); none where it is not about a transaction."""
    if key is None or value is None:
        return None
    answer = Answer(key)
    if answer.number("h") != 0:
        return None
    name = answer.string()
    answer = Answer(value)
    flexible = answer.number("h") > 0
    producer, epoch, _, state = answer.take("qhib")
    places: set[Place] = set()
    for _ in answer.compact_items() if flexible else answer.items():
        topic = answer.compact_string() if flexible else answer.string()
        numbers = answer.compact_items() if flexible else answer.items()
        places |= {(topic, answer.number("i")) for _ in numbers}
        if flexible:
            answer.tags()
    return Step(name, producer, epoch, state, frozenset(places), answer.number("q"))


def _decision(name: str, key: bytes | None, value: bytes | None) -> Decision | None:
    """Read a record; none where it is no decision on `name`."""
    read = step(key, value)
    return read.decision if read is not None and read.name == name else None
