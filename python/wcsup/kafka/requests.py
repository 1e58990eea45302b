"""Requests that librdkafka has no call for: a partition's open transactions, their owners, and their end (KIP-664).

Topics are deleted by id (KIP-516), since librdkafka deletes them by name only. Two more requests, for topic ids and for
the members of a group, are here since librdkafka's calls for them cost too much to be made once a second. librdkafka
has no call by which one member leaves in place of another one, none for what a topic takes on the brokers' disks, and
none that tells who wrote a record.

Layouts are from the Kafka protocol guide. Versions are the lowest that Kafka 4 takes. The requests of KIP-664 exist
since Kafka 3.0; an older broker is refused with an error that says so.
"""

import base64
import random
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.kafka import clients
from wcsup.kafka.addresses import host_and_port
from wcsup.kafka.connection import ANSWER_SECONDS, Connection, Given
from wcsup.kafka.encoding import NO_TAGS, Answer, array, compact_array, compact_string, string
from wcsup.kafka.trust import unsupported

_FETCH, _METADATA, _OFFSET_FETCH, _FIND_COORDINATOR, _DESCRIBE_GROUPS = 1, 3, 9, 10, 15
_API_VERSIONS, _DELETE_TOPICS, _ADD_PARTITIONS_TO_TXN = 18, 20, 24
_WRITE_TXN_MARKERS, _DESCRIBE_LOG_DIRS = 27, 35
_DESCRIBE_PRODUCERS, _DESCRIBE_TRANSACTIONS, _LIST_TRANSACTIONS = 61, 65, 66
_CONSUMER_GROUP_HEARTBEAT = 68
_GROUP, _TRANSACTION = b"\x00", b"\x01"
_STABLE = b"\x01"
_NO = _NULL = b"\0"
_FETCH_WAIT_MS, _FETCH_BYTES = 500, 4_000_000
_LEAVING = -1
"""The epoch in a heartbeat by which a dynamic member leaves (KIP-848)."""
_ANY_ID = bytes(16)
"""The topic id in a request that asks by name."""
_NO_NAME = b"\0"
"""The name in a request that gives the topic id."""
_TRANSACTIONAL_ID_NOT_FOUND = 105

