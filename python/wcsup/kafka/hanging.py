"""Transactions that were decided, and whose decision never got to a partition: they hang, and all behind them waits.

A coordinator decides a transaction, then sends a marker of the decision to each partition of it. Kafka 4.4 takes a
partition that has no leader at that moment for a deleted one and drops its marker (`TransactionMarkerChannelManager`,
with `KRaftMetadataCache.getPartitionLeaderEndpoint`): the transaction is complete for the coordinator, and in that
partition it stays open for ever. A broker that is killed and has the only copy of partitions, or the last one in sync,
leaves them without a leader until it is back; a single node, for a moment of its return. Commits hang so, and aborts of
transactions that ran into their time-out meanwhile.

What it does to an application: a group's coordinator has no stable offset to give (`UNSTABLE_OFFSET_COMMIT`), so that
workers restore without end; readers of committed records get to the first record that hangs. And worse: the producer's
next marker in that partition, be it of another epoch, ends what hangs along with its own transaction, whatever had been
decided. A commit would have an aborted batch counted twice; an abort, as the one of a question (`Transactions._ask`),
would take back offsets that were committed.

So a worker looks for what hangs of its own name before its first transaction, and again when a connection broke since
the last one (`settle`); that takes some milliseconds. What hangs is what a partition has open of a producer whose
coordinator has no such transaction any more, where the partition says so again after the coordinator did. It is ended
by the marker that it lacks (`WriteTxnMarkers`); which one that is, `__transaction_state` alone says
(`wcsup.kafka.outcomes`). Kafka's own tool, `kafka-transactions.sh abort`, writes an abort whatever was decided. What
hangs of names that nobody has any more is ended by a worker that waits for it (`wcsup.pipeline.holdup`) or by
`wcsup txn settle`.

What is left: a broker that is killed within the milliseconds between the answer to a commit and its markers, while the
same producer has begun its next transaction already and has yet to hear of the broken connection. If that one is
aborted, so is what hangs. And a user who may not read `__consumer_offsets` does not see what hangs there.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients, outcomes, topics
from wcsup.kafka.encoding import Answer
from wcsup.kafka.requests import Brokers, Layout, Open, Place, Transaction

log = logging.getLogger("wcsup.hanging")

OFFSETS = "__consumer_offsets"
_WRITTEN = [name for name in topics.NAMES if name != "lines"]
_RELIED_ON = [name for name in _WRITTEN if name not in {"top", "dead-letters"}]
"""Those of which no partition may go unseen: a record that comes twice or not at all there is a wrong total."""
FORGOTTEN_SECONDS = 1000.0
"""After so long no transaction of a producer can be running that is not seen: `transaction.max.timeout.ms` is 900 s."""
_FIRST_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_OVER = {"Empty", "CompleteCommit", "CompleteAbort", "Dead"}
"""States of a coordinator that has written, or dropped, all markers."""
PASSING = {
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""What brokers answer while leaders and coordinators move."""
_REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
RIGHTS = "it takes READ on __transaction_state and __consumer_offsets, and ALTER on the cluster"


@dataclass(frozen=True, slots=True)
class Hanging:
    """What hangs in one partition."""

    name: str | None
    """The `transactional.id` that it is of; none where no coordinator knows the producer any more."""
    open: Open
    since: float | None
    """When its first record was written, in seconds since 1970; none where that can't be read."""
    commit: bool | None
    """How it was decided; none where that can't be known."""
    replaced: bool
    """Whether another process has started under the name since: what began it can write nothing any more."""


def told(found: Iterable[Hanging]) -> list[str]:
    """Return a sentence about each transaction that hangs."""
    transactions: dict[tuple[int, int, bool | None], list[Hanging]] = {}
    for one in found:
        transactions.setdefault((one.open.producer, one.open.epoch, one.commit), []).append(one)
    return [_sentence(of) for of in transactions.values()]


def _sentence(of: list[Hanging]) -> str:
    one = of[0]
    decided = {True: "was committed", False: "was aborted", None: "was decided, nobody knows how"}[one.commit]
    since = [one.since for one in of if one.since is not None]
    when = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(min(since))) if since else ""
    by_topic: dict[str, list[int]] = {}
    for each in of:
        by_topic.setdefault(each.open.topic, []).append(each.open.partition)
    where = "; ".join(f"{topic}, partition {', '.join(map(str, sorted(ps)))}" for topic, ps in by_topic.items())
    return (
        f"a transaction of {one.name or 'a forgotten name'} (producer id {one.open.producer}, epoch {one.open.epoch}) "
        f"{decided}, and hangs"
        f"{when}, since Kafka did not tell {where}"
    )


