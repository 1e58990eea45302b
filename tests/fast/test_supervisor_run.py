"""The real supervisor with fake workers: starting, replacing, giving up, draining."""

import json
import os
import pty
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from leaks import descriptors
from running import Running, gone, wait_for

from wcsup.errors import ExitStatus


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_ready_when_every_worker_is(state: Path) -> None:
    with Running(state, {"reduce-0": "slow"}, options={"mappers": 2}) as run:
        status = run.until(lambda s: [w["ready"] for w in s["workers"]] == [True, True, False])
        assert not status["ready"]
        run.behave({})
        os.kill(run.worker("reduce-0")["pid"], signal.SIGKILL)
        # The slow one may become ready before it dies.
        status = run.until(lambda s: s["ready"] and [w["restarts"] for w in s["workers"]] == [0, 0, 1])
        assert [(w["role"], w["slot"], w["state"]) for w in status["workers"]] == [
            ("map", "map-0", "running"),
            ("map", "map-1", "running"),
            ("reduce", "reduce-0", "running"),
        ]
        assert [w["partitions"] for w in status["workers"]] == [[0], [1], [0]]


def test_a_killed_worker_is_replaced_by_the_spare_and_its_work_stays_counted(state: Path) -> None:
    with Running(state) as run:
        status = run.until(lambda s: s["ready"] and s["spares"] and s["totals"]["map"]["commits"] > 3)
        before, spare = run.worker("map-0"), status["spares"][0]
        os.kill(before["pid"], signal.SIGKILL)
        status = run.until(lambda s: s["workers"][0]["restarts"] == 1 and s["ready"] and s["spares"])
        after = run.worker("map-0")
        assert after["pid"] == spare
        assert after["last_exit"].startswith("killed by SIGKILL")
        assert after["counters"]["commits"] >= before["counters"]["commits"]
        assert status["spares"] != [spare]
        assert status["restarts"] == {"killed": 1}


def test_a_crash_loop_stops_the_run_with_the_reason(state: Path) -> None:
    with Running(state, {"map-1": "crash"}, options={"mappers": 2}, policy={"shortest": 0.01, "longest": 0.02}) as run:
        assert run.end() == ExitStatus.GAVE_UP
        assert "error: map-1 died 5 times without getting to work in between" in run.text
        assert "RuntimeError: a bug" in run.text
        assert run.text.count("drained") >= 2  # the others finished their work


def test_a_record_that_nobody_can_read_stops_the_run(state: Path) -> None:
    with Running(state, {"map-0": "poison"}, policy={"shortest": 0.01, "longest": 0.02}) as run:
        assert run.end() == ExitStatus.GAVE_UP


def test_all_crashing_together_stop_the_run_sooner(state: Path) -> None:
    policy = {"shortest": 0.01, "longest": 0.02, "slot_deaths": 50}
    with Running(state, {"*": "crash"}, options={"mappers": 3}, policy=policy) as run:
        assert run.end() == ExitStatus.GAVE_UP
        assert "error: all 4 workers keep dying" in run.text


@pytest.mark.parametrize("status", [ExitStatus.CONFIGURATION, ExitStatus.USAGE, ExitStatus.BROKER_UNREACHABLE])
def test_what_no_restart_can_help_stops_the_run_at_once(state: Path, status: ExitStatus) -> None:
    with Running(state, {"map-0": f"exit {status:d}"}, options={"mappers": 2}) as run:
        assert run.end() == status
        assert f"({status.name.lower()}): leaving with {status:d}" in run.text.splitlines()[-1]
        assert "starts again" not in run.text


def test_a_worker_that_asks_for_a_retry_waits_longer_each_time(state: Path) -> None:
    with Running(state, {"map-0": "exit 7"}, policy={"slot_deaths": 100}) as run:
        run.until(lambda s: s["workers"][0]["restarts"] >= 3)
        status = run.until(lambda s: s["workers"][0]["state"] == "backoff", "the state of waiting")
        assert status["restarts"] == {"retry": status["workers"][0]["restarts"]}
        run.behave({})
        run.until_ready()


