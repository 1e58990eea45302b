"""Reading by way of the inbox, on librdkafka's own mock of a cluster."""

import contextlib
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from unittest.mock import MagicMock
from unittest.mock import call as called

import pytest
import running
from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, Producer, TopicPartition
from mocked import PARTITIONS, TOPIC, Mock
from totals import listed

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import RetryError, UsageError
from wcsup.kafka import clients
from wcsup.kafka.reader import Reader


@pytest.fixture
def reader(mock: Mock) -> Iterator[Reader]:
    with contextlib.closing(clients.assigned_reader(mock.config)) as reader:
        yield reader


def at(*partitions: int, offset: int = 0) -> list[TopicPartition]:
    return [TopicPartition(TOPIC, partition, offset) for partition in partitions]


def assign(reader: Reader, *partitions: int, offset: int = 0) -> None:
    reader.assign(at(*partitions, offset=offset))


def counts(reader: Reader, *partitions: int, words: int) -> dict[bytes, int]:
    """Read until so many words of partitions came, which none did before; return them."""
    combiner = _core.Combiner("ascii", 1)
    for partition in partitions:
        combiner.own(partition, 0)
    deadline = time.monotonic() + 10
    while combiner.words < words and time.monotonic() < deadline:
        reader.read(0.2)
        combiner.add(reader.inbox)
    return {key: int.from_bytes(value, "big") for key, value in listed(combiner.records())}


def wait_for(reader: Reader, records: int) -> None:
    """Fill the inbox with so many records."""
    deadline = time.monotonic() + 10
    while len(reader.inbox) < records and time.monotonic() < deadline:
        reader.inbox.wait(0.2)
        reader.consumer.poll(0)
        reader.inbox.take(records - len(reader.inbox), 1 << 20)


def told(reader: Reader, combiner: _core.Combiner | None = None) -> list[tuple[KafkaError, int]]:
    """Read until anything but records comes; return it. What is read goes to the combiner, where there is one."""
    deadline = time.monotonic() + 10
    notices: list[tuple[KafkaError, int]] = []
    while not notices and time.monotonic() < deadline:
        notices += reader.read(0.2)
        if combiner is not None:
            combiner.add(reader.inbox)
    return notices


def with_a_record_taken(mock: Mock) -> Reader:
    mock.produce(b"a")
    reader = clients.assigned_reader(mock.config)
    assign(reader, 0)
    wait_for(reader, 1)
    return reader


