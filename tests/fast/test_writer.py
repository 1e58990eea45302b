"""Writing by way of the outlet, on librdkafka's own mock of a cluster."""

import contextlib
import gc
import time
from typing import Any

import pytest
from application import wait_for
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from mocked import TOPIC, Mock
from totals import listed

from wcsup import _core
from wcsup.audit.proxy import Api
from wcsup.kafka import clients
from wcsup.kafka.reader import messages
from wcsup.kafka.writer import Writer

RECORDS = _core.Records([(1, b"key-%d" % number, b"value-%d" % number) for number in range(10)])


def writer(servers: str | None, **settings: int) -> Writer:
    plugin: dict[str, object] = {"bootstrap.servers": servers, "plugin.library.paths": _core.plugin(), "log_level": 0}
    return Writer(plugin | {name.replace("_", "."): value for name, value in settings.items()})


def nowhere(**settings: int) -> Writer:
    return writer("127.0.0.1:1", **settings)


def read(mock: Mock, partition: int, count: int) -> list[Message]:
    settings = {"bootstrap.servers": mock.config.bootstrap_servers, "group.id": "g"}
    with contextlib.closing(Consumer(settings)) as consumer:
        consumer.assign([TopicPartition(TOPIC, partition, 0)])
        found: list[Message] = []
        deadline = time.monotonic() + 10
        while len(found) < count and time.monotonic() < deadline:
            found += messages(consumer, count, 0.2)
        return found


def test_records_are_written_as_they_are(mock: Mock) -> None:
    producer = writer(mock.config.bootstrap_servers)
    odd = _core.Records([(1, b"", b""), (1, b"\0\xff", b"v" * 100_000)])
    assert producer.write(TOPIC, RECORDS, 2, 5) == 3
    assert producer.write(TOPIC, odd, 0, 99) == 2
    assert producer.write(TOPIC, RECORDS, 9, 9) == producer.write(TOPIC, RECORDS, 20, 30) == 0
    assert producer.flush(10) == 0
    expected = [*listed(RECORDS)[2:5], (b"", b""), (b"\0\xff", b"v" * 100_000)]
    assert [(message.key(), message.value()) for message in read(mock, 1, 5)] == expected


def records_of(*words: bytes, line_time: int | None) -> _core.Records:
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    combiner.add(_core.Inbox([(0, number, None, word, line_time) for number, word in enumerate(words)]))
    return combiner.records()


def test_records_of_lines_tell_the_time_of_the_oldest_one(mock: Mock) -> None:
    producer = transactional(mock)
    producer.begin_transaction()
    assert producer.write(TOPIC, records_of(b"a", b"b", b"c", line_time=1_764_547_200_123), 1, 3) == 2
    assert producer.write(TOPIC, records_of(b"d", line_time=None), 0, 1) == 1
    producer.settle(10)
    assert producer.written() == {(TOPIC, 0): 2}
    producer.commit_transaction(10)
    one, told = (1).to_bytes(8, "big"), [("line-time", (1_764_547_200_123).to_bytes(8, "big"))]
    assert [(message.key(), message.value(), message.headers()) for message in read(mock, 0, 3)] == [
        (b"b", one, told),
        (b"c", one, told),
        (b"d", one, None),
    ]


def test_a_full_queue_takes_the_first_records_of_lines() -> None:
    producer = nowhere(queue_buffering_max_messages=2)
    assert producer.write(TOPIC, records_of(b"a", b"b", b"c", line_time=1), 0, 3) == 2
    assert producer.write(TOPIC, records_of(b"a", line_time=1), 0, 1) == 0


def test_each_record_goes_to_its_partition(mock: Mock) -> None:
    partitions = [1, 0, 0, 1, 1, 0]
    records = _core.Records([(partition, b"%d" % number, b"") for number, partition in enumerate(partitions)])
    producer = writer(mock.config.bootstrap_servers)
    assert producer.write(TOPIC, records, 1, 5) == 4
    assert producer.flush(10) == 0
    assert [message.key() for message in read(mock, 0, 2)] == [b"1", b"2"]
    assert [message.key() for message in read(mock, 1, 2)] == [b"3", b"4"]


def transactional(mock: Mock) -> Writer:
    producer = clients.transactional_producer(mock.config, "name")
    producer.init_transactions(10)
    return producer


def test_what_was_written_is_told_by_the_transaction(mock: Mock) -> None:
    producer = transactional(mock)
    for number in range(2):
        producer.begin_transaction()
        assert producer.written() == {}
        records = _core.Records([(partition, b"key", b"value") for partition in (0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)])
        producer.write(TOPIC, records, 0, 20)
        producer.write("other", records, 0, 1)
        producer.commit_transaction(10)
        # A commit's control record has an offset, too.
        assert producer.written() == {(TOPIC, 0): 7 + 9 * number, (TOPIC, 1): 3 + 5 * number, ("other", 0): 2 * number}


