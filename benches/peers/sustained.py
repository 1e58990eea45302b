"""The highest rate of lines that a system keeps up with: lines are written while it works."""

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.peers.cluster import HERE, Cluster, Input
from benches.peers.measure import Started, new_home, started
from benches.peers.systems import System
from benches.peers.workloads import WORKLOADS, Truth

SUSTAINED = "sustained"
STEPS = 5
_WARM = 10.0
"""Seconds at the lower bound before the first step: no start-up is in its figures, and less of what Java compiles."""
_PAUSE = 0.1
"""Between two looks at the backlog."""
_TOLERANCE = 0.1
"""Seconds of input by which a backlog may rise and not count as growth: a look is late for its low by that at most."""
_BETWEEN_COMMITS = 1.0
"""Seconds of input that a system which keeps up may have before it: each of them commits once in that time at least."""
_KEPT = 0.97
"""The driver has kept a rate if it has written this part of the lines, or more."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Look:
    """What was written and what was committed at a moment, in records of each stage's topic."""

    moment: float
    progress: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Step:
    """What came of a rate."""

    rate: int
    """Lines a second that the driver was asked for."""
    written: float
    """Lines a second that it wrote. It shares the cores with the system."""
    middle: float
    """The least backlog in the third quarter of the step: lines that the system's group had not committed yet.

    Commits come once a second or so: the backlog rises in between, and how much of that a quarter has is chance.
    """
    end: float
    """The least backlog in the last quarter."""
    kept: bool
    """The driver has kept the rate."""
    holds: bool
    """It has, and no stage's backlog has grown from the third quarter to the last."""
    cpu: float
    """Processor seconds of the system in the step."""
    broker_cpu: float
    driver_cpu: float


@dataclass(frozen=True, slots=True)
class Sustained:
    """A search. `rate` is none where no step held, or where the totals were not exact in the end."""

    system: str
    round: int
    seconds: float
    """Of each step."""
    rate: int | None
    steps: list[Step]
    resident: int
    load: float


class Driver:
    """The process that writes lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.lines = 0
        """How many it has written so far."""

    def begin(self, rate: int, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{rate} {seconds}\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, float]:
        """Wait for the end of what was begun; return how many lines it wrote and its processor seconds."""
        assert self._process.stdout is not None
        lines, cpu = json.loads(self._process.stdout.readline())
        self.lines += lines
        return lines, cpu


@contextmanager
def driving(cluster: Cluster, given: Input) -> Iterator[Driver]:
    """Start a driver that is ready to write."""
    command = [sys.executable, "-m", "benches.peers.driver", cluster.bootstrap, f"{given.prefix}lines"]
    with subprocess.Popen(
        command, cwd=HERE.parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield Driver(process)  # the end of its standard input is its end


def measure_sustained(
    cluster: Cluster,
    system: System,
    directory: Path,
    *,
    number: int,
    bounds: tuple[int, int],
    seconds: float,
    limit: float,
) -> Sustained:
    """Search for the highest rate; between two steps the system has the time to catch up."""
    given = cluster.feed(f"{SUSTAINED}{next(_numbers)}", [])
    steps: list[Step] = []
    with (
        new_home(directory, system) as home,
        driving(cluster, given) as driver,
        started(cluster, system, given, home, trickle=False) as running,
    ):
        driver.begin(bounds[0], _WARM)
        driver.end()
        low, high = bounds
        rate = None
        complete = _caught_up(cluster, given, running, limit)
        while complete and len(steps) < STEPS:
            tried = round(math.sqrt(low * high))
            steps.append(_step(running, driver, tried, seconds))
            if steps[-1].holds:
                rate = low = tried
            else:
                high = tried
            complete = _caught_up(cluster, given, running, limit)
        used = running.usage.sample()
    truth = Truth()
    for _ in truth.save(WORKLOADS["text"].batches(driver.lines), given.totals):
        pass
    exact = complete and cluster.exact(Input(given.name, given.prefix, truth, given.totals))
    cluster.drop(given.prefix)
    return Sustained(system.name, number, seconds, rate if exact else None, steps, used.resident, running.load)


def _caught_up(cluster: Cluster, given: Input, running: Started, limit: float) -> bool:
    running.watch = cluster.watch(given, running.watch.stages)
    return running.wait(running.watch.is_complete, limit) is not None


def _step(running: Started, driver: Driver, rate: int, seconds: float) -> Step:
    before, began = running.usage.sample(), time.monotonic()
    driver.begin(rate, seconds)
    time.sleep(seconds / 2)
    looks = []
    while time.monotonic() < began + seconds:
        looks.append(Look(time.monotonic(), running.watch.progress()))
        time.sleep(_PAUSE)
    used = running.usage.sample()
    lines, driver_cpu = driver.end()
    middle, end = _backlogs(looks, 0)
    kept = lines >= _KEPT * rate * seconds
    return Step(
        rate=rate,
        written=lines / seconds,
        middle=middle,
        end=end,
        kept=kept,
        holds=kept and not grows(looks),
        cpu=used.cpu - before.cpu,
        broker_cpu=used.broker_cpu - before.broker_cpu,
        driver_cpu=driver_cpu,
    )


def grows(looks: Sequence[Look]) -> bool:
    """Tell whether the least backlog of a stage is more than a second's input, and rises in the second half."""
    seconds = looks[-1].moment - looks[0].moment
    for stage, ((begin, _), (end, _)) in enumerate(zip(looks[0].progress, looks[-1].progress, strict=True)):
        before, after = _backlogs(looks, stage)
        second = (end - begin) / seconds
        if after > _BETWEEN_COMMITS * second and after - before > _TOLERANCE * second:
            return True
    return False


def _backlogs(looks: Sequence[Look], stage: int) -> tuple[float, float]:
    backlogs = [written - committed for written, committed in (look.progress[stage] for look in looks)]
    half = len(backlogs) // 2
    return min(backlogs[:half]), min(backlogs[half:])
