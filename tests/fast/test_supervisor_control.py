"""Steering a running supervisor over its socket, by clients of every kind."""

import itertools
import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from running import Running

from wcsup.errors import ConfigurationError, ExitStatus, UsageError
from wcsup.supervisor import request
from wcsup.supervisor.control import socket_path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def connect(state: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(os.fspath(socket_path(state)))
    client.settimeout(20)
    return client


def send(state: Path, data: bytes) -> Any:
    with connect(state) as client, client.makefile("rb") as replies:
        client.sendall(data)
        return json.loads(replies.readline())


def test_status_has_what_users_are_promised(state: Path) -> None:
    with Running(state) as run:
        status = run.until_ready()
        promised = {"role", "slot", "pid", "state", "restarts", "partitions", "cpu_percent", "rss_bytes"}
        assert promised <= status["workers"][0].keys()
        assert status["lines_lag"] is None
        assert status["words_lag"] is None


def test_only_the_owner_may_steer(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        assert stat.S_IMODE(socket_path(state).stat().st_mode) == 0o600


def test_the_socket_goes_with_the_run_and_a_left_one_is_no_obstacle(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        run.process.kill()
        run.process.wait()
        assert socket_path(state).exists()
    with pytest.raises(ConfigurationError, match="no supervisor runs"):
        request(state, {"command": "status"})
    with Running(state) as run:
        run.until_ready()
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    assert not socket_path(state).exists()
    with pytest.raises(ConfigurationError, match="no supervisor runs"):
        request(state, {"command": "status"})


def test_a_state_directory_with_a_long_name(tmp_path: Path) -> None:
    with Running(tmp_path / ("x" * 120)) as run:
        run.until_ready()


def test_scaling_while_work_goes_on(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        untouched = run.worker("map-0")["pid"]
        assert run.request("scale", mappers=4, reducers=2, wait=True)["slots"] == dict.fromkeys(
            ("map-0", "map-1", "map-2", "map-3", "reduce-0", "reduce-1"), "running"
        )
        before = run.status()["totals"]["map"]["commits"]
        assert list(run.request("scale", mappers=1, wait=True)["slots"]) == ["map-0", "reduce-0", "reduce-1"]
        status = run.status()
        assert status["totals"]["map"]["commits"] >= before
        assert status["workers"][0]["pid"] == untouched
        assert status["restarts"] == {}


def test_scaling_by_a_difference(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        for _ in range(2):
            run.request("scale", mappers_by=1)
        assert run.request("scale", reducers_by=1, wait=True)["slots"].keys() == {
            "map-0",
            "map-1",
            "map-2",
            "reduce-0",
            "reduce-1",
        }
        assert run.request("scale", mappers_by=-5, wait=True)["slots"].keys() == {"reduce-0", "reduce-1"}
        with pytest.raises(UsageError, match="too many"):
            run.request("scale", mappers_by=99)


def test_restarting_one_and_all(state: Path) -> None:
    with Running(state) as run:
        before = {worker["slot"]: worker["pid"] for worker in run.until_ready()["workers"]}
        run.request("restart", slot="reduce-0", wait=True)
        after = {worker["slot"]: worker["pid"] for worker in run.status()["workers"]}
        assert after["map-0"] == before["map-0"]
        assert after["reduce-0"] != before["reduce-0"]
        run.request("restart", slot="all", wait=True)
        assert run.status()["restarts"] == {"requested": 3}


def test_draining(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        assert run.request("drain", wait=True) == {"slots": {}}
        assert run.end() == ExitStatus.DONE


def test_a_host_may_have_no_worker_of_a_kind(state: Path) -> None:
    with Running(state) as run:
        run.until_ready()
        assert run.request("scale", mappers=0, wait=True)["slots"].keys() == {"reduce-0"}
        assert run.request("scale", reducers=0, wait=True) == {"slots": {}}
        assert run.request("scale", mappers=1, wait=True)["slots"].keys() == {"map-0"}
        assert run.request("drain", wait=True) == {"slots": {}}
        assert run.end() == ExitStatus.DONE


def test_a_run_that_ends_takes_no_more_orders(state: Path) -> None:
    with Running(state, {"map-0": "stubborn"}) as run:
        run.until_ready()
        run.request("drain")
        with pytest.raises(UsageError, match="the run is ending: asked to drain"):
            run.request("scale", mappers=2)
        with pytest.raises(UsageError, match="the run is ending"):
            run.request("restart", slot="all")
        assert run.status()["stopping"] == "asked to drain"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\n", "not JSON"),
        (b"hello\n", "not JSON"),
        (b"\xff\xff\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b"[]\n", "no command None"),
        (b"7\n", "no command None"),
        (b'{"command": 7}\n', "no command 7"),
        (b'{"command": ["status"]}\n', "no command ['status']"),
        (b'{"command": "fly"}\n', "no command 'fly'; there are status, scale, restart, drain"),
        (b'{"command": "scale"}\n', "scale needs"),
        (b'{"command": "scale", "mappers": -1}\n', "not a number of workers"),
        (b'{"command": "scale", "mappers": true}\n', "not a number of workers"),
        (b'{"command": "scale", "mappers": 1e3}\n', "not a number of workers"),
        (b'{"command": "scale", "mappers": 1, "reducers": 13}\n', "13 workers of a kind are too many"),
        (b'{"command": "scale", "mappers": 100000}\n', "and there are 12"),
        (b'{"command": "restart"}\n', "restart needs a slot"),
        (b'{"command": "restart", "slot": ["map-0"]}\n', "restart needs a slot"),
        (b'{"command": "restart", "slot": "map-7"}\n', "no slot 'map-7'"),
        (b"x" * 70_000, "too long"),
    ],
)
def test_malformed_requests_get_an_error(shared_run: Running, data: bytes, error: str) -> None:
    reply = send(shared_run.state, data)
    assert reply["ok"] is False
    assert error in reply["error"]
    assert shared_run.until_ready()["restarts"] == {}


def test_many_requests_on_one_connection(shared_run: Running) -> None:
    with connect(shared_run.state) as client, client.makefile("rb") as replies:
        client.sendall(b'{"command": "status"}\n' * 1000 + b"bad\n" + b'{"command": "status"}\n')
        fine = [json.loads(line)["ok"] for line in itertools.islice(replies, 1002)]
        assert fine == [True] * 1000 + [False, True]


def test_clients_that_come_and_go_or_never_read(shared_run: Running) -> None:
    idle = [connect(shared_run.state) for _ in range(100)]  # more than are let in
    for client in idle:
        client.close()
    deaf = connect(shared_run.state)
    deaf.setblocking(False)
    try:
        while True:
            deaf.send(b'{"command": "status"}\n' * 1000)
    except (BlockingIOError, BrokenPipeError):
        pass
    half = connect(shared_run.state)
    half.sendall(b'{"command": "sta')
    assert shared_run.until_ready()["restarts"] == {}
    deaf.close()
    half.close()
    assert shared_run.until_ready()


def test_a_request_in_pieces(shared_run: Running) -> None:
    with connect(shared_run.state) as client, client.makefile("rb") as replies:
        for byte in b'{"command": "status"}\n':
            client.sendall(bytes([byte]))
        assert json.loads(replies.readline())["ok"]


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Running(tmp_path_factory.mktemp("shared")) as run:
        run.until_ready()
        yield run


def test_a_worker_that_is_killed_on_request_is_replaced(state: Path) -> None:
    with Running(state) as run:
        before = {worker["slot"]: worker["pid"] for worker in run.until_ready()["workers"]}
        run.request("kill", slot="map-0")
        run.until(lambda s: s["ready"] and s["restarts"] == {"killed": 1})
        assert run.worker("map-0")["pid"] != before["map-0"]
        told = [(event["slot"], event["event"]) for event in run.status()["events"]]
        assert told[-3:] == [("map-0", "ended"), ("map-0", "started"), ("map-0", "back")]
        with pytest.raises(UsageError, match="'map-7' has no process"):
            run.request("kill", slot="map-7")
