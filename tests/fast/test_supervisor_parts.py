"""The supervisor's smaller parts, each by itself."""

import json
import logging
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import pytest
import terminals
from running import wait_for
from snapshots import worker

from wcsup.errors import ConfigurationError, UsageError
from wcsup.pipeline.report import Role
from wcsup.process import logs
from wcsup.supervisor import LagView
from wcsup.supervisor.autoscale import Autoscaler, Load, LoadHistory, Scaling
from wcsup.supervisor.control import socket_path
from wcsup.supervisor.lock import locked
from wcsup.supervisor.notify import Notifier
from wcsup.supervisor.options import Workers
from wcsup.supervisor.processes import LinePipe
from wcsup.supervisor.relay import Relay
from wcsup.supervisor.resources import automatic, memory, processors
from wcsup.supervisor.signals import SignalQueue

# Options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", Workers(4, 4)),
        ("0", Workers(0, 0)),
        ("1..8", Workers(1, 8)),
        ("auto", Workers(3, 3)),
        ("2..2", Workers(2, 2)),
    ],
)
def test_numbers_of_workers(text: str, expected: Workers) -> None:
    assert Workers.parse(text, 3, 8) == expected


@pytest.mark.parametrize("text", ["-1", "8..1", "1...8", "many", "", "1..", "99999", "0..3"])
def test_what_is_no_number_of_workers(text: str) -> None:
    with pytest.raises(UsageError, match="not a number of workers"):
        Workers.parse(text, 3, 12)


@pytest.mark.parametrize("text", ["9", "9..9", "1..9", "400"])
def test_more_workers_than_partitions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"too many: .* there are 8"):
        Workers.parse(text, 3, 8)


# Resources


@pytest.mark.parametrize(
    ("count", "gigabytes", "partitions", "expected"),
    [
        (1, 64, 12, (1, 1)),
        (2, 64, 12, (1, 1)),
        (4, 64, 12, (2, 2)),
        (8, 64, 12, (5, 3)),
        (64, 64, 12, (12, 12)),
        (64, 64, 1, (1, 1)),
        (64, 2, 12, (2, 1)),
        (64, 0, 12, (1, 1)),
    ],
)
def test_automatic_numbers_fit_the_host(count: int, gigabytes: int, partitions: int, expected: tuple[int, int]) -> None:
    assert automatic(partitions, count, gigabytes << 30) == expected


def test_a_containers_limits_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    assert (processors(tmp_path), memory(tmp_path)) == (1, 1_000_000)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert processors(tmp_path) == len(os.sched_getaffinity(0))
    assert memory(tmp_path) > 1_000_000


# Autoscaling


def load(
    at: float,
    workers: int = 2,
    lag: int = 0,
    *,
    owned: int = 12,
    rate: float = 100,
    cpu: float = 95,
    host: float = 50,
) -> Load:
    return Load(at, workers, lag, owned, rate, cpu, host)


def follow(loads: list[Load], limits: Workers) -> list[int]:
    """Return what is wanted after each look."""
    remembered, wanted = LoadHistory(), []
    for one in loads:
        remembered, count, why = Scaling().decide(one, remembered, limits)
        assert bool(why) == (count != one.workers)
        wanted.append(count)
    return wanted


