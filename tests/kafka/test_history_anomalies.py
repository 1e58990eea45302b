"""`wcsup verify --history` on a real Kafka: each anomaly is forged with a raw producer, found, and named."""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from application import Application, prose, wait_for
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from wcsup import _core
from wcsup.audit import logs
from wcsup.audit.history import HistoryReport
from wcsup.audit.logs import history
from wcsup.audit.transactions import Kind
from wcsup.audit.verify import verify
from wcsup.cli.app import app as commands
from wcsup.errors import ExitStatus
from wcsup.kafka import clients, positions, topics
from wcsup.kafka.encoding import Answer, array, string
from wcsup.kafka.requests import Brokers

FLUSH_SECONDS = 30
WORD, OTHER = b"whale", b"harpoon"
PRODUCE, INCREMENTAL_ALTER_CONFIGS = 0, 44
VERIFY = "transaction.partition.verification.enable"


class Hand:
    """A transactional producer without any of wcsup's care, under the name that a worker could have."""

    def __init__(self, application: Application, name: str) -> None:
        self.name = f"{application.config.app_id}-0badf00d-{name}"
        self._application = application
        self._config = application.config
        self._identity = topics.identity(application.admin, application.config)
        self._producer = clients.transactional_producer(self._config, self.name)
        self._producer.init_transactions(FLUSH_SECONDS)
        self._consumers: list[Consumer] = []

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, topic: str, key: bytes | None, value: bytes, partition: int | None = None) -> None:
        """Write one record, and wait until it is there: to its word's partition where none is given."""
        where = _core.partition(key or b"", self._config.partitions) if partition is None else partition
        self._producer.produce(self._config.topic(topic), value, key, partition=where)
        assert self._producer.flush(FLUSH_SECONDS) == 0

    def total(self, word: bytes, total: int) -> None:
        self.send("counts", word, struct.pack(">q", total))

    def word(self, word: bytes, count: int) -> None:
        self.send("words", word, struct.pack(">q", count))

    def move(self, stage: str, partition: int, offset: int, position: int | None = None) -> None:
        """Commit an offset of a stage's group, and its position."""
        position = offset if position is None else position
        now = positions.now(self._config, self._identity, stage)
        self.send("positions", positions.key(stage, partition), now.text(position).encode(), 0)
        group = positions.group(self._config, stage)
        consumer = Consumer({**clients.settings(self._config), "group.id": group})
        self._consumers.append(consumer)  # its metadata is of a member that has not joined, which nothing fences
        where = TopicPartition(self._config.topic(stage), partition, offset, now.text(offset))
        self._producer.send_offsets_to_transaction([where], consumer.consumer_group_metadata(), FLUSH_SECONDS)

    def end_one(self, topic: str, partition: int, *, commit: bool) -> None:
        """End the open transaction in one partition, as a late marker would."""
        place = self._config.topic(topic), partition
        with closing(Brokers(self._config)) as brokers:
            layout = brokers.layout([place[0]])
            brokers.end(layout, brokers.open(layout, [place]), commit=commit)

    def commit(self) -> None:
        self._producer.commit_transaction(FLUSH_SECONDS)

    def abort(self) -> None:
        self._producer.abort_transaction(FLUSH_SECONDS)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()


class Forgery:
    """An application whose workers are raw producers."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.home = _core.partition(WORD, application.config.partitions)
        self._hands: dict[str, Hand] = {}

    def hand(self, name: str) -> Hand:
        """Return the producer of that name."""
        if name not in self._hands:
            self._hands[name] = Hand(self.application, name)
        return self._hands[name]

    def end(self, topic: str) -> int:
        """Return the end of the word's partition, once it has all markers."""
        place = self.application.config.topic(topic), self.home

        def end(of: Callable[..., dict[tuple[str, int], int]]) -> int:
            return of(self.application.admin, [TopicPartition(*place)])[place]

        wait_for("all markers are written", lambda: end(topics.stable_ends) == end(topics.ends))
        return end(topics.ends)

    def map(self, count: int) -> None:
        """Write a line with the word so often, and count it as a mapper does."""
        self.application.write("lines", [(None, b" ".join([WORD] * count))], partition=0)
        mapper = self.hand("map-0")
        mapper.begin()
        mapper.word(WORD, count)
        lines = topics.ends(self.application.admin, [TopicPartition(self.application.config.topic("lines"), 0)])
        mapper.move("lines", 0, max(lines.values()))
        mapper.commit()

    def reduce(self, total: int, *, name: str = "reduce-0", offset: int | None = None) -> None:
        """Write the word's total, and move the reducers' offset to that one or to the end."""
        reducer = self.hand(name)
        reducer.begin()
        reducer.total(WORD, total)
        reducer.move("words", self.home, self.end("words") if offset is None else offset)
        reducer.commit()

    def look(self) -> HistoryReport:
        return history(self.application.config, self.application.admin)

    def close(self) -> None:
        for hand in self._hands.values():
            hand.close()