def test_one_workers_disk_stops_nobody_else(state: Path) -> None:
    quick = {"shortest": 0.01, "longest": 0.05, "slot_deaths": 3}
    with Running(state, {"reduce-1": "exit 10"}, options={"reducers": 2}, policy=quick) as run:
        status = run.until(lambda s: s["workers"][2]["restarts"] >= 8)
        assert status["restarts"] == {"disk": status["workers"][2]["restarts"]}
        assert [worker["ready"] for worker in status["workers"]] == [True, True, False]
        run.behave({})
        run.until_ready()


def test_a_run_ends_when_no_reducer_has_a_disk(state: Path) -> None:
    quick = {"shortest": 0.01, "longest": 0.05}
    run_of_two = Running(state, {"reduce-0": "exit 10", "reduce-1": "exit 10"}, options={"reducers": 2}, policy=quick)
    with run_of_two as run:
        assert run.end() == ExitStatus.CONFIGURATION
        assert run.text.splitlines()[-1].endswith("(disk): leaving with 10")
        assert "map-0" in run.text and "drained" in run.text


def test_a_fenced_slot_stays_down_and_says_so(state: Path) -> None:
    with Running(state, {"map-1": "exit 4"}, options={"mappers": 2}) as run:
        status = run.until(lambda s: s["workers"][1]["state"] == "failed" and s["workers"][0]["ready"])
        assert "fenced" in status["workers"][1]["failed"]
        assert not status["ready"]
        run.behave({})
        run.request("restart", slot="map-1", wait=True)
        run.until_ready()


def test_all_fenced_ends_the_run(state: Path) -> None:
    with Running(state, {"*": "exit 4"}) as run:
        assert run.end() == ExitStatus.FENCED
        assert "every worker is down" in run.text


@pytest.mark.parametrize("behaviour", ["hang", "freeze"])
def test_a_worker_that_stands_still_is_dumped_and_killed(state: Path, behaviour: str) -> None:
    deadlines = {"turning": 0.5, "dump": 0.3}
    with Running(state, {"map-0": behaviour}, deadlines=deadlines, policy={"slot_deaths": 100}) as run:
        run.until(lambda s: s["restarts"].get("hung", 0) >= 1)
        run.until_printed("stood still for")
        run.until_printed('fake_worker.py", line')  # of its stacks: from within a C call, or of one that was stopped
        run.behave({})
        run.until_ready()
        assert "hung, killed: stood still" in run.worker("map-0")["last_exit"]


def test_a_stopped_worker_is_shown_as_silent_before_it_is_killed(state: Path) -> None:
    with Running(state, {"reduce-0": "freeze"}, deadlines={"turning": 300.0}) as run:
        status = run.until(lambda s: any(worker["silent"] for worker in s["workers"]))
        assert not status["ready"]
        silent = next(worker for worker in status["workers"] if worker["silent"])
        assert (silent["slot"], silent["state"]) == ("reduce-0", "running")
        os.kill(silent["pid"], signal.SIGCONT)
        run.until_ready()


def test_mappers_drain_before_reducers(state: Path) -> None:
    with Running(state, options={"mappers": 2, "reducers": 2}) as run:
        run.until_ready()
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
        ends = [line.split()[1].split("[")[0] for line in run.text.splitlines() if "info: ended" in line]
        assert sorted(ends[:2]) == ["map-0", "map-1"]
        assert sorted(ends[2:]) == ["reduce-0", "reduce-1"]
        drained = [line.split()[1].split("[")[0] for line in run.text.splitlines() if line.endswith("drained")]
        assert [name.split("-")[0] for name in drained] == ["map", "map", "reduce", "reduce"]


def test_the_second_signal_kills(state: Path) -> None:
    with Running(state, {"map-0": "stubborn"}) as run:
        run.until_ready()
        run.signal(signal.SIGINT)
        run.until(lambda s: s["workers"][0]["state"] == "draining")
        run.signal(signal.SIGINT)
        assert run.end() == ExitStatus.DONE
        assert "SIGINT again" in run.text
        assert "ended: killed at the second signal" in run.text
        assert "somebody" not in run.text


