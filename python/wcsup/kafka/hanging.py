"""Hanging transactions: decided by the coordinator, but a partition never got the marker, and holds readers back.

A coordinator decides a transaction, then sends a marker of the decision to each of its partitions. Kafka 4.4 takes a
partition that has no leader at that moment for a deleted one and drops its marker (`TransactionMarkerChannelManager`,
with `KRaftMetadataCache.getPartitionLeaderEndpoint`). The transaction is complete for the coordinator, and stays open
in that partition for ever. Partitions are without a leader while the broker with their only copy, or their last in-sync
one, is down; on a single node, for a moment of its restart. Commits hang that way, and aborts of transactions that
timed out meanwhile.

An application is affected in three ways. Its groups' coordinators have no stable offset (`UNSTABLE_OFFSET_COMMIT`), so
workers never finish opening partitions. The last stable offset stands still, so readers of committed records stop
there. Worst, the producer's next marker in that partition, even of another epoch, also ends the hanging transaction,
whatever had been decided. If that marker is a commit, an aborted batch is counted twice. If it is an abort, such as
that of `Transactions._ask`, committed offsets are taken back.

So a worker looks for hanging transactions of its own name before its first transaction, and after each broken
connection (`settle`); a look takes some milliseconds. A transaction hangs if a partition has it open, its coordinator
does not have it any more, and the partition, asked again, still has it open. It is ended by writing the missing marker
(`WriteTxnMarkers`). Only `__transaction_state` says whether that is a commit or an abort (`wcsup.kafka.outcomes`);
Kafka's own tool, `kafka-transactions.sh abort`, always writes an abort. Abandoned names, which no process has any more,
are settled by a worker that their transactions hold up (`wcsup.pipeline.holdup`) or by `wcsup txn settle`.

Two gaps are left. First: a broker is killed in the milliseconds between the answer to a commit and its markers, when
the same producer has already begun its next transaction and does not know of the broken connection yet. If the next
transaction is aborted, so is the hanging one. Second: a user who may not read `__consumer_offsets` does not see hanging
transactions there.
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
"""Topics of which every partition has to be examined: a record there twice or not at all makes a total wrong."""
FORGOTTEN_SECONDS = 1000.0
"""A transaction open for longer than this can't be a running one: `transaction.max.timeout.ms` is 900 s."""
_FIRST_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_OVER = {"Empty", "CompleteCommit", "CompleteAbort", "Dead"}
"""States of a transaction whose markers the coordinator has written, or dropped."""
PASSING = {
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
"""Errors that brokers answer while leaders and coordinators move."""
REFUSED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
"""Errors that brokers answer where a right is missing."""
RIGHTS = "it takes READ on __transaction_state and __consumer_offsets, and ALTER on the cluster"


@dataclass(frozen=True, slots=True)
class Hanging:
    """A transaction that hangs in one partition."""

    name: str | None
    """Its `transactional.id`; none where no coordinator knows the producer any more."""
    open: Open
    since: float | None
    """When its first record was written, in seconds since 1970; none where that can't be read."""
    commit: bool | None
    """Whether it was decided to commit or to abort; none where that can't be known."""
    replaced: bool
    """Whether another process has started under the name since, so that the transaction's producer is fenced."""


def told(found: Iterable[Hanging]) -> list[str]:
    """Return a sentence about each hanging transaction."""
    transactions: dict[tuple[int, int, bool | None], list[Hanging]] = {}
    for one in found:
        transactions.setdefault((one.open.producer, one.open.epoch, one.commit), []).append(one)
    return [_sentence(of) for of in transactions.values()]


def listed(places: Iterable[Place]) -> str:
    """Return partitions in words, topic by topic."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in places:
        by_topic.setdefault(topic, []).append(partition)
    return "; ".join(f"{topic}, partition {', '.join(map(str, sorted(ps)))}" for topic, ps in by_topic.items())


def _sentence(of: list[Hanging]) -> str:
    one = of[0]
    decided = {True: "was committed", False: "was aborted", None: "was decided, nobody knows how"}[one.commit]
    since = [one.since for one in of if one.since is not None]
    when = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(min(since))) if since else ""
    return (
        f"a transaction of {one.name or 'a forgotten name'} (producer id {one.open.producer}, epoch {one.open.epoch}) "
        f"{decided}, and hangs"
        f"{when}, since Kafka did not tell {listed(each.open.place for each in of)}"
    )


class Examination:
    """One search for an application's hanging transactions, and their end.

    Raises `KafkaException` where brokers don't answer, or refuse to.
    """

    def __init__(self, config: Config, alive: Callable[[], None] = lambda: None) -> None:
        """`alive` is called during long waits."""
        self._config, self._alive = config, alive
        self._brokers = Brokers(config)
        self._layout = Layout({}, {})
        self.going_on: list[Transaction] = []
        """Running transactions with records in a partition at the last look; these end by themselves."""
        self._strangers: list[str] = []
        """Names of other applications with records in a partition at the last look."""

    def close(self) -> None:
        """Close the connections."""
        self._brokers.close()

    def find(self, name: str | None = None) -> list[Hanging]:
        """Return the hanging transactions of one `transactional.id`, or of all that the application has."""
        self._layout = self._brokers.layout([*map(self._config.topic, _WRITTEN), OFFSETS, outcomes.STATES])
        found = self._brokers.open(self._layout, self._places(self._config.topic(one) for one in _WRITTEN))
        if not found:
            self.going_on = []
            return []
        producers = {one.producer for one in found}
        names = self._brokers.names(self._layout, producers) if name is None else {}
        self._strangers = [one for one in names.values() if not is_own(self._config, one)]
        transactions = self._transactions([name] if name else self._own(names))
        forgotten = producers - names.keys() if name is None else set()
        suspects = [one for one in found if one.producer in forgotten or _is_over(one, transactions.get(one.producer))]
        running = {one.producer for one in found if one not in suspects}
        self.going_on = [one for producer, one in transactions.items() if producer in running]
        again = self._brokers.open(self._layout, {one.place for one in suspects})
        still = {(one.place, one.producer, one.offset) for one in again}
        lasting = [one for one in suspects if (one.place, one.producer, one.offset) in still]
        return self._judged(lasting, transactions)

    def strangers(self) -> list[Transaction]:
        """Return the transactions of other applications that had records in these topics at the last look for all."""
        return list(self._transactions(self._strangers).values())

    def unseen(self) -> list[Place]:
        """Return partitions that the last look could not examine, since they have no leader."""
        relied_on = self._places(self._config.topic(one) for one in _RELIED_ON)
        return [place for place in relied_on if self._layout.leaders[place] < 0]

    def held(self) -> list[tuple[str, str, list[int]]]:
        """Return the groups whose offsets are held up by a transaction, with the topic and its partitions."""
        inputs = [(self._config.map_group, "lines"), (self._config.reduce_group, "words")]
        layout = self._brokers.layout([self._config.topic(name) for _, name in inputs])
        found = [(group, self._config.topic(name)) for group, name in inputs]
        waiting = [(group, topic, self._brokers.unstable(layout, group, topic)) for group, topic in found]
        return [one for one in waiting if one[2]]

    def transaction(self, name: str) -> Transaction | None:
        """Return the transaction of a `transactional.id`; none where its coordinator does not know the name.

        Raises `ConfigurationError` for a name that is not the application's.
        """
        if not is_own(self._config, name):
            raise ConfigurationError(f"{name!r} is no transactional.id of application {self._config.app_id}")
        return self._brokers.transaction(self._brokers.layout([]), name)

    def decided(self, name: str) -> bool:
        """Return whether the coordinator is done with the last transaction of a `transactional.id`."""
        self._layout = self._brokers.layout([])
        found = self._brokers.transaction(self._layout, name)
        return found is None or found.state in _OVER

    def end(self, found: Iterable[Hanging]) -> None:
        """Write the missing markers.

        Raises `ConfigurationError` where the decision can't be known, or the marker may not be written.
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
                if error.args[0].code() in REFUSED:
                    raise ConfigurationError(f"{told(chosen)[0]}; this user may not either: {RIGHTS}") from error
                raise
            for sentence in told(chosen):
                log.warning("%s; that was made good for", sentence)

    def replace(self, name: str) -> None:
        """Fence the producer of a name, by starting a producer under that name for a moment."""
        clients.transactional_producer(self._config, name).init_transactions(clients.REACH_SECONDS)

    def _places(self, names: Iterable[str]) -> list[Place]:
        """Return the partitions of topics, and the partitions of `__consumer_offsets` that have the groups' offsets."""
        wanted = set(names)
        places = [place for place in self._layout.leaders if place[0] in wanted]
        if count := self._count(OFFSETS):
            places += sorted({(OFFSETS, outcomes.partition_of(group, count)) for group in self._groups()})
        return places

    def _count(self, topic: str) -> int:
        return sum(place[0] == topic for place in self._layout.leaders)

    def _transactions(self, names: Iterable[str]) -> dict[int, Transaction]:
        """Return the transactions of these names as coordinators describe them, by producer id."""
        said = [self._brokers.transaction(self._layout, one) for one in names]
        return {one.producer: one for one in said if one is not None}

    def _own(self, names: dict[int, str]) -> list[str]:
        """Return the names that belong to this application."""
        return [name for name in names.values() if is_own(self._config, name)]

    def _judged(self, lasting: list[Open], transactions: dict[int, Transaction]) -> list[Hanging]:
        """Return which of the lasting open transactions hang, each with its decision."""
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
        """Return whether no coordinator knows a producer any more, and its records belong to the application.

        A coordinator also hides transactions that the user has no right to see. So a forgotten producer is told from a
        running one by the age of its first record.
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
            if error.args[0].code() not in REFUSED:
                raise
            return []

    def _firsts(self, lasting: list[Open]) -> "dict[Place, _First]":
        """Return the first records of open transactions, as far as they can be read within `_FIRST_SECONDS`."""
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


def is_own(config: Config, name: str) -> bool:
    """Return whether a `transactional.id` is one that `StateDirectory.name` makes for this application."""
    own = rf"{re.escape(config.app_id)}-[0-9a-f]{{8}}-(map|reduce)-.+"
    return re.fullmatch(own, name) is not None


def _is_over(one: Open, of: Transaction | None) -> bool:
    """Return whether the coordinator has no running transaction with records in that partition."""
    return of is not None and (of.state in _OVER or one.place not in of.places)


def settle(config: Config, name: str, alive: Callable[[], None]) -> bool:
    """Finish hanging transactions of the caller's own `transactional.id`. Call it while no transaction is open.

    Returns false where it has to be called again: the last transaction is not over yet, or a partition without a leader
    can't be examined. Raises `KafkaException` where brokers don't answer, and `ConfigurationError` for a hanging
    transaction that can't be ended.
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
    """The first record of an open transaction."""

    written: int
    """When it was written, in milliseconds since 1970."""
    key: bytes

    @property
    def group(self) -> str | None:
        """The group of the offset, if it is a record of `__consumer_offsets` (`OffsetCommitKey` of Kafka)."""
        key = Answer(self.key)
        return key.string() if key.number("h") <= 1 else None