@contextmanager
def late_records_taken(application: Application) -> Iterator[None]:
    """Have the brokers not verify that a record's transaction is open."""

    def set_to(value: str) -> None:
        # librdkafka has no name for all brokers, which is empty.
        change = array([string(VERIFY) + b"\0" + string(value)])
        with closing(Brokers(application.config)) as brokers:
            answer = Answer(
                brokers._any().ask(INCREMENTAL_ALTER_CONFIGS, 0, array([b"\4" + string("") + change]) + b"\0")
            )
        answer.take("ii")
        assert answer.number("h") == 0

    set_to("false")
    try:
        yield
    finally:
        set_to("true")


def produce_late(application: Application, name: str, place: tuple[str, int]) -> None:
    """Send a record of a transactional producer that has committed one record there, and has no transaction open."""
    topic = application.config.topic(place[0])
    with closing(Brokers(application.config)) as brokers:
        layout = brokers.layout([topic])
        of = brokers.transaction(layout, name)
        assert of is not None
        key, value = WORD, struct.pack(">q", 9)
        record = b"\0\0\0" + bytes([2 * len(key)]) + key + bytes([2 * len(value)]) + value + b"\0"
        record = bytes([2 * len(record)]) + record
        body = struct.pack(">hiqqqhii", 0x10, 0, 0, 0, of.producer, of.epoch, 1, 1) + record
        head = struct.pack(">ibI", -1, 2, crc32c(body)) + body
        batch = struct.pack(">qi", 0, len(head)) + head
        records = array([struct.pack(">i", place[1]) + struct.pack(">i", len(batch)) + batch])
        request = string(name) + struct.pack(">hi", -1, 30_000) + array([string(topic) + records])
        leader = brokers._at(layout, layout.leaders[topic, place[1]])

        def taken() -> bool:
            """Ask for it; the broker may not know of its new setting yet."""
            answer = Answer(leader.ask(PRODUCE, 3, request))
            answer.take("i")
            answer.string()
            answer.take("i")
            _, code, _, _ = answer.take("ihqq")
            return not code

        wait_for("the broker takes it", taken)