def test_a_drain_that_takes_too_long_is_ended(state: Path) -> None:
    with Running(state, {"map-0": "stubborn"}, deadlines={"drain": 0.3, "dump": 0.1}) as run:
        run.until_ready()
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
        assert "did not drain in 0 s" in run.text


def test_a_run_drains_when_it_is_done(state: Path) -> None:
    with Running(state, done_after_commits=5) as run:
        assert run.end() == ExitStatus.DONE
        assert "stopping: everything is done" in run.text


def test_no_orphans_and_the_next_run_starts_at_once(state: Path) -> None:
    with Running(state, {"map-0": "hang", "map-1": "freeze"}, options={"mappers": 4}) as run:
        status = run.until(lambda s: all(w["ready"] for w in s["workers"]) and s["spares"])
        pids = [w["pid"] for w in status["workers"]] + status["spares"]
        run.process.kill()
        run.process.wait()
        began = time.monotonic()
        wait_for(lambda: all(gone(pid) for pid in pids), "the end of all workers")
        assert time.monotonic() - began < 2
    with Running(state) as run:
        run.until_ready()


def test_a_second_run_is_refused_and_names_the_first(state: Path) -> None:
    with Running(state) as first:
        first.until_ready()
        with Running(state) as second:
            assert second.end() == ExitStatus.CONFIGURATION
            assert f"(pid {first.process.pid})" in second.text
        assert first.until_ready()["pid"] == first.process.pid


def test_hangup_restarts_one_after_another(state: Path) -> None:
    with Running(state, options={"mappers": 2}) as run:
        before = {w["slot"]: w["pid"] for w in run.until_ready()["workers"]}
        run.signal(signal.SIGHUP)
        seen = []

        def look(status: dict[str, Any]) -> bool:
            seen.append(sum(not worker["ready"] for worker in status["workers"]))
            return bool(status["ready"]) and status["restarts"] == {"requested": 3}

        after = {w["slot"]: w["pid"] for w in run.until(look)["workers"]}
        assert max(seen) <= 1
        assert not set(before.values()) & set(after.values())


def test_a_slot_can_be_rolled_by_a_signal_to_the_worker_itself(state: Path) -> None:
    with Running(state) as run:
        before = run.until_ready()["workers"][0]["pid"]
        os.kill(before, signal.SIGTERM)
        status = run.until(lambda s: s["ready"] and s["workers"][0]["pid"] != before)
        assert status["restarts"] == {"drained": 1}


def test_a_worker_that_outgrows_its_memory_is_replaced_after_a_drain(state: Path) -> None:
    with Running(state, {"map-0": "big 100"}, options={"max_rss": 80 << 20}, policy={"healthy_after": 0.1}) as run:
        run.until(lambda s: s["workers"][0]["ready"])
        run.behave({})
        run.until(lambda s: s["restarts"] == {"max_rss": 1} and s["ready"])
        run.until_printed("more than --max-rss")
        assert run.worker("map-0")["last_exit"] == "exit status 0 (done)"


def test_workers_can_be_bound_to_processors(state: Path) -> None:
    first = min(os.sched_getaffinity(0))
    with Running(state, options={"cpu_affinity": [first]}) as run:
        for worker in run.until_ready()["workers"]:
            assert os.sched_getaffinity(worker["pid"]) == {first}


def test_usage_of_each_worker_is_shown(state: Path) -> None:
    with Running(state) as run:
        status = run.until(lambda s: s["workers"][0]["threads"] == 2)
        worker = status["workers"][0]
        assert worker["rss_bytes"] > 1 << 20
        assert worker["open_files"] >= 4
        assert worker["cpu_percent"] >= 0


def test_unreadable_reports_are_said_and_a_silent_worker_is_hung(state: Path) -> None:
    with Running(state, {"map-0": "garbage"}, deadlines={"turning": 0.5, "dump": 0.1}) as run:
        run.until_printed("unreadable report")
        run.behave({})
        run.until(lambda s: s["restarts"] == {"hung": 1} and s["ready"])


def test_a_terminals_interrupt_reaches_workers_through_the_supervisor_alone(state: Path) -> None:
    with Running(state) as run:
        for worker in run.until_ready()["workers"]:
            assert os.getsid(worker["pid"]) == worker["pid"]