Place = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(frozen=True, slots=True)
class Open:
    """A transaction that is open in a partition: it has records there, and no marker yet."""

    topic: str
    partition: int
    offset: int
    """Offset of its first record."""
    producer: int
    """The producer's id."""
    epoch: int
    """The producer's epoch, as of the last record."""
    coordinator_epoch: int
    """The coordinator's epoch in the producer's last marker in the partition; -1 where there was no marker."""

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Transaction:
    """The transaction of a `transactional.id`, as its coordinator describes it."""

    name: str
    state: str
    """As Kafka spells it: Empty, Ongoing, PrepareCommit, CompleteAbort..."""
    producer: int
    epoch: int
    places: frozenset[Place]
    """The partitions that have yet to get its marker."""
    timeout: float = 0.0
    """The seconds after which its coordinator aborts it."""
    since: float | None = None
    """When it was begun, in seconds since 1970; none where none is open."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's id, which tells it from another topic of the same name, and its number of partitions."""

    id: str
    """In the form of confluent-kafka's `Uuid`."""
    partitions: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The brokers, and the leader of each partition."""

    brokers: Mapping[int, tuple[str, int]]
    """Host and port by node."""
    leaders: Mapping[Place, int]
    """The leading node of each partition; -1 where a partition has no leader."""
    controller: int = -1
    """The node that takes changes of topics; with KRaft it hands them on to the controller."""


class Brokers:
    """Sends requests to brokers over its own connections, which stay open until `close`.

    Raises `KafkaException`, as librdkafka's calls do.
    """

    def __init__(
        self, config: Config, addresses: Sequence[str] | None = None, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        """`addresses` are tried in their order; by default, the addresses of `bootstrap.servers` in random order.

        `answer_seconds` is how long an answer may take.
        """
        self._given = clients.settings(config)
        self._addresses = addresses
        self._answer_seconds = answer_seconds
        self._connections: dict[int, Connection] = {}
        self._first: Connection | None = None
        self.verify = False
        """Whether brokers verify that a record's transaction is open (KIP-890, Kafka 3.6); set by the first answer."""
        self.addresses: list[str] = []
        """The brokers' addresses in the last answer about topics."""

    def close(self) -> None:
        """Close all connections."""
        for connection in [*self._connections.values(), *filter(None, [self._first])]:
            connection.close()
        self._connections, self._first = {}, None

    def layout(self, topics: Collection[str]) -> Layout:
        """Return the brokers, and the leaders of all partitions of topics; a missing topic has no partitions."""
        answer = Answer(self._any().ask(_METADATA, 4, array([string(name) for name in topics]) + _NO))
        answer.take("i")
        brokers: dict[int, tuple[str, int]] = {}
        for _ in answer.items():
            node, host, port = answer.number("i"), answer.string(), answer.number("i")
            answer.string()
            brokers[node] = host, port
        answer.string()
        controller = answer.number("i")
        leaders: dict[Place, int] = {}
        for _ in answer.items():
            answer.take("h")
            name = answer.string()
            answer.take("b")
            for _ in answer.items():
                _, partition, leader = answer.take("hii")
                leaders[name, partition] = leader
                for _ in range(2):  # all copies, and those in sync
                    answer.take(f"{len(answer.items())}i")
        return Layout(brokers, leaders, controller)

    def topics(self, names: Collection[str]) -> tuple[dict[str, Topic | None], list[str]]:
        """Return the topics by name, and the names of those that this user may not see.

        The value is none for a topic that does not exist. A topic for which the broker answers another error is left
        out.
        """
        wanted = compact_array([_ANY_ID + compact_string(name) + NO_TAGS for name in names])
        body = wanted + 3 * _NO + NO_TAGS  # no auto-creation of topics, no authorized operations
        answer = Answer(self._any().ask(_METADATA, 10, body, flexible=True))
        answer.take("i")
        self.addresses = []
        for _ in answer.compact_items():
            answer.take("i")
            self.addresses.append(f"{answer.compact_string()}:{answer.number('i')}")
            answer.compact_string()
            answer.tags()
        answer.compact_string()
        answer.take("i")
        found: dict[str, Topic | None] = {}
        hidden: list[str] = []
        for _ in answer.compact_items():
            code, name = answer.number("h"), answer.compact_string()
            (identity,) = answer.take("16s")
            answer.take("?")
            partitions = answer.compact_items()
            for _ in partitions:
                answer.take("hiii")
                for _ in range(3):  # all copies, those in sync, and those that are gone
                    answer.take(f"{len(answer.compact_items())}i")
                answer.tags()
            answer.take("i")
            answer.tags()
            if not code:
                found[name] = Topic(base64.b64encode(identity).decode().rstrip("="), len(partitions))
            elif code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                found[name] = None
            elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                hidden.append(name)
        return found, hidden

    def delete(self, found: Mapping[str, Topic]) -> None:
        """Delete these topics by id: a topic that was made anew under one of the names stays. Gone ones are no error.

        `found` has the topics by name, as `topics` returns them.
        """
        layout = self.layout([])
        wanted = [_NO_NAME + base64.b64decode(f"{topic.id}==") + NO_TAGS for topic in found.values()]
        body = compact_array(wanted) + struct.pack(">i", round(self._answer_seconds * 1000)) + NO_TAGS
        answer = Answer(self._at(layout, layout.controller).ask(_DELETE_TOPICS, 6, body, flexible=True))
        answer.take("i")
        for _ in answer.compact_items():
            name = answer.compact_string()
            answer.take("16s")
            code = answer.number("h")
            answer.compact_string()
            answer.tags()
            if code != KafkaError.UNKNOWN_TOPIC_ID:
                _check(code, f"topic {name} can't be deleted")

    def sizes(self, names: Collection[str]) -> dict[str, int] | None:
        """Return the bytes of each topic on the brokers' disks, all copies added; none where this user may not know.

        Where the user lacks the right (DESCRIBE on the cluster), a broker answers without any directory.
        """
        layout = self.layout(names)
        numbers = {name: [place[1] for place in layout.leaders if place[0] == name] for name in names}
        body = array([string(name) + array([struct.pack(">i", n) for n in numbers[name]]) for name in names])
        found = dict.fromkeys(names, 0)
        for node in layout.brokers:
            answer = Answer(self._at(layout, node).ask(_DESCRIBE_LOG_DIRS, 1, body))
            answer.take("i")
            directories = answer.items()
            if not directories:
                return None
            for _ in directories:
                _check(answer.number("h"), f"a disk of broker {node}")
                answer.string()
                for _ in answer.items():
                    name = answer.string()
                    for _ in answer.items():
                        _, size, _, _ = answer.take("iqq?")
                        found[name] += size
        return found

    def members(self, group: str) -> dict[str, bytes]:
        """Return the assignment of each member of a group; empty while the group is between two assignments."""
        node, host, port = self._find_coordinator(group, _GROUP)
        layout = Layout({node: (host, port)}, {})
        answer = Answer(self._at(layout, node).ask(_DESCRIBE_GROUPS, 0, array([string(group)])))
        found: dict[str, bytes] = {}
        for _ in answer.items():
            _check(answer.number("h"), f"group {group}")
            answer.string()
            state = answer.string()
            answer.string()
            answer.string()
            for _ in answer.items():
                member = answer.string()
                answer.string()
                answer.string()
                answer.data()
                assignment = answer.data()
                if state == "Stable":
                    found[member] = assignment
        return found

    def leave(self, group: str, member: str) -> None:
        """Have a member leave a group of KIP-848, in place of its process, which is dead."""
        node, host, port = self._find_coordinator(group, _GROUP)
        body = compact_string(group) + compact_string(member) + struct.pack(">i", _LEAVING)
        body += 2 * _NULL + struct.pack(">i", -1) + 3 * _NULL + NO_TAGS
        at = self._at(Layout({node: (host, port)}, {}), node)
        answer = Answer(at.ask(_CONSUMER_GROUP_HEARTBEAT, 0, body, flexible=True))
        answer.take("i")
        _check(answer.number("h"), f"member {member} of group {group}")

    def transaction(self, layout: Layout, name: str) -> Transaction | None:
        """Return the transaction of a `transactional.id`; none where its coordinator does not know the name."""
        body = compact_array([compact_string(name)]) + NO_TAGS
        at = self._at(layout, self._coordinator(name, _TRANSACTION))
        answer = Answer(at.ask(_DESCRIBE_TRANSACTIONS, 0, body, flexible=True))
        answer.take("i")
        answer.compact_items()
        code = answer.number("h")
        answer.compact_string()
        state = answer.compact_string()
        timeout, began, producer, epoch = answer.take("iqqh")
        places: set[Place] = set()
        for _ in answer.compact_items():
            topic = answer.compact_string()
            places |= {(topic, answer.number("i")) for _ in answer.compact_items()}
            answer.tags()
        if code == _TRANSACTIONAL_ID_NOT_FOUND:
            return None
        _check(code, f"transactional.id {name}")
        since = began / 1000 if began >= 0 else None
        return Transaction(name, state, producer, epoch, frozenset(places), timeout / 1000, since)

    def names(self, layout: Layout, producers: Collection[int]) -> dict[int, str]:
        """Return the `transactional.id` of each of these producers that a coordinator knows and this user may see."""
        ids = [struct.pack(">q", producer) for producer in producers]
        body = compact_array([]) + compact_array(ids) + NO_TAGS
        found: dict[int, str] = {}
        for node in layout.brokers:
            answer = Answer(self._at(layout, node).ask(_LIST_TRANSACTIONS, 0, body, flexible=True))
            answer.take("i")
            _check(answer.number("h"), "transactions can't be listed")
            for _ in answer.compact_items():
                answer.compact_string()
            for _ in answer.compact_items():
                name = answer.compact_string()
                found[answer.number("q")] = name
                answer.compact_string()
                answer.tags()
        return found

    def open(self, layout: Layout, places: Iterable[Place]) -> list[Open]:
        """Return the open transactions of partitions. Partitions that have no leader or are hidden are left out."""
        found: list[Open] = []
        for node, wanted in _by_leader(layout, places).items():
            body = compact_array([compact_string(topic) + _partitions(numbers) for topic, numbers in wanted.items()])
            answer = Answer(self._at(layout, node).ask(_DESCRIBE_PRODUCERS, 0, body + NO_TAGS, flexible=True))
            answer.take("i")
            for _ in answer.compact_items():
                topic = answer.compact_string()
                for _ in answer.compact_items():
                    found += _open(answer, topic)
                answer.tags()
        return found

    def end(self, layout: Layout, ended: Iterable[Open], *, commit: bool) -> None:
        """Write commit or abort markers for open transactions; raise where a partition refuses its marker."""
        by_place = {one.place: one for one in ended}
        for node, wanted in _by_leader(layout, by_place).items():
            markers = [
                _marker(by_place[topic, number], commit) for topic, numbers in wanted.items() for number in numbers
            ]
            body = compact_array(markers) + NO_TAGS
            answer = Answer(self._at(layout, node).ask(_WRITE_TXN_MARKERS, 1, body, flexible=True))
            for _ in answer.compact_items():
                answer.take("q")
                for _ in answer.compact_items():
                    topic = answer.compact_string()
                    for _ in answer.compact_items():
                        partition, code = answer.take("ih")
                        _check(code, f"{topic}, partition {partition}")
                        answer.tags()
                    answer.tags()
                answer.tags()

    def fetch(self, layout: Layout, place: Place, offset: int) -> tuple[int, bytes]:
        """Return a partition's high watermark, and its record batches from the one with that offset on.

        The batches are as the broker keeps them, of all transactions, whatever became of these. The last one may be cut
        off. There are none where nothing is left up to the high watermark.
        """
        topic, partition = place
        where = array([struct.pack(">iqi", partition, offset, _FETCH_BYTES)])
        body = struct.pack(">iiii?", -1, _FETCH_WAIT_MS, 1, _FETCH_BYTES, False) + array([string(topic) + where])
        answer = Answer(self._at(layout, layout.leaders.get(place, -1)).ask(_FETCH, 4, body))
        answer.take("i")
        end, data = 0, b""
        for _ in answer.items():
            answer.string()
            for _ in answer.items():
                _, code, end, _ = answer.take("ihqq")
                for _ in answer.items():  # aborted transactions, which only a reader of committed records is told
                    answer.take("qq")
                data = answer.data()
                _check(code, f"{topic}, partition {partition}")
        return end, data

    def unstable(self, layout: Layout, group: str, topic: str) -> list[int]:
        """Return the partitions for which a pending transaction has an offset of the group (KIP-447)."""
        numbers = [place[1] for place in layout.leaders if place[0] == topic]
        wanted = compact_array([compact_string(topic) + _partitions(numbers)])
        at = self._at(layout, self._coordinator(group, _GROUP))
        body = compact_string(group) + wanted + _STABLE + NO_TAGS
        answer = Answer(at.ask(_OFFSET_FETCH, 7, body, flexible=True))
        answer.take("i")
        found: list[int] = []
        for _ in answer.compact_items():
            answer.compact_string()
            for _ in answer.compact_items():
                partition, _, _ = answer.take("iqi")
                answer.compact_string()
                if answer.number("h") == KafkaError.UNSTABLE_OFFSET_COMMIT:
                    found.append(partition)
                answer.tags()
            answer.tags()
        _check(answer.number("h"), f"group {group}")
        return sorted(found)

    def _coordinator(self, name: str, kind: bytes) -> int:
        """Return the coordinator's node for a group or a `transactional.id`."""
        return self._find_coordinator(name, kind)[0]

    def _find_coordinator(self, name: str, kind: bytes) -> tuple[int, str, int]:
        """Return the coordinator's node with its host and port."""
        answer = Answer(self._any().ask(_FIND_COORDINATOR, 1, string(name) + kind))
        answer.take("i")
        code, said = answer.number("h"), answer.string()
        _check(code, said)
        return answer.number("i"), answer.string(), answer.number("i")

    def _any(self) -> Connection:
        """Return a connection to the first of the addresses that answers."""
        addresses = list(self._addresses or random_order(self._given))
        while self._first is None:
            try:
                self._first = self._connected(*host_and_port(addresses.pop(0)))
            except KafkaException as error:
                if not addresses or error.args[0].code() != KafkaError._TRANSPORT:
                    raise
            else:
                self._learn(self._first)
        return self._first

    def _learn(self, broker: Connection) -> None:
        """Find out which requests brokers support."""
        answer = Answer(broker.ask(_API_VERSIONS, 0, b""))
        _check(answer.number("h"), "the broker's versions")
        highest = {api: version for api, _, version in (answer.take("hhh") for _ in answer.items())}
        if _DESCRIBE_PRODUCERS not in highest:
            raise unsupported("Kafka before 3.0")
        self.verify = highest.get(_ADD_PARTITIONS_TO_TXN, 0) >= 4

    def _at(self, layout: Layout, node: int) -> Connection:
        if node not in layout.brokers:
            raise KafkaException(KafkaError(KafkaError.BROKER_NOT_AVAILABLE, f"node {node} is not there"))
        if node not in self._connections:
            self._connections[node] = self._connected(*layout.brokers[node])
        return self._connections[node]

    def _connected(self, host: str, port: int) -> Connection:
        return Connection(host, port, self._given, self._answer_seconds)


