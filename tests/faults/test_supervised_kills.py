"""The real supervisor with real workers that are killed all the time: counts are exact and nothing is left behind.

`make soak-supervisor KILLS=1000` runs it for longer and says the figures.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from application import WAIT_SECONDS, Application, prose, wait_for
from leaks import descriptors
from shell import Shell

from wcsup.errors import WcsupError
from wcsup.supervisor import request

KILLS = int(os.environ.get("KILLS") or 40)
MAPPERS, REDUCERS = 3, 2
RATE = 2000
"""Lines a second while workers die."""


@contextmanager
def fed(application: Application, seed: int) -> Iterator[None]:
    """Write lines all the time, until the block ends."""
    over = threading.Event()

    def feed() -> None:
        chance = random.Random(seed)
        while not over.is_set():
            application.feed(prose(RATE // 2, chance.getrandbits(32)), rate=RATE)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Killer:
    """Kills workers of a run, and looks at what that leaves."""

    def __init__(self, shell: Shell, pid: int, seed: int) -> None:
        self._state = shell.config.state
        self._supervisor = psutil.Process(pid)
        self._chance = random.Random(seed)
        self.killed = 0
        self._seen: set[psutil.Process] = set()
        """Every process that there ever was, as far as it was seen; a pid alone may be another's by now."""

    def status(self) -> dict[str, Any]:
        with suppress(WcsupError):  # a busy machine: the next one will answer
            status: dict[str, Any] = request(self._state, {"command": "status"})
            for pid in [*(worker["pid"] for worker in status["workers"] if worker["pid"]), *status["spares"]]:
                with suppress(psutil.NoSuchProcess):
                    self._seen.add(psutil.Process(pid))
            return status
        return {"ready": False, "workers": [], "restarts": {}, "spares": []}

    def kill_until(self, count: int) -> tuple[int, int]:
        """Kill ready workers as fast as they come back; return the supervisor's descriptors and memory after it."""
        dead: set[tuple[str, int]] = set()
        while self.killed < count:
            ready = [w for w in self.status()["workers"] if w["ready"] and (w["slot"], w["restarts"]) not in dead]
            for worker in self._chance.sample(ready, self._chance.randint(0, len(ready)))[: count - self.killed]:
                os.kill(worker["pid"], signal.SIGKILL)
                dead.add((worker["slot"], worker["restarts"]))
                self.killed += 1
        wait_for("every worker is back", self._all_well, 2 * WAIT_SECONDS)
        return descriptors(self._supervisor), self._supervisor.memory_info().rss

    def survivors(self) -> list[psutil.Process]:
        """Return the processes that are still there."""
        return [process for process in self._seen if process.is_running()]

    def _all_well(self) -> bool:
        status = self.status()
        children = self._supervisor.children()
        return (
            status["ready"]
            and status["restarts"]["killed"] == self.killed
            and len(status["spares"]) == 1
            and len(children) == MAPPERS + REDUCERS + 1
            and all(child.status() != psutil.STATUS_ZOMBIE for child in children)
        )


@pytest.mark.timeout(120 + 3 * KILLS)
def test_workers_die_all_the_time_and_counts_are_exact(wcsup: Shell, seed: int) -> None:
    running = wcsup.start(f"run --mappers {MAPPERS} --reducers {REDUCERS} --log-file run.log")
    wcsup.wait_ready()
    # The supervisor has all of its clients only when it has told other hosts of itself.
    wait_for("it tells of itself", lambda: '"machine"' in wcsup("status --all --json").out)
    killer = Killer(wcsup, running.pid, seed)

    with fed(wcsup.application, seed):
        held, memory = killer.kill_until(KILLS // 5)
        began = time.monotonic()
        held_later, memory_later = killer.kill_until(KILLS)
        seconds = time.monotonic() - began
    print(
        f"{KILLS - KILLS // 5} kills in {seconds:.0f} s; descriptors {held} then {held_later}, "
        f"resident {memory / 1e6:.1f} MB then {memory_later / 1e6:.1f} MB; "
        f"{wcsup.application.written.total():,} words written; restarts {killer.status()['restarts']}"
    )

    # Nothing is left behind in the supervisor
    assert held_later == held
    assert memory_later < memory + (4 << 20)

    # Nor by it
    wcsup.application.wait_counted(2 * WAIT_SECONDS)
    assert wcsup("drain --wait").status == 0
    assert running.wait(WAIT_SECONDS) == 0
    assert not killer.survivors()

    # And every word is counted once
    assert wcsup.application.counts() == wcsup.application.written