def test_a_task_that_fails_fails_the_run(state: Path) -> None:
    feeder = [sys.executable, "-c", "import sys; print('no such file', file=sys.stderr); sys.exit(2)"]
    with Running(state, tasks={"feed": feeder}) as run:
        assert run.end() == ExitStatus.USAGE
        assert "feed: exit status 2 (usage)" in run.text
        assert "warning: no such file" in run.text


def test_a_task_shows_its_progress_and_ends(state: Path) -> None:
    feeder = [sys.executable, "-c", "print('{\"lines\": 7}')"]
    with Running(state, tasks={"feed": feeder}) as run:
        status = run.until(lambda s: s["tasks"] and not s["tasks"][0]["running"])
        assert status["tasks"][0]["progress"] == {"lines": 7}
        assert status["tasks"][0]["status"] == 0
        run.until_ready()


def test_a_task_is_ended_with_the_run(state: Path) -> None:
    feeder = [sys.executable, "-c", "import time; time.sleep(1000)"]
    with Running(state, tasks={"feed": feeder}) as run:
        pid = run.until_ready()["tasks"][0]["pid"]
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
        assert gone(pid)


def test_a_tasks_status_is_the_runs(state: Path) -> None:
    with Running(state, tasks={"feed": [sys.executable, "-c", "raise SystemExit(1)"]}) as run:
        assert run.end() == ExitStatus.CHECK_FAILED


def test_workers_come_with_the_backlog_and_go_with_it(state: Path) -> None:
    quick = {"high_for": 0.1, "low_for": 0.1, "pause": 0.1, "full_host": 101.0}
    with Running(state, {"*": "wide"}, lag=1_000_000, scaling=quick, options={"mappers": "1..3", "reducers": 2}) as run:
        run.until(lambda s: [w["slot"] for w in s["workers"]] == ["map-0", "map-1", "map-2", "reduce-0", "reduce-1"])
        run.until_printed("scaling map from 2 to 3: 1000000 records wait")
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
    with Running(state, lag=0, scaling=quick, options={"mappers": "1..3"}) as run:
        run.until_ready()
        run.request("scale", mappers=3)
        run.until(lambda s: [w["slot"] for w in s["workers"]] == ["map-0", "reduce-0"])


def test_a_terminal_that_is_closed_ends_the_run(state: Path) -> None:
    ours, theirs = pty.openpty()
    with Running(state, terminal=theirs) as run:
        os.close(theirs)
        run.until_ready()
        run.signal(signal.SIGHUP)
        run.until(lambda s: s["ready"] and s["restarts"] == {"requested": 2})
        os.close(ours)
        assert run.end() == ExitStatus.DONE
        assert "the terminal is gone" in run.text


def test_strangers_are_buried_where_the_supervisor_adopts_them(state: Path) -> None:
    # A process that leaves children behind: they become the subreaper's, as a container's become PID 1's.
    orphan = "import os, sys\nfor _ in range(5):\n    if os.fork() == 0: os._exit(0)\nos._exit(0)"
    maker = [
        sys.executable,
        "-c",
        f"import subprocess, sys; [subprocess.run([sys.executable, '-c', {orphan!r}]) for _ in range(3)]",
    ]
    with Running(state, tasks={"maker": maker}, subreaper=True) as run:
        run.until(lambda s: s["ready"] and not s["tasks"][0]["running"] and s["spares"])
        me = psutil.Process(run.process.pid)
        wait_for(lambda: len(me.children()) == 3, "no child but two workers and a spare")
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in me.children())
        os.kill(run.worker("map-0")["pid"], signal.SIGKILL)
        assert run.until(lambda s: s["restarts"] == {"killed": 1} and s["ready"])