@pytest.mark.parametrize(
    ("loads", "limits", "expected"),
    [
        # A backlog that stays for ten seconds brings one more; the next one is not before the pause is over.
        ([load(0, lag=5000), load(9, lag=5000), load(10, lag=5000)], Workers(1, 4), [2, 2, 3]),
        ([load(0, lag=5000), load(10, lag=5000), load(11, 3, 5000), load(29, 3, 5000)], Workers(1, 4), [2, 3, 3, 3]),
        ([load(0, lag=5000), load(10, lag=5000), load(11, 3, 5000), load(31, 3, 5000)], Workers(1, 4), [2, 3, 3, 4]),
        # Not past the range, not past the partitions that there are for them, not on a host that is full.
        ([load(0, lag=5000, owned=2), load(60, lag=5000, owned=2)], Workers(1, 4), [2, 2]),
        ([load(0, lag=5000, owned=1), load(60, lag=5000, owned=1)], Workers(1, 4), [2, 2]),
        ([load(0, lag=5000, owned=3), load(60, lag=5000, owned=3)], Workers(1, 4), [2, 3]),
        ([load(0, 4, 5000), load(60, 4, 5000)], Workers(1, 4), [4, 4]),
        ([load(0, lag=5000, host=95), load(60, lag=5000, host=95)], Workers(1, 4), [2, 2]),
        # A backlog that comes and goes brings nothing; nor does a short one.
        ([load(0, lag=5000), load(5, lag=0), load(10, lag=5000), load(15, lag=5000)], Workers(1, 4), [2] * 4),
        ([load(0, lag=900), load(100, lag=900)], Workers(1, 4), [2, 2]),
        # Nothing is committed though records wait: that is a backlog without end.
        ([load(0, lag=1, rate=0), load(10, lag=1, rate=0)], Workers(1, 4), [2, 3]),
        # Idle workers go one by one, a minute each.
        ([load(0, 3, cpu=5), load(59, 3, cpu=5), load(60, 3, cpu=5)], Workers(1, 4), [3, 3, 2]),
        ([load(0, 1, cpu=5), load(100, 1, cpu=5)], Workers(1, 4), [1, 1]),
        # Not where those that stay would have too much to do.
        ([load(0, 2, cpu=40), load(100, 2, cpu=40)], Workers(1, 4), [2, 2]),
        # A number outside of the range (by `scale`, or another range than before) is brought into it.
        ([load(0, 9)], Workers(1, 4), [4]),
        ([load(0, 1)], Workers(2, 4), [2]),
    ],
)
def test_scaling(loads: list[Load], limits: Workers, expected: list[int]) -> None:
    assert follow(loads, limits) == expected


EVEN = dict.fromkeys(range(12), 1500)
A, B, C = range(4), range(4, 8), range(8, 12)


@pytest.mark.parametrize(
    ("owned", "lag", "expected"),
    [
        # 18,000 lines are six seconds of work for three hosts with 1,000 a second each, though they were 18 for one.
        ([[A], [B], [C]], EVEN, [1, 1, 1]),
        ([[A], [B], [C]], dict.fromkeys(range(12), 3000), [2, 2, 2]),
        # Only the host that is behind gets another worker.
        ([[A], [B], [C]], EVEN | dict.fromkeys(B, 3000), [1, 2, 1]),
        ([[range(2), range(2, 4)], [B], [C]], EVEN | dict.fromkeys(A, 3000), [3, 1, 1]),
        ([[range(6)], [[]], [range(6, 12)]], dict.fromkeys(range(12), 3000), [2, 1, 2]),
        # What nobody owns, as while the partitions of a host that is gone wait for others, is nobody's work yet.
        ([[A], [B], [range(8, 11)]], EVEN | {11: 1_000_000}, [1, 1, 1]),
        # A partition is worked on by one worker, however far behind it is.
        ([[[0]], [[1]], [range(2, 12)]], {0: 1_000_000}, [1, 1, 1]),
        ([[[0], []], [[1], [2]], [range(3, 12)]], {0: 1_000_000, 1: 1_000_000}, [2, 2, 1]),
        # Where nobody can say how much waits, nothing changes.
        ([[A], [B], [C]], None, [1, 1, 1]),
        ([[A], [B], [C]], {}, [1, 1, 1]),
    ],
)
def test_three_hosts_scale_by_what_each_of_them_owns(
    owned: list[list[Sequence[int]]], lag: dict[int, int] | None, expected: list[int]
) -> None:
    counts = []
    for workers in owned:
        scaler = Autoscaler(Workers(1, 12), Scaling(full_host=101))
        views = [worker("map", number, partitions=list(places)) for number, places in enumerate(workers)]
        changes = [scaler.look(at, views, 1000 * at, lag) for at in range(12)]
        counts.append(next((change[0] for change in changes if change), len(views)))
    assert counts == expected