def random_order(given: Given) -> list[str]:
    """Return the addresses of `bootstrap.servers` in random order."""
    addresses = str(given["bootstrap.servers"]).split(",")
    random.shuffle(addresses)
    return addresses


def _by_leader(layout: Layout, places: Iterable[Place]) -> dict[int, dict[str, list[int]]]:
    found: dict[int, dict[str, list[int]]] = {}
    for topic, partition in places:
        leader = layout.leaders.get((topic, partition), -1)
        if leader >= 0:
            found.setdefault(leader, {}).setdefault(topic, []).append(partition)
    return found


def _open(answer: Answer, topic: str) -> list[Open]:
    """Read the producers of one partition; return the open transactions."""
    partition, code = answer.take("ih")
    said = answer.compact_string()
    found: list[Open] = []
    for _ in answer.compact_items():
        producer, epoch, _, _, coordinator_epoch, offset = answer.take("qiiqiq")
        answer.tags()
        if offset >= 0:
            found.append(Open(topic, partition, offset, producer, epoch, coordinator_epoch))
    answer.tags()
    if code != KafkaError.TOPIC_AUTHORIZATION_FAILED:
        _check(code, said or f"{topic}, partition {partition}")
    return found


def _marker(one: Open, commit: bool) -> bytes:
    # The coordinator's epoch is that of the last marker in the partition, as in Kafka's own tool
    # (`TransactionsCommand`): a lower epoch is refused, and after a higher one the coordinator's markers would be.
    return (
        struct.pack(">qh?", one.producer, one.epoch, commit)
        + compact_array([compact_string(one.topic) + _partitions([one.partition])])
        + struct.pack(">i", max(0, one.coordinator_epoch))
        + NO_TAGS
    )


def _partitions(numbers: list[int]) -> bytes:
    """Write the partitions of a topic and the end of its structure."""
    return compact_array([struct.pack(">i", number) for number in numbers]) + NO_TAGS


def _check(code: int, what: str) -> None:
    if code:
        raise KafkaException(KafkaError(code, f"{what}: {KafkaError(code).str()}"))