class Examination:
    """One look at what hangs of an application, and its end.

    Raises `KafkaException` where brokers don't answer, or refuse to.
    """

    def __init__(self, config: Config, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called where it takes long."""
        self._config, self._alive = config, alive
        self._brokers = Brokers(config)
        self._layout = Layout({}, {})
        self.going_on: list[Transaction] = []
        """Transactions with records in a partition, at the last look, that are to end by themselves."""

    def close(self) -> None:
        """Close the connections."""
        self._brokers.close()

    def find(self, name: str | None = None) -> list[Hanging]:
        """Return what hangs, of one `transactional.id` or of all that are the application's."""
        self._layout = self._brokers.layout([*map(self._config.topic, _WRITTEN), OFFSETS, outcomes.STATES])
        found = self._brokers.open(self._layout, self._places(self._config.topic(one) for one in _WRITTEN))
        if not found:
            self.going_on = []
            return []
        producers = {one.producer for one in found}
        names = self._brokers.names(self._layout, producers) if name is None else {}
        transactions = self._transactions([name] if name else self._own(names))
        forgotten = producers - names.keys() if name is None else set()
        suspects = [one for one in found if one.producer in forgotten or _is_over(one, transactions.get(one.producer))]
        running = {one.producer for one in found if one not in suspects}
        self.going_on = [one for producer, one in transactions.items() if producer in running]
        again = self._brokers.open(self._layout, {one.place for one in suspects})
        still = {(one.place, one.producer, one.offset) for one in again}
        lasting = [one for one in suspects if (one.place, one.producer, one.offset) in still]
        return self._judged(lasting, transactions)

    def unseen(self) -> list[Place]:
        """Return partitions that the last look could not see because they have no leader."""
        relied_on = self._places(self._config.topic(one) for one in _RELIED_ON)
        return [place for place in relied_on if self._layout.leaders[place] < 0]

    def held(self) -> list[tuple[str, str, list[int]]]:
        """Return the groups that wait for committed offsets, with the topic and its partitions."""
        inputs = [(self._config.map_group, "lines"), (self._config.reduce_group, "words")]
        layout = self._brokers.layout([self._config.topic(name) for _, name in inputs])
        found = [(group, self._config.topic(name)) for group, name in inputs]
        waiting = [(group, topic, self._brokers.unstable(layout, group, topic)) for group, topic in found]
        return [one for one in waiting if one[2]]

    def decided(self, name: str) -> bool:
        """Return whether the coordinator is done with the last transaction of a `transactional.id`."""
        self._layout = self._brokers.layout([])
        found = self._brokers.transaction(self._layout, name)
        return found is None or found.state in _OVER

    def end(self, found: Iterable[Hanging]) -> None:
        """Write the markers that are missing.

        Raises `ConfigurationError` where one can't be known, or may not be written.
        """
        found = list(found)
        if unknown := [one for one in found if one.commit is None]:
            raise ConfigurationError(
                f"{told(unknown)[0]}. Either marker may be the wrong one, which loses or doubles counts. Where Kafka "
                f"refuses to tell how it was decided, {RIGHTS}; else decide by wcsup txn settle --as"
            )
        for commit in (True, False):
            chosen = [one for one in found if one.commit is commit]
            try:
                self._brokers.end(self._layout, [one.open for one in chosen], commit=commit)
            except KafkaException as error:
                if error.args[0].code() in _REFUSED:
                    raise ConfigurationError(f"{told(chosen)[0]}; this user may not either: {RIGHTS}") from error
                raise
            for sentence in told(chosen):
                log.warning("%s; that was made good for", sentence)

    def replace(self, name: str) -> None:
        """Start under a name for a moment, so that what has it can write nothing any more."""
        clients.transactional_producer(self._config, name).init_transactions(clients.REACH_SECONDS)

    def _places(self, names: Iterable[str]) -> list[Place]:
        """Return the partitions of topics, and those that the groups' offsets are in."""
        wanted = set(names)
        places = [place for place in self._layout.leaders if place[0] in wanted]
        if count := self._count(OFFSETS):
            places += sorted({(OFFSETS, outcomes.partition_of(group, count)) for group in self._groups()})
        return places

    def _count(self, topic: str) -> int:
        return sum(place[0] == topic for place in self._layout.leaders)

    def _transactions(self, names: Iterable[str]) -> dict[int, Transaction]:
        """Return what coordinators say of these names, by producer."""
        said = [self._brokers.transaction(self._layout, one) for one in names]
        return {one.producer: one for one in said if one is not None}

    def _own(self, names: dict[int, str]) -> list[str]:
        """Return the names that are of this application, as `StateDirectory.name` makes them."""
        own = re.compile(rf"{re.escape(self._config.app_id)}-[0-9a-f]{{8}}-(map|reduce)-.+")
        return [name for name in names.values() if own.fullmatch(name)]

    def _judged(self, lasting: list[Open], transactions: dict[int, Transaction]) -> list[Hanging]:
        """Return what hangs of what lasts, with how it was decided."""
        if not lasting:
            return []
        firsts = self._firsts(lasting)
        known: dict[str, list[outcomes.Decision]] = {}
        judged: list[Hanging] = []
        for one in lasting:
            of, first = transactions.get(one.producer), firsts.get(one.place)
            written = None if first is None else first.written
            since = None if written is None else written / 1000
            if of is None:
                if self._is_forgotten(one, first):
                    judged.append(Hanging(None, one, since, commit=None, replaced=True))
                continue
            if of.name not in known:
                known[of.name] = self._decisions(of.name)
            commit = outcomes.decide(one, written, known[of.name], verified=self._brokers.verify)
            judged.append(Hanging(of.name, one, since, commit, replaced=of.epoch > one.epoch))
        return judged

    def _is_forgotten(self, one: Open, first: "_First | None") -> bool:
        """Return whether a producer that no coordinator shows us is forgotten, and the records are the application's.

        A coordinator does not show what a user has no right to see: so it is told from a running one by its age.
        """
        if first is None or time.time() - first.written / 1000 < FORGOTTEN_SECONDS:
            return False
        return one.topic != OFFSETS or first.group in self._groups()

    def _groups(self) -> tuple[str, str]:
        return self._config.map_group, self._config.reduce_group

    def _decisions(self, name: str) -> list[outcomes.Decision]:
        try:
            return outcomes.read(self._config, name, self._count(outcomes.STATES), self._alive)
        except KafkaException as error:
            if error.args[0].code() not in _REFUSED:
                raise
            return []

    def _firsts(self, lasting: list[Open]) -> "dict[Place, _First]":
        """Return the first records of what is open, as far as they come in a moment."""
        found: dict[Place, _First] = {}
        wanted = {one.place: one.offset for one in lasting}
        with closing(clients.assigned_consumer(self._config, "read_uncommitted")) as consumer:
            consumer.assign([TopicPartition(*place, offset) for place, offset in wanted.items()])
            deadline = time.monotonic() + _FIRST_SECONDS
            while wanted.keys() - found.keys() and time.monotonic() < deadline:
                self._alive()
                message = consumer.poll(_PAUSE_SECONDS)
                if message is None or message.error() is not None:
                    continue
                place = message.topic() or "", message.partition() or 0
                if message.offset() == wanted.get(place):
                    found[place] = _First(message.timestamp()[1], message.key() or b"")
                    consumer.incremental_unassign([TopicPartition(*place)])
        return found


def _is_over(one: Open, of: Transaction | None) -> bool:
    """Return whether a coordinator has no transaction with records there."""
    return of is not None and (of.state in _OVER or one.place not in of.places)


def settle(config: Config, name: str, alive: Callable[[], None]) -> bool:
    """End what hangs of a `transactional.id` that is the caller's, who has no transaction open.

    Returns false where it is to be called again, since the last transaction is not over yet or a partition has no
    leader and can't be looked at. Raises `KafkaException` where brokers don't answer, and `ConfigurationError` where
    something hangs that can't be ended.
    """
    with closing(Examination(config, alive)) as examination:
        if not examination.decided(name):
            return False
        examination.end(examination.find(name))
        if unseen := examination.unseen():
            log.debug("%s, partition %d has no leader", *unseen[0])
        return not unseen


@dataclass(frozen=True, slots=True)
class _First:
    """The first record of something that is open."""

    written: int
    """When, in milliseconds since 1970."""
    key: bytes

    @property
    def group(self) -> str | None:
        """The group whose offset it is, where it is a record of `__consumer_offsets` (`OffsetCommitKey` of Kafka)."""
        key = Answer(self.key)
        return key.string() if key.number("h") <= 1 else None