def test_records_come_to_the_inbox(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a b", b"a", None, b"")
    mock.produce(b"c", partition=1)
    assign(reader, 0, 1, PARTITIONS - 1)
    assert counts(reader, 0, 1, PARTITIONS - 1, words=5) == {b"a": 2, b"b": 1, b"c": 1, b"first": 1}


def test_a_line_has_the_time_in_kafka(mock: Mock, reader: Reader) -> None:
    mock.producer.produce(TOPIC, b"a later line", partition=0, timestamp=1_764_547_200_456)
    mock.producer.produce(TOPIC, b"a line", partition=0, timestamp=1_764_547_200_123)
    assert mock.producer.flush(5) == 0
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    assign(reader, 0)
    wait_for(reader, 2)
    combiner.add(reader.inbox)
    assert combiner.records().line_time == 1_764_547_200_123


def test_a_record_of_words_has_the_time_that_it_tells(mock: Mock, reader: Reader) -> None:
    for told in (7, 9, 7, None, b"no time"):
        value = told.to_bytes(8, "big") if isinstance(told, int) else told
        headers: list[tuple[str, str | bytes | None]] = [("other", b"12345678")]
        headers += [("line-time", value)] if value else []
        mock.producer.produce(TOPIC, (3).to_bytes(8, "big"), b"word", partition=0, headers=headers)
    mock.producer.produce(TOPIC, (3).to_bytes(8, "big"), b"word", partition=0)
    assert mock.producer.flush(5) == 0
    aggregator = _core.Aggregator(1)
    aggregator.own(0, 0)
    assign(reader, 0)
    wait_for(reader, 6)
    aggregator.add(reader.inbox)
    assert aggregator.line_times() == [(7, 6), (9, 3)]
    assert aggregator.counted == 18


def test_the_end_of_a_partition_is_told_and_moves_its_offset(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a", b"b")
    assign(reader, 0)
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    notices = told(reader, combiner)
    assert [(error.code(), partition) for error, partition in notices] == [(KafkaError._PARTITION_EOF, 0)]
    assert combiner.offsets() == [(0, 2)]
    assert combiner.taken == 2


def test_an_error_that_comes_by_callback_does_no_harm(mock: Mock, reader: Reader) -> None:
    # librdkafka puts "partition does not exist" into that partition's queue, where it has its callback called for it.
    # confluent-kafka's own aborts the process unless one of its methods is being called.
    assign(reader, 99)
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        assert reader.read(0.2) == []
    mock.produce(b"a")
    assign(reader, 0)
    assert counts(reader, 0, words=1) == {b"a": 1}


def test_an_error_of_a_partition_is_told_in_its_place(mock: Mock) -> None:
    settings = {
        "bootstrap.servers": mock.config.bootstrap_servers,
        "group.id": "g",
        "auto.offset.reset": "error",
        "logger": logging.getLogger("wcsup.kafka"),
        "plugin.library.paths": _core.plugin(),
    }
    mock.produce(b"a")
    with contextlib.closing(Reader(Consumer(settings))) as reader:
        assign(reader, 0, offset=99)
        [(error, partition)] = told(reader)
        assert (error.code(), partition) == (KafkaError._AUTO_OFFSET_RESET, 0)
        assert "Offset out of range" in error.str()
        assert len(reader.inbox) == 1, "it has its place beside the records"


def test_what_is_taken_is_bounded(mock: Mock, reader: Reader) -> None:
    mock.produce(*[b"word " * 200] * 2000)
    assign(reader, 0)
    wait_for(reader, 1)
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    combiner.add(reader.inbox)
    time.sleep(0.5)  # the rest comes
    for records, size, most in ((7, 1 << 30, 7), (1500, 1, 4), (1500, 600_000, 602)):
        reader.inbox.take(records, size)
        assert 0 < len(reader.inbox) <= most
        combiner.add(reader.inbox)
        assert len(reader.inbox) == 0
    reader.inbox.take(0, 1 << 30)
    assert len(reader.inbox) == 0
    before = combiner.taken
    wait_for(reader, 2000 - before)
    combiner.add(reader.inbox)
    assert combiner.words == 2000 * 200


def test_what_is_taken_is_bounded_where_large_records_follow_small_ones(mock: Mock, reader: Reader) -> None:
    mock.produce(*[b"a"] * 100)
    assign(reader, 0)
    wait_for(reader, 100)
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    combiner.add(reader.inbox)
    told(reader)  # of the end, which has no size at all
    mock.produce(*[b"a", *[b"word " * 13_000] * 40])
    wait_for(reader, 1)
    combiner.add(reader.inbox)
    time.sleep(0.5)  # the rest comes
    reader.inbox.take(1500, 512 << 10)
    assert 0 < len(reader.inbox) <= 10
    combiner.add(reader.inbox)
    wait_for(reader, 141 - combiner.taken)
    combiner.add(reader.inbox)
    assert combiner.words == 101 + 40 * 13_000


def test_a_turn_adds_to_what_was_taken_before(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a", b"b", b"c")
    assign(reader, 0)
    wait_for(reader, 1)
    wait_for(reader, 3)
    combiner = _core.Combiner("ascii", 1)
    combiner.own(0, 0)
    combiner.add(reader.inbox)
    assert combiner.taken == 3


def test_refused_records_are_copies(mock: Mock, reader: Reader) -> None:
    mock.produce(b"seven b", key=b"a")
    mock.produce(b"\0" * 8)
    mock.produce(None)
    assign(reader, 0)
    wait_for(reader, 3)
    aggregator = _core.Aggregator(1)
    aggregator.own(0, 0)
    aggregator.add(reader.inbox)
    reader.close()
    assert aggregator.rejected() == [
        (0, 0, b"a", b"seven b", "the value has 7 bytes, not 8"),
        (0, 1, None, b"\0" * 8, "the record has no key"),
        (0, 2, None, None, "the record has no key"),
    ]


def test_what_was_fetched_before_a_seek_or_an_unassignment_is_dropped(mock: Mock, reader: Reader) -> None:
    mock.produce(*[b"old"] * 100)
    mock.produce(*[b"other"] * 100, partition=1)
    assign(reader, 0, 1)
    time.sleep(0.5)
    reader.consumer.seek(TopicPartition(TOPIC, 0, 90))
    reader.unassign(at(1))
    assert counts(reader, 0, 1, words=10) == {b"old": 10}
    assign(reader, 1, offset=40)
    assert counts(reader, 0, 1, words=60) == {b"other": 60}


def test_a_partition_that_is_taken_away_and_assigned_again_at_once_is_read(mock: Mock, reader: Reader) -> None:
    # The stop of its fetcher comes after the new assignment then, and undoes that it was diverted.
    mock.produce(*[b"a"] * 10)
    for _ in range(5):
        assign(reader, 0)
        assert counts(reader, 0, words=10) == {b"a": 10}
        reader.unassign(at(0))
        assign(reader, 0)
        assert counts(reader, 0, words=10) == {b"a": 10}
        reader.unassign(at(0))


def test_a_paused_partition_rests(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a", b"a")
    mock.produce(b"b", partition=1)
    assign(reader, 0, 1)
    reader.consumer.pause(at(0))
    assert counts(reader, 0, 1, words=1) == {b"b": 1}
    reader.read(0.3)
    reader.consumer.resume(at(0))
    assert counts(reader, 0, 1, words=2) == {b"a": 2}


def test_a_partition_that_is_assigned_paused_is_read_from_where_it_is_sought(mock: Mock, reader: Reader) -> None:
    mock.produce(b"before", b"a", b"a")
    mock.produce(b"b", partition=1)
    reader.assign_paused(at(0, 1, offset=OFFSET_INVALID))
    reader.consumer.seek(TopicPartition(TOPIC, 0, 1))  # at once: nothing has been asked of the broker yet
    reader.resume(at(0))
    assert counts(reader, 0, 1, words=2) == {b"a": 2}
    combiner = _core.Combiner("ascii", 1)
    combiner.own(1, 0)
    reader.read(0.3)
    combiner.add(reader.inbox)
    assert combiner.words == 0
    reader.consumer.seek(TopicPartition(TOPIC, 1, 0))
    reader.resume(at(1))
    assert counts(reader, 0, 1, words=1) == {b"b": 1}


def test_what_is_assigned_already_is_fetched_on_at_once(reader: Reader) -> None:
    # librdkafka pauses it for a rebalance, in which its fetcher may have gone to sleep.
    reader.inbox = watched = MagicMock(wraps=reader.inbox)
    reader.assign_paused([])
    reader.assign_paused(at(0))
    watched.wake.assert_not_called()
    reader.assign_paused(at(1))
    watched.wake.assert_called_once_with([(TOPIC, 0)])
    reader.unassign(at(1))
    reader.assign_paused([])
    assert watched.wake.call_args_list == [called([(TOPIC, 0)])] * 2


def test_a_heartbeat_that_is_due_is_sent_and_told_when_librdkafka_is_woken(mock: Mock) -> None:
    due = clients.heartbeat_seconds(mock.config)
    with contextlib.closing(clients.group_reader(mock.config, "group", "member")) as reader:
        assert reader.inbox.since_heartbeat() is None
        reader.consumer.subscribe([TOPIC], on_assign=lambda _, partitions: reader.assign_paused(partitions))
        deadline = time.monotonic() + 10
        while reader.inbox.since_heartbeat() is None and time.monotonic() < deadline:
            reader.read(0.05)
            reader.consumer.memberid()
        for _ in range(5):  # of its own accord it looks once a second
            time.sleep(max(0.0, due - heartbeat_age(reader)))
            reader.consumer.memberid()
            time.sleep(due / 2)
            assert heartbeat_age(reader) < due


def heartbeat_age(reader: Reader) -> float:
    since = reader.inbox.since_heartbeat()
    assert since is not None
    return since


def test_a_broker_that_does_not_answer_keeps_nobody_from_resuming_or_closing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(bootstrap_servers=f"127.0.0.1:{silent.getsockname()[1]}")
        with contextlib.closing(clients.assigned_reader(config)) as reader:
            assign(reader, 0)
            for _ in range(100):
                reader.resume(at(0))
            reader.inbox.wake([])


def test_waiting_ends_with_a_record(mock: Mock, reader: Reader) -> None:
    assign(reader, 0)
    told(reader)  # the end of the empty partition
    _core.Combiner("ascii", 1).add(reader.inbox)
    threading.Timer(0.3, lambda: mock.produce(b"a")).start()
    began = time.monotonic()
    reader.inbox.wait(20)
    reader.inbox.take(10, 1 << 20)
    assert len(reader.inbox) == 1
    assert 0.2 < time.monotonic() - began < 10


def test_waiting_ends_after_its_time_and_at_once_for_none(mock: Mock, reader: Reader) -> None:
    assign(reader, 0)

    def wait(seconds: float) -> float:
        began = time.monotonic()
        reader.inbox.wait(seconds)
        return time.monotonic() - began

    # On a busy machine it takes a while until nothing comes any more.
    for _ in range(20):
        if (waited := wait(0.3)) >= 0.3:
            break
        reader.read(0.2)
        _core.Combiner("ascii", 1).add(reader.inbox)
    assert 0.3 <= waited < 5.3
    assert wait(0.0) < 5
    mock.produce(b"a")
    reader.inbox.wait(1e19)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match=r"\w"):
            reader.inbox.wait(wrong)


def test_a_signal_ends_the_waiting(reader: Reader) -> None:
    heard = []

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGUSR1, hear)
    try:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
        began = time.monotonic()
        while not heard and time.monotonic() - began < 10:
            reader.inbox.wait(20)
        assert time.monotonic() - began < 10
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_run_meanwhile(reader: Reader) -> None:
    turns = 0
    ended = threading.Event()

    def turn() -> None:
        nonlocal turns
        while not ended.wait(0.01):
            turns += 1

    thread = threading.Thread(target=turn)
    thread.start()
    reader.inbox.wait(0.5)
    ended.set()
    thread.join()
    assert turns > 5


def test_a_record_that_passes_the_inbox_by_is_an_error(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a")
    reader.consumer.assign(at(0))
    with pytest.raises(RetryError, match="lines, partition 0, was not diverted"):
        for _ in range(50):
            reader.read(0.2)


def test_a_closed_consumer_takes_its_records_along(mock: Mock, reader: Reader) -> None:
    mock.produce(b"a", b"b")
    assign(reader, 0)
    wait_for(reader, 2)
    reader.close()
    assert len(reader.inbox) == 0
    for call in (
        lambda: reader.inbox.take(1, 1),
        lambda: reader.inbox.wait(0),
        lambda: reader.inbox.divert(TOPIC, 0),
        lambda: reader.inbox.wake([(TOPIC, 0)]),
        lambda: _core.Combiner("ascii", 1).add(reader.inbox),
        lambda: reader.read(0),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            call()


def test_a_consumer_that_is_forgotten_takes_its_records_along(mock: Mock) -> None:
    reader = with_a_record_taken(mock)
    inbox = reader.inbox
    del reader
    gc.collect()
    with pytest.raises(RuntimeError, match="closed"):
        inbox.take(1, 1)


def test_an_inbox_that_is_forgotten_leaves_the_consumer_be(mock: Mock) -> None:
    reader = with_a_record_taken(mock)
    consumer = reader.consumer
    del reader
    gc.collect()
    assert consumer.poll(0.2) is None
    consumer.close()


def test_no_descriptor_stays(mock: Mock) -> None:
    def once() -> None:
        with contextlib.closing(clients.assigned_reader(mock.config)) as reader:
            assign(reader, 0)
            reader.read(0.05)

    once()
    gc.collect()
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(5):
        once()
    gc.collect()
    # The mock, which is in this process, closes its ends a moment later.
    running.wait_for(lambda: len(list(Path("/dev/fd").iterdir())) <= before)


def test_the_inbox_is_that_of_the_newest_consumer(mock: Mock) -> None:
    mock.produce(b"a")
    mock.produce(b"b", partition=1)
    with (
        contextlib.closing(clients.assigned_reader(mock.config)) as first,
        contextlib.closing(clients.assigned_reader(mock.config)) as second,
    ):
        with pytest.raises(RuntimeError, match="has made no client"):
            _core.Inbox.of_newest_consumer()
        assign(first, 0)
        assign(second, 1)
        assert counts(first, 0, words=1) == {b"a": 1}
        assert counts(second, 1, words=1) == {b"b": 1}


def test_a_consumer_of_another_thread_or_without_the_plugin_has_no_inbox(mock: Mock) -> None:
    made: list[Consumer] = []
    settings = {"bootstrap.servers": mock.config.bootstrap_servers, "group.id": "g", "logger": logging.getLogger()}
    plugin = {"plugin.library.paths": _core.plugin()}
    thread = threading.Thread(target=lambda: made.append(Consumer(settings | plugin)))
    thread.start()
    thread.join()
    made.append(Consumer(settings))
    with pytest.raises(RuntimeError, match="has made no client"):
        _core.Inbox.of_newest_consumer()
    Producer({"bootstrap.servers": mock.config.bootstrap_servers} | plugin)
    with pytest.raises(RuntimeError, match="has made no client"):
        _core.Inbox.of_newest_consumer()
    for consumer in made:
        consumer.close()


def test_a_consumer_whose_callback_for_errors_would_be_called_has_no_inbox(mock: Mock) -> None:
    # It is taken over with the setting that comes after it, and without a logger there is none.
    settings = {"bootstrap.servers": mock.config.bootstrap_servers, "group.id": "g"}
    consumer = Consumer(settings | {"plugin.library.paths": _core.plugin()})
    with pytest.raises(RuntimeError, match="needs a logger"):
        _core.Inbox.of_newest_consumer()
    consumer.close()


def test_a_topic_that_is_no_c_string_is_refused(reader: Reader) -> None:
    with pytest.raises(ValueError, match="nul byte"):
        reader.inbox.divert("a\0b", 0)
    with pytest.raises(ValueError, match="nul byte"):
        reader.inbox.wake([("a\0b", 0)])


def test_plugins_of_the_users_stay(mock: Mock, tmp_path: Path) -> None:
    source, plugin = tmp_path / "plugin.c", tmp_path / "plugin.so"
    source.write_text('#include <stdlib.h>\nint conf_init(void) { return setenv("PLUGIN_WAS_LOADED", "yes", 1); }\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", plugin, source], check=True)
    settings = tmp_path / "kafka.properties"
    settings.write_text(f"plugin.library.paths={plugin}\n")
    program = f"""
import ctypes, sys
from pathlib import Path
from wcsup.config import Config
from wcsup.kafka import clients
clients.assigned_reader(Config(bootstrap_servers="{mock.config.bootstrap_servers}", kafka_config=Path(sys.argv[1])))
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"PLUGIN_WAS_LOADED"))
"""
    done = subprocess.run([sys.executable, "-c", program, settings], check=True, stdout=subprocess.PIPE, text=True)
    assert done.stdout == "b'yes'\n"


def test_a_plugin_that_cannot_be_loaded_is_said(mock: Mock, tmp_path: Path) -> None:
    settings = tmp_path / "kafka.properties"
    settings.write_text("plugin.library.paths=/nowhere/plugin.so\n")
    with pytest.raises(UsageError, match=r"kafka.properties: .*/nowhere/plugin.so"):
        clients.assigned_reader(Config(bootstrap_servers=mock.config.bootstrap_servers, kafka_config=settings))


def test_the_plugin_alone_is_refused_before_it_is_asked_for() -> None:
    program = """
import importlib.util, sys
from confluent_kafka import Consumer, KafkaException
path = importlib.util.find_spec("wcsup._core").origin
try:
    Consumer({"group.id": "g", "plugin.library.paths": path})
except KafkaException as error:
    print(error.args[0].str())
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert "wcsup._core.plugin() was not called" in done.stdout