class Log:
    """A logger that keeps librdkafka's lines, by their facility."""

    def __init__(self) -> None:
        self.facilities: list[object] = []

    def log(self, _level: int, _text: str, *arguments: object) -> None:
        self.facilities.append(arguments[0])


CHANGES = [Api.PRODUCE, Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.TXN_OFFSET_COMMIT, Api.END_TXN]


class Transactional:
    """A transactional writer of a mock cluster, and transactions that have a request of each kind."""

    def __init__(self, mock: Mock, **settings: Any) -> None:
        own = {"transactional.id": "name", "reconnect.backoff.ms": 20, "retry.backoff.ms": 20, "logger": Log()}
        servers = {"bootstrap.servers": mock.config.bootstrap_servers, "metadata.recovery.strategy": "none"}
        self.writer = Writer(servers | {"plugin.library.paths": _core.plugin()} | own | settings)
        with contextlib.closing(Consumer(servers | {"group.id": "group"})) as consumer:
            self._metadata = consumer.consumer_group_metadata()

    def commit(self) -> None:
        self.writer.begin_transaction()
        self.writer.write(TOPIC, RECORDS, 0, 10)
        self.writer.send_offsets_to_transaction([TopicPartition(TOPIC, 0, 3)], self._metadata)
        self.writer.commit_transaction(30)


SILENT = [
    {"log.connection.close": "false"},
    {"log_level": 0},
    {"debug": "all"},
    {"enabled_events": 0xFF},
    {"log.queue": "false"},
    {"socket.max.fails": 0},
]
"""Settings that change what is logged, or told otherwise."""


@pytest.mark.parametrize(
    ("api", "settings"), [*((api, {}) for api in CHANGES), *((Api.END_TXN, settings) for settings in SILENT)], ids=str
)
def test_a_request_whose_connection_breaks_is_without_an_answer(mock: Mock, api: Api, settings: dict[str, Any]) -> None:
    producer = Transactional(mock, **settings)
    producer.writer.init_transactions(10)
    producer.commit()
    assert not producer.writer.unanswered()
    mock.answer(api, KafkaError._TRANSPORT)
    producer.commit()
    assert producer.writer.unanswered(), "by the time that the commit has succeeded"
    producer.commit()
    assert producer.writer.unanswered(), "for good: it may still arrive"


@pytest.mark.parametrize("api", CHANGES)
@pytest.mark.parametrize("max_fails", [0, 1])
def test_a_request_whose_time_is_up_is_without_an_answer(mock: Mock, api: Api, max_fails: int) -> None:
    """Whether or not its connection is closed for that; its answer comes after all where it is not."""
    producer = Transactional(mock, **{"socket.timeout.ms": 500, "socket.max.fails": max_fails})
    producer.writer.init_transactions(10)
    mock.answer(api, after=3)  # librdkafka looks once a second whose time is up
    producer.commit()
    assert producer.writer.unanswered()


@pytest.mark.parametrize(
    ("api", "error"),
    [
        (Api.PRODUCE, KafkaError.REQUEST_TIMED_OUT),
        (Api.ADD_PARTITIONS, KafkaError.CONCURRENT_TRANSACTIONS),
        (Api.ADD_OFFSETS, KafkaError.CONCURRENT_TRANSACTIONS),
        (Api.TXN_OFFSET_COMMIT, KafkaError.COORDINATOR_LOAD_IN_PROGRESS),
        (Api.END_TXN, KafkaError.CONCURRENT_TRANSACTIONS),
    ],
)
def test_an_answer_that_tells_of_an_error_is_an_answer(mock: Mock, api: Api, error: int) -> None:
    producer = Transactional(mock)
    producer.writer.init_transactions(10)
    mock.answer(api, error)
    producer.commit()
    assert not producer.writer.unanswered()


@pytest.mark.parametrize("api", [Api.METADATA, Api.FIND_COORDINATOR, Api.INIT_PRODUCER_ID])
def test_a_request_that_changes_no_transaction_may_be_without_an_answer(mock: Mock, api: Api) -> None:
    producer = Transactional(mock)
    mock.answer(api, KafkaError._TRANSPORT)
    producer.writer.init_transactions(10)
    producer.commit()
    assert not producer.writer.unanswered()


def test_an_error_that_is_repeated_and_logged_no_more_is_noticed(mock: Mock) -> None:
    log = Log()
    producer = Transactional(mock, logger=log)
    # Given a coordinator's connection that broke twice, under requests that may be without an answer
    for _ in range(2):
        mock.answer(Api.INIT_PRODUCER_ID, KafkaError._TRANSPORT)
    producer.writer.init_transactions(10)
    producer.commit()
    assert log.facilities.count("FAIL") == 2
    assert not producer.writer.unanswered()
    # When it breaks a third time, which librdkafka does not log for 30 s
    mock.answer(Api.END_TXN, KafkaError._TRANSPORT)
    producer.commit()
    # Then it is noticed all the same
    assert producer.writer.unanswered()
    producer.commit()  # with all that was logged
    assert log.facilities.count("FAIL") == 2