def crc32c(data: bytes) -> int:
    """Return the checksum of a record batch (Castagnoli's)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.fixture
def forgery(application: Application) -> Iterator[Forgery]:
    with closing(Forgery(application)) as made:
        yield made


def aborted_read(forgery: Forgery) -> None:
    """A late commit ends a part of a transaction that is aborted (Jepsen's analysis of Bufstream)."""
    reducer = forgery.hand("reduce-0")
    reducer.begin()
    reducer.total(WORD, 7)
    reducer.end_one("counts", forgery.home, commit=True)
    reducer.abort()


def aborted_words_counted(forgery: Forgery) -> None:
    """A reducer that reads uncommitted records."""
    mapper = forgery.hand("map-0")
    mapper.begin()
    mapper.word(WORD, 4)
    mapper.abort()
    forgery.reduce(4)


def lost_write(forgery: Forgery) -> None:
    """A late abort ends a part of a transaction that is committed."""
    reducer = forgery.hand("reduce-0")
    reducer.begin()
    reducer.total(WORD, 7)
    reducer.end_one("counts", forgery.home, commit=False)
    reducer.commit()


def record_left_out(forgery: Forgery) -> None:
    """A reducer that moves past a record of two, such as after a poll whose records were thrown away."""
    forgery.map(2)
    forgery.map(3)
    forgery.reduce(2)


def record_twice(forgery: Forgery) -> None:
    forgery.map(2)
    forgery.reduce(4)


def offset_differs(forgery: Forgery) -> None:
    """A group's offset and the position of one transaction."""
    forgery.map(2)
    reducer = forgery.hand("reduce-0")
    reducer.begin()
    reducer.total(WORD, 2)
    end = forgery.end("words")
    reducer.move("words", forgery.home, end, position=end - 1)
    reducer.commit()


def offset_back(forgery: Forgery) -> None:
    forgery.map(2)
    before = forgery.end("words")
    forgery.map(3)
    forgery.reduce(5)
    reducer = forgery.hand("reduce-0")
    reducer.begin()
    reducer.move("words", forgery.home, before)
    reducer.commit()


def total_falls(forgery: Forgery) -> None:
    """A reducer that goes on with a total from before: what it read is missing in its place."""
    forgery.map(2)
    forgery.reduce(2)
    forgery.map(1)
    forgery.reduce(1)


def circle(forgery: Forgery) -> None:
    """Two reducers that both have two partitions, and write their totals in turns."""
    there, here = forgery.hand("reduce-0"), forgery.hand("reduce-1")
    for hand in (there, here):
        hand.begin()
    for hand, word, total in ((there, WORD, 1), (here, WORD, 2), (here, OTHER, 1), (there, OTHER, 2)):
        hand.total(word, total)
    for hand in (there, here):
        hand.commit()


FORGERIES: list[tuple[Callable[[Forgery], None], set[Kind], str]] = [
    (aborted_read, {"aborted-read"}, "that its coordinator did not decide: readers see offset 0 of"),
    (aborted_words_counted, {"aborted-read"}, "it counted the records of aborted transactions"),
    (lost_write, {"lost-write"}, "that its coordinator did not decide: readers do not see offset 0 of"),
    (record_left_out, {"lost-write"}, "the record at offset 2 of words"),
    (record_twice, {"duplicate"}, "the record at offset 0 of words"),
    (offset_differs, {"inconsistent-offsets"}, "has position 1 of"),
    (offset_back, {"nonmonotonic-poll"}, "back from 4 to 2"),
    (total_falls, {"nonmonotonic-send", "lost-write"}, "wrote total 1 of 'whale' after 2"),
    (circle, {"write-cycle", "duplicate"}, "is a circle"),
]


@pytest.mark.parametrize(("forge", "kinds", "said"), FORGERIES, ids=[forge.__name__ for forge, _, _ in FORGERIES])
def test_a_forged_anomaly_is_found_with_its_transaction(
    forgery: Forgery, forge: Callable[[Forgery], None], kinds: set[Kind], said: str
) -> None:
    # Given a history with an anomaly
    forge(forgery)

    # When it is looked at
    found = forgery.look()

    # Then the anomaly is found, and nothing else
    assert {one.kind for one in found.anomalies} == kinds, found.text(20)
    assert said in " ".join(one.what for one in found.anomalies), found.text(20)
    # And the transaction is named
    for one in found.anomalies:
        assert one.transactional_id in {forgery.hand(name).name for name in ("reduce-0", "reduce-1")}
        assert one.producer is not None and one.epoch == 0 and one.offset is not None


def test_nothing_is_wrong_with_what_raw_producers_do_right(forgery: Forgery) -> None:
    forgery.map(2)
    forgery.reduce(2)
    forgery.map(3)
    forgery.reduce(5)

    found = forgery.look()

    assert found.holds, found.text(20)
    assert found.judged == found.transactions == 4 and not found.unjudged
    assert found.topics["words"].records == 2 and not found.topics["words"].missing


def test_a_transaction_that_goes_on_is_no_anomaly_and_the_history_undecided(
    forgery: Forgery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_REST_SECONDS", 0.3)
    forgery.map(2)
    reducer = forgery.hand("reduce-0")
    reducer.begin()
    reducer.total(WORD, 2)

    found = forgery.look()

    assert not found.anomalies and not found.holds
    assert found.undecided == [f"{reducer.name} always had a transaction under way: its last ones are not known"]
    assert found.going_on == 1


def test_a_record_behind_the_end_of_its_transaction_is_found(forgery: Forgery) -> None:
    # Given brokers that take late records, as before KIP-890
    forgery.map(2)
    with late_records_taken(forgery.application):
        # When a record arrives after its transaction
        reducer = forgery.hand("reduce-0")
        reducer.begin()
        reducer.total(WORD, 2)
        reducer.move("words", forgery.home, forgery.end("words"))
        reducer.commit()
        [before] = forgery.look().text(0)[:1]
        assert "nothing is wrong" in before
        produce_late(forgery.application, reducer.name, ("counts", forgery.home))

    # Then it is found to stay open
    [one] = forgery.look().anomalies
    assert (one.kind, one.transactional_id, one.offset) == ("open-transaction", reducer.name, 2)


def test_the_command_names_anomalies_and_ends_with_status_1(forgery: Forgery) -> None:
    record_twice(forgery)
    config = forgery.application.config
    options = ["--bootstrap-servers", str(config.bootstrap_servers), "--app-id", config.app_id]
    options += ["--topic-prefix", config.topic_prefix, "--state-dir", str(config.state)]

    done = CliRunner().invoke(commands, ["verify", "--history", "--json", *options], standalone_mode=False)

    assert done.return_value == ExitStatus.CHECK_FAILED, done.output
    said = json.loads(done.stdout)
    assert not said["exact"] and not said["holds"]
    [one] = said["history"]["anomalies"]
    assert one["kind"] == "duplicate" and one["transactional_id"] == forgery.hand("reduce-0").name
    assert one["topic"] == config.topic("counts") and one["partition"] == forgery.home
    told = CliRunner().invoke(commands, ["verify", "--history", *options], standalone_mode=False).stdout
    assert "history: WRONG: 1 duplicate, in 2 transactions" in told
    assert f"  duplicate: a transaction of {forgery.hand('reduce-0').name} (producer id" in told


def test_nothing_is_wrong_with_an_application_whose_workers_are_killed(application: Application) -> None:
    # Given workers that are killed under way, and followed by others
    application.feed(prose(600, seed=1))
    application.start("map")
    application.start("reduce")
    application.wait_counted()
    with application.feeding(prose(1200, seed=2), rate=600):
        for worker in list(application.workers):
            worker.kill()
            application.start(worker.role)
    application.wait_counted()

    # When totals and history are looked at, while the last workers run: draining, they would delete the last words
    verdict = verify(application.config, history=True)

    # Then all is well, and it says what it has seen
    assert verdict.exact, verdict.text()
    assert verdict.history is not None and verdict.history.judged, verdict.text()
    assert f"nothing is wrong with {verdict.history.transactions:,} transactions" in verdict.text()