def test_a_thousand_kills_leave_nothing_behind(state: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    shell = ["/bin/bash", str(Path(__file__).with_name("fake_worker.sh"))]
    with Running(state, worker=shell, options={"mappers": 6, "reducers": 2}) as run:
        supervisor = psutil.Process(run.process.pid)
        killed = 0

        def all_well(status: dict[str, Any]) -> bool:
            return bool(status["ready"]) and sum(status["restarts"].values()) == killed

        def kill_until(count: int) -> tuple[int, int]:
            """Kill some of the workers again and again; return descriptors and memory when all is well again."""
            nonlocal killed
            while killed < count:
                victims = chance.sample(run.until(all_well)["workers"], chance.randint(1, 8))
                for worker in victims:
                    os.kill(worker["pid"], signal.SIGKILL)
                killed += len(victims)
            run.until(lambda status: all_well(status) and status["spares"])
            wait_for(lambda: len(supervisor.children()) == 9, "no child but the workers and a spare")
            return descriptors(supervisor), supervisor.memory_info().rss

        held, memory = kill_until(300)
        held_later, memory_later = kill_until(1000)
        assert held_later == held
        assert memory_later < memory + (2 << 20)
        status = run.status()
        assert status["restarts"] == {"killed": killed}
        assert sum(status["totals"][role]["commits"] for role in ("map", "reduce")) == killed + 8


def test_a_flood_of_log_lines_holds_nobody_up(state: Path) -> None:
    with Running(state, {"map-0": "noisy"}) as run:
        # The flood may be this far before a reducer has run for the 50 ms between its commits: what counts is that
        # reducers and their reports go on beside it.
        before = run.until(lambda s: s["ready"] and s["workers"][0]["counters"]["commits"] > 500)
        status = run.until(lambda s: s["totals"]["reduce"]["commits"] > before["totals"]["reduce"]["commits"] + 5)
        assert status["workers"][0]["counters"]["commits"] > before["workers"][0]["counters"]["commits"]
        run.behave({})
        os.kill(status["workers"][0]["pid"], signal.SIGKILL)
        run.until_printed("log lines were dropped: they came too fast")
        run.until(lambda s: s["ready"] and s["restarts"] == {"killed": 1})


def test_a_supervisor_that_was_stopped_itself_takes_nobody_for_hung(state: Path) -> None:
    with Running(state, deadlines={"turning": 1.0}) as run:
        run.until_ready()
        run.signal(signal.SIGSTOP)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2)
        run.signal(signal.SIGCONT)
        before = run.status()["totals"]["map"]["commits"]
        status = run.until(lambda s: s["totals"]["map"]["commits"] > before + 5)
        assert status["ready"]
        assert status["restarts"] == {}


def test_log_lines_are_json_and_the_file_is_opened_anew(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "wcsup.log"
    with Running(state, log_format="json", log_file=str(file)) as run:
        run.until_ready()
        wait_for(lambda: "ready: 2 workers" in file.read_text())
        file.rename(tmp_path / "wcsup.log.1")
        run.signal(signal.SIGUSR1)
        run.request("restart", slot="map-0", wait=True)
        wait_for(lambda: file.exists() and "drained" in file.read_text())
    for path in (file, tmp_path / "wcsup.log.1"):
        for line in path.read_text().splitlines():
            assert {"time", "level", "slot", "pid", "event"} <= json.loads(line).keys()


def test_systemd_hears_of_readiness_life_and_the_end(state: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(os.fspath(tmp_path / "notify"))
        systemd.settimeout(20)
        heard: set[str] = set()
        environment = {"NOTIFY_SOCKET": os.fspath(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with Running(state, environment=environment) as run:
            while not {"READY=1", "WATCHDOG=1", "STATUS=2 of 2 workers ready"} <= heard:
                heard.add(systemd.recv(1000).decode())
            heard.clear()
            run.signal(signal.SIGHUP)
            while not any(message.startswith("RELOADING=1\nMONOTONIC_USEC=") for message in heard):
                assert "READY=1" not in heard
                heard.add(systemd.recv(1000).decode())
            while "READY=1" not in heard:
                heard.add(systemd.recv(1000).decode())
            assert run.status()["restarts"] == {"requested": 2}
            run.signal(signal.SIGTERM)
            while not {"STOPPING=1", "STATUS=SIGTERM"} <= heard:
                heard.add(systemd.recv(1000).decode())
            assert run.end() == ExitStatus.DONE