def test_settling_ends_with_the_last_delivery(mock: Mock) -> None:
    producer = transactional(mock)
    producer.begin_transaction()
    producer.settle(60)  # nothing was given
    producer.write(TOPIC, RECORDS, 0, 10)
    began = time.monotonic()
    producer.settle(60)
    assert time.monotonic() - began < 30
    assert producer.written()[TOPIC, 1] == 9
    # librdkafka tells of a delivery just before it lets go of the record; a report would stay, for nobody polls.
    wait_for("no report of a delivery is left to be served", lambda: len(producer) == 0)
    producer.commit_transaction(10)


def test_settling_ends_after_its_time_and_where_enough_is_delivered() -> None:
    producer = nowhere()
    producer.write(TOPIC, RECORDS, 0, 10)
    for seconds, left in ((0.3, 0), (0.3, 9), (0.0, 0)):
        began = time.monotonic()
        producer.settle(seconds, left)
        assert seconds <= time.monotonic() - began < seconds + 5
    began = time.monotonic()
    producer.settle(60, 10)
    assert time.monotonic() - began < 30
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"\w"):
            producer.settle(wrong)
    producer.purge()
    began = time.monotonic()
    producer.settle(60)
    assert time.monotonic() - began < 30, "what failed is settled"
    assert producer.written() == {}
    producer.flush(1)


def test_a_full_queue_takes_the_first_ones() -> None:
    producer = nowhere(queue_buffering_max_messages=7)
    assert producer.write(TOPIC, RECORDS, 1, 10) == 7
    assert producer.write(TOPIC, RECORDS, 8, 10) == 0
    producer.purge()
    producer.flush(1)
    assert producer.write(TOPIC, RECORDS, 8, 10) == 2
    producer.purge()
    producer.flush(1)
    records = _core.Records([(number // 4, b"key", b"value") for number in range(12)])
    assert producer.write(TOPIC, records, 1, 12) == 7, "of several partitions, too"
    producer.purge()
    producer.flush(1)


def test_what_librdkafka_refuses_is_raised() -> None:
    producer = nowhere(message_max_bytes=2000)
    with pytest.raises(KafkaException) as raised:
        producer.write(TOPIC, _core.Records([(0, b"a", b"a" * 3000)]), 0, 1)
    assert raised.value.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    with pytest.raises(KafkaException):
        producer.write("t" * 600, RECORDS, 0, 1)
    for wrong in ("\0", "t\0"):
        with pytest.raises(ValueError, match="nul"):
            producer.write(wrong, RECORDS, 0, 1)


def test_what_was_never_sent_is_not_in_doubt() -> None:
    failed: list[Message] = []
    producer = nowhere(message_timeout_ms=200)
    for number in range(3):
        producer.produce(TOPIC, b"%d" % number, on_delivery=lambda _, message: failed.append(message))
    producer.flush(20)
    assert (len(failed), producer.in_doubt()) == (3, 0)

    producer.produce(TOPIC, b"3", on_delivery=lambda _, message: failed.append(message))
    producer.purge()
    producer.flush(20)
    assert (len(failed), producer.in_doubt()) == (4, 0)


def test_an_outlet_ends_with_its_producer() -> None:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "plugin.library.paths": _core.plugin(), "log_level": 0})
    outlet = _core.Outlet.of_newest_producer()
    assert outlet.produce(TOPIC, RECORDS, 0, 10) == (10, 0)
    with pytest.raises(RuntimeError, match="has made no client"):
        _core.Outlet.of_newest_producer()
    producer.purge()
    del producer
    gc.collect()
    with pytest.raises(RuntimeError, match="closed"):
        outlet.produce(TOPIC, RECORDS, 0, 10)


def test_a_producer_outlives_its_outlet() -> None:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "plugin.library.paths": _core.plugin(), "log_level": 0})
    outlet = _core.Outlet.of_newest_producer()
    outlet.produce(TOPIC, RECORDS, 0, 10)
    del outlet
    gc.collect()
    assert len(producer) >= 10
    producer.purge()
    assert producer.flush(1) == 0


def test_inbox_and_outlet_are_each_of_their_own_kind(mock: Mock) -> None:
    servers = {"bootstrap.servers": mock.config.bootstrap_servers, "plugin.library.paths": _core.plugin()}
    with contextlib.closing(Consumer(servers | {"group.id": "g"})), pytest.raises(RuntimeError, match="no producer"):
        _core.Outlet.of_newest_producer()
    producer = Producer(servers)
    with pytest.raises(RuntimeError, match="consumer"):
        _core.Inbox.of_newest_consumer()
    assert producer.flush(1) == 0


def test_records_are_a_sequence() -> None:
    assert len(RECORDS) == 10
    assert RECORDS[9] == (1, b"key-9", b"value-9")
    assert len(_core.Records()) == 0
    with pytest.raises(IndexError):
        RECORDS[10]
    with pytest.raises(OverflowError):
        RECORDS[-11]
