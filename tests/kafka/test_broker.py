"""The embedded broker as a process: found, stopped, killed, started twice, refused."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from wcsup import broker
from wcsup.broker.process import OUTPUT
from wcsup.config import Config
from wcsup.errors import ConfigurationError

START = "import sys, pathlib, wcsup.broker as b; print(b.start(pathlib.Path(sys.argv[1])).pid)"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose broker is gone after the test."""
    directory = tmp_path / "its data"
    yield directory
    broker.stop(directory)


def test_two_starts_at_once_give_one_broker_that_outlives_them(data: Path) -> None:
    # When two processes start the broker of a new directory
    starters = [
        subprocess.Popen([sys.executable, "-c", START, data], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    pids = {int(starter.communicate()[0]) for starter in starters}

    # Then both get the same one, which is nobody's child and in nobody's terminal session
    found = broker.status(data)
    assert found is not None
    assert pids == {found.pid}
    assert os.getsid(found.pid) not in {os.getsid(0), *(starter.pid for starter in starters)}
    assert found.data == data
    # and a third start, and a command without a named broker, find it too
    assert broker.start(data) == found
    assert broker.ensure(Config(data_dir=data)) == found.bootstrap
    # and nobody reaches it from another machine
    listening = [c.laddr for c in psutil.Process(found.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 2
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_killed_it_starts_again_with_its_data_at_its_port(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given committed lines
    first = broker.start(data)
    create_topic(first.bootstrap)
    producer = Producer({"bootstrap.servers": first.bootstrap, "transactional.id": "t", "logger": QUIET})
    producer.init_transactions()
    producer.begin_transaction()
    for number in range(1000):
        producer.produce("kept", str(number).encode())
    producer.commit_transaction()

    # When the broker is killed
    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs([process] if (process := living(first.pid)) else [], timeout=10)
    assert broker.status(data) is None
    capsys.readouterr()
    second = broker.start(data)

    # Then that is said in one line, and lines and address are as they were
    (said,) = capsys.readouterr().err.splitlines()
    assert "crashed" in said
    assert Path(said.partition("see ")[2].partition("):")[0]).exists()
    assert second.pid != first.pid
    assert second.bootstrap == first.bootstrap
    assert read_all(second.bootstrap, 1000) == {str(number).encode() for number in range(1000)}
    # and the producer that was connected goes on by itself
    producer.begin_transaction()
    producer.produce("kept", b"after")
    producer.commit_transaction()


def test_stopped_it_keeps_data_and_port(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = broker.start(data)
    create_topic(first.bootstrap)
    assert broker.stop(data) is True
    assert not psutil.pid_exists(first.pid) or psutil.Process(first.pid).status() == psutil.STATUS_ZOMBIE
    assert broker.status(data) is None
    assert broker.stop(data) is False
    capsys.readouterr()

    second = broker.start(data)
    assert second.bootstrap == first.bootstrap
    assert "kept" in AdminClient({"bootstrap.servers": second.bootstrap}).list_topics(timeout=10).topics
    assert capsys.readouterr().err == ""  # a stop is no crash


def test_a_taken_port_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        # Asked for, it is an error that says who has it
        with pytest.raises(ConfigurationError, match=f"port {taken} is taken by pid {os.getpid()}") as refused:
            broker.start(data, port=taken)
        assert "\n" not in str(refused.value)

    # The port of an earlier run is given up for another one, with a line about it
    first = broker.start(data)
    broker.stop(data)
    capsys.readouterr()
    port = int(first.bootstrap.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        second = broker.start(data)
    assert second.bootstrap != first.bootstrap
    assert f"port {port}" in capsys.readouterr().err
    # and a running broker is not moved
    with pytest.raises(ConfigurationError, match="runs already"):
        broker.start(data, port=port)


def test_an_end_while_starting_is_said_in_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="heap space") as ended:
        broker.start(data, heap="6m")
    assert str(data / OUTPUT) in str(ended.value)
    assert "\n" not in str(ended.value)
    # When started rightly, it is not a crash any more
    broker.start(data)
    assert "crashed" not in capsys.readouterr().err


class Quiet:
    """A logger for clients whose broker is killed under them."""

    def log(self, *_: object) -> None:
        """Say nothing."""


QUIET = Quiet()


def living(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def create_topic(bootstrap: str) -> None:
    settings: dict[str, Any] = {"bootstrap.servers": bootstrap, "logger": QUIET}
    admin = AdminClient(settings)
    admin.create_topics([NewTopic("kept", num_partitions=3, replication_factor=1)])["kept"].result(30)


def read_all(bootstrap: str, count: int) -> set[bytes | None]:
    settings = {"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe(["kept"])
    values: list[bytes | None] = []
    while len(values) < count:  # the test's time-out ends a loop that lacks records
        values += [message.value() for message in consumer.consume(count, timeout=0.2) if not message.error()]
    consumer.close()
    return set(values)