@pytest.mark.parametrize(("role", "expected"), [("map", {0: 3, 1: 4}), ("reduce", {0: 1})])
def test_a_roles_lag_is_that_of_its_input(role: Role, expected: dict[int, int]) -> None:
    assert LagView(7, 1, {0: 3, 1: 4}, {0: 1}).by_partition(role) == expected
    assert LagView().by_partition(role) is None


# The lock


def test_a_lock_of_a_dead_holder_is_taken(tmp_path: Path) -> None:
    # Given a process that took the lock and was killed
    code = (
        "import sys, time; from pathlib import Path; from wcsup.supervisor.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(ConfigurationError, match=rf"\(pid {holder.pid}\)"), locked(tmp_path):
            pass
        holder.kill()
    # When another wants it, then it has it, and the file names it
    with locked(tmp_path):
        assert (tmp_path / "supervisor.lock").read_text() == f"{os.getpid()}\n"


# systemd


def test_notifications_reach_systemd_and_its_variables_no_child(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(os.fspath(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": os.fspath(tmp_path / "notify"), "WATCHDOG_USEC": "3000000", "HOME": "/"}
        notifier = Notifier.from_environment(environment)
        assert environment == {"HOME": "/"}
        assert notifier.watchdog == 3.0
        notifier.tell(READY=1, STATUS="well")
        assert systemd.recv(1000) == b"READY=1\nSTATUS=well"
        notifier.close()
    other = Notifier.from_environment({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"})
    assert other.watchdog is None
    other.tell(READY=1)


def test_abstract_addresses_and_a_systemd_that_is_gone() -> None:
    notifier = Notifier("@wcsup-test-nobody-listens")
    notifier.tell(READY=1)
    notifier.close()


# The control socket's place


def test_a_long_state_directory_gets_a_short_socket(tmp_path: Path) -> None:
    assert socket_path(tmp_path / "s") == tmp_path / "s" / "control.sock"
    long = tmp_path / ("x" * 120)
    assert socket_path(long).parent == Path(tempfile.gettempdir())
    assert len(os.fsencode(socket_path(long))) < 100
    assert socket_path(long) == socket_path(tmp_path / "." / ("x" * 120))


# Signals


def test_signals_are_queued_in_order_and_handlers_put_back() -> None:
    before = signal.getsignal(signal.SIGHUP)
    signals = SignalQueue()
    with signals.installed():
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert signals.take() == ["HUP", "USR1", "HUP"]
        assert signals.take() == []
    assert signal.getsignal(signal.SIGHUP) == before


# Pipes


def pipe() -> tuple[LinePipe, int]:
    read_end, write_end = os.pipe()
    return LinePipe(FileIO(read_end), longest=100), write_end


def test_lines_come_whole_and_the_rest_at_the_end() -> None:
    lines, write_end = pipe()
    os.write(write_end, b"one\ntw")
    assert lines.read() == [b"one"]
    assert lines.read() == []
    os.write(write_end, b"o\n\nthree")
    assert lines.read() == [b"two"]
    os.close(write_end)
    assert lines.read() == [b"three"]
    assert lines.ended
    lines.close()


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    lines, write_end = pipe()
    os.write(write_end, b"x" * 1000)
    assert lines.read() == [b"x" * 1000]
    assert not lines.ended
    os.close(write_end)
    lines.close()


# Logs


def render(line: bytes) -> tuple[str, str, str]:
    record = logs.relay(line, "map-0", 4711, "running")
    return record.levelname, record.getMessage(), record.__dict__["phase"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"level": "info", "event": "started"}', ("INFO", "started", "running")),
        (b'{"level": "error", "event": "100 % bad", "phase": "joining"}', ("ERROR", "100 % bad", "joining")),
        (b"%4|1700000000|FAIL|rdkafka", ("WARNING", "%4|1700000000|FAIL|rdkafka", "running")),
        (b'{"level": "loud", "event": "x"}', ("WARNING", '{"level": "loud", "event": "x"}', "running")),
        (b'{"level": "info"}', ("WARNING", '{"level": "info"}', "running")),
        (b'{"half', ("WARNING", '{"half', "running")),
        (b"\xff\xfe", ("WARNING", "\\xff\\xfe", "running")),
    ],
)
def test_childrens_lines_pass(line: bytes, expected: tuple[str, str, str]) -> None:
    assert render(line) == expected


def test_the_reason_of_a_death_names_the_defect() -> None:
    traceback = 'Traceback (most recent call last):\n  File "worker.py", line 1\nZeroDivisionError: division by zero'
    relay = Relay("map-0", 7, time)
    for event, expected in (
        ({"level": "error", "event": "no such topic"}, "no such topic"),
        ({"level": "warning", "event": "not the reason"}, "no such topic"),
        (
            {"level": "error", "event": "a defect", "traceback": traceback},
            "a defect: ZeroDivisionError: division by zero",
        ),
    ):
        relay.take([json.dumps(event).encode()], "running")
        assert relay.last_error == expected


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_rotated_log_file_is_opened_anew(tmp_path: Path, form: logs.LogFormat) -> None:
    file = tmp_path / "log"
    logs.configure("supervisor", form, file=file)
    log = logging.getLogger("wcsup.test")
    log.info("before %s", "all", extra={"slot": "map-0", "pid": 12, "phase": "running"})
    wait_for(lambda: "before all" in file.read_text())
    assert ("map-0[12] running info: before all" in file.read_text()) == (form == "text")
    file.rename(tmp_path / "log.1")
    logs.reopen()
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("after")
    wait_for(lambda: file.exists() and "a reason" in file.read_text())
    assert "after" not in (tmp_path / "log.1").read_text()


@pytest.mark.parametrize(("environment", "colored"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_the_level_of_a_log_line_is_in_colour_on_a_terminal(environment: dict[str, str], colored: bool) -> None:
    ours, theirs = pty.openpty()
    base = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    program = (
        "import logging; from wcsup.process import logs; logs.configure('map-0'); logging.error('one'); "
        "logging.info('two'); logs.flush()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, env={**base, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = terminals.read_out(ours)
    assert process.wait(30) == 0
    first, second = shown.decode().splitlines()
    assert first.endswith("\x1b[31merror\x1b[0m: one" if colored else " error: one")
    assert second.endswith(" info: two") and "\x1b" not in second


def test_output_that_nobody_takes_does_not_hold_the_logger_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    logs.configure("supervisor", file=tmp_path / "log")
    for number in range(30_000):
        logging.getLogger("wcsup.test").info("line %d %s", number, "x" * 100)
    # Then this point is reached, and what was lost is counted once somebody reads again.
    text = b""

    def lost() -> bool:
        nonlocal text
        try:
            text += os.read(reader, 1 << 20)
        except BlockingIOError:
            return False
        return b"lines were lost" in text

    wait_for(lost)
    assert b"line 0 " in text
    os.close(reader)


def test_flushing_writes_everything_before_a_hard_exit() -> None:
    code = (
        "import logging, os, sys; from wcsup.process import logs; from pathlib import Path\n"
        "logs.configure('map-0', 'json'); logs.enter('committing')\n"
        "for n in range(100): logging.getLogger('x').info('line %d', n)\n"
        "logs.flush(); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], stderr=subprocess.PIPE, check=True)
    assert done.stderr.count(b"\n") == 100
    assert b'"phase": "committing", "event": "line 99"' in done.stderr
