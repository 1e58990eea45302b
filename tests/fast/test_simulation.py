"""A supervisor's pool in a simulated world: thousands of hours of deaths, hangs, outages and commands, from seeds.

A run has two parts. In the first one a budget of faults and commands is spent: processes die of all causes, stand
still, start slowly or can't be started, the broker goes and comes back, a user scales, restarts and drains. In the
second one no more faults come: everything that is wanted has to be at work in time, and a drain has to end. What must
hold is checked after every event. The clock is the world's own, and jumps from event to event.

`SIMULATED_HOURS=100000 SEED=7 pytest tests/fast/test_simulation.py` runs longer, from another seed.
"""

import os
import random
import signal
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from clocks import FakeClock

from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Counters, Job, Phase, Report
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.options import RunOptions, Workers
from wcsup.supervisor.policy import Policy
from wcsup.supervisor.pool import ROLES, Pool
from wcsup.supervisor.processes import Child
from wcsup.supervisor.slot import Deadlines

HOURS = float(os.environ.get("SIMULATED_HOURS", "500"))
RUNS = 20
"""How many worlds the hours are spread over."""
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))

DEADLINES = Deadlines()
CONVERGED_SECONDS = 300.0
"""How long everything may take to be at work once faults have ended: the longest deadlines and waits in a row."""
DRAINED_SECONDS = len(ROLES) * (DEADLINES.drain + DEADLINES.dump + 5.0)
STORMS = {60.0: 10, 1.3: 3}
"""More starts of a slot in so many seconds are a storm, those aside that somebody outside caused."""
MOST_TURNS = 1000
"""How often the pool may ask to be called again at once."""

OWN_FAULTS = (-signal.SIGSEGV, -signal.SIGABRT, 1, ExitStatus.STORE_BROKEN, ExitStatus.RETRY)
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, ExitStatus.DONE)
HOPELESS = {ExitStatus.CONFIGURATION, ExitStatus.GAVE_UP, ExitStatus.BROKER_UNREACHABLE, ExitStatus.FENCED}


@dataclass
class Process:
    """A worker's process, as far as its supervisor sees it."""

    world: "World"
    pid: int
    job: Job | None = None
    alive: bool = True
    hangs: bool = False
    """Whether its loop stands still: it reports nothing and does not drain."""
    ready_at: float = float("inf")
    """When it has joined its group and opened its stores, if the broker answers."""
    ends_at: float = float("inf")
    code: int = 0
    """What it ends with."""
    report_fd: int = 0

    def assign(self, job: Job) -> bool:
        if self.alive:
            assert self.job is None, "a process has one job"
            self.job = job
            self.world.began(self)
        return self.alive

    def send(self, number: signal.Signals) -> None:
        if not self.alive:
            return
        if number == signal.SIGKILL:
            self.end(-signal.SIGKILL, self.world.chance.uniform(0.0, 0.1))
        elif number in {signal.SIGTERM, signal.SIGINT} and not self.hangs:
            slow = self.world.spends(0.05)
            self.end(ExitStatus.DONE, self.world.chance.uniform(20.0, 90.0) if slow else 0.5)

    def pin(self, processor: int) -> None: ...

    def end(self, code: int, seconds: float) -> None:
        """End after a while, if it does not end earlier."""
        at = self.world.clock.now + seconds
        if at < self.ends_at:
            self.ends_at, self.code = at, code


@dataclass
class World:
    """Processes, a broker, a user, and the pool that has to live with them."""

    seed: int
    clock: FakeClock = field(default_factory=FakeClock)
    processes: dict[int, Process] = field(default_factory=dict)
    starts: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    """The times of a slot's last starts."""
    excused: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    """The times of events that a start follows at once: a kill from outside, a command, the end of work."""
    poisoned: dict[str, float] = field(default_factory=dict)
    """Until when each new process of a slot dies at once, as of a record that crashes its reader."""
    turns: int = 0
    """How often the pool was called since the clock has moved."""
    back_at: float = 0.0
    """When the broker is back; it is there now if that is over."""
    budget: int = 0
    """How many more faults may come."""
    pids: int = 0
    deaths: Counter[int] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.budget = self.chance.choice([5, 50, 500])
        mappers, reducers = self.chance.randint(1, 6), self.chance.randint(1, 4)
        self.restless = self.chance.choice([30.0, 600.0, 7200.0])
        """How many seconds pass between two things that happen, on average."""
        options = RunOptions(
            mappers=Workers(mappers, mappers),
            reducers=Workers(reducers, reducers),
            standby=self.chance.randint(0, 1),
            spares=self.chance.randint(0, 2),
        )
        self.spares = options.spares
        self.pool = Pool(
            Config(),
            options,
            cast("Callable[[], Child]", self.launch),
            cast("Callable[[Child], None]", self.release),
            policy=Policy(),
            deadlines=DEADLINES,
            events=RunEvents(Path(os.devnull)),  # no directory: they are not kept
            clock=self.clock,
            chance=random.Random(self.seed + 1),
        )
        self.pool.scale("map", mappers)
        self.pool.scale("reduce", reducers)
        self.pool.scale("standby", options.standby)

    def spends(self, probability: float) -> bool:
        """Return whether a fault comes, and take it off the budget."""
        if self.budget > 0 and self.chance.random() < probability:
            self.budget -= 1
            return True
        return False

    @property
    def broker(self) -> bool:
        return self.clock.now >= self.back_at

    # What the pool calls

    def launch(self) -> "Process":
        if self.spends(0.01):
            self.happened["no process"] += 1
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.pids += 1
        made = self.processes[self.pids] = Process(self, self.pids)
        if self.spends(0.01):
            made.end(1, self.chance.uniform(0.0, 3.0))
        return made

    def release(self, process: Process) -> None:
        process.alive = False
        del self.processes[process.pid]

    def began(self, process: Process) -> None:
        """Draw the life of a process that has just got its job."""
        assert process.job is not None
        assert self.pool.stop is None, "a run that ends starts nothing"
        name = process.job.name
        twins = [one.pid for one in self.processes.values() if one.job is not None and one.job.name == name]
        assert twins == [process.pid], f"{name} has processes {twins}"
        self.starts[name].append(self.clock.now)
        self.check_storm(name)
        if self.clock.now < self.poisoned.get(name, 0.0):
            process.end(self.chance.choice(OWN_FAULTS), 0.05)
        seconds = self.chance.expovariate(1.0)
        if self.spends(0.05):
            self.happened["slow start"] += 1
            seconds = self.chance.uniform(10.0, 100.0)
        process.ready_at = self.clock.now + seconds
        if self.spends(0.3):
            self.happened["death"] += 1
            code = self.chance.choice((*OWN_FAULTS, *FROM_OUTSIDE, ExitStatus.DISK))
            process.end(code, self.chance.choice([0.1, seconds, 20.0, 3600.0]) * self.chance.random())
        if self.spends(0.01):
            process.end(ExitStatus.FENCED, self.chance.uniform(0.0, 600.0))

    # What happens

    def happen(self) -> None:
        """Have one thing happen."""
        slots = list(self.pool.slots.values())
        slot = self.chance.choice(slots) if slots else None
        match self.chance.randrange(8):
            case 0 | 1 if slot and slot.child and self.spends(1.0):
                self.happened["kill"] += 1
                self.excuse(slot.name)
                self.processes[slot.child.pid].end(self.chance.choice(FROM_OUTSIDE), 0.0)
            case 2 if slot and slot.child and self.spends(1.0):
                self.happened["hang"] += 1
                self.processes[slot.child.pid].hangs = True
            case 3 if self.spends(1.0):
                self.happened["broker gone"] += 1
                self.back_at = self.clock.now + self.chance.expovariate(1 / 600.0)
            case 4 if self.spends(1.0):
                self.happened["scale"] += 1
                self.pool.scale(self.chance.choice(["map", "reduce"]), self.chance.randint(0, 6))
            case 5 if slots and self.spends(1.0):
                self.happened["restart"] += 1
                names = [one.name for one in self.chance.sample(slots, self.chance.randint(1, len(slots)))]
                for name in names:
                    self.excuse(name)
                self.pool.restart(names)
            case 6 if slot and slot.child and self.spends(0.5):
                self.happened["poison"] += 1
                self.poisoned[slot.name] = self.clock.now + self.chance.expovariate(1 / 3.0)
                self.processes[slot.child.pid].end(-signal.SIGSEGV, 0.0)
            case 7 if self.spends(0.02):
                self.happened["drain"] += 1
                self.pool.drain("a user", leave=self.chance.random() < 0.5)
            case _:
                pass

    def excuse(self, name: str) -> None:
        self.excused[name].append(self.clock.now)

    def step(self, until: float) -> None:
        """Go on to the next event, or to `until`."""
        now, pool = self.clock.now, self.pool
        coming = [at for one in self.processes.values() for at in (one.ends_at, one.ready_at) if at > now]
        # The loop looks twice a second. Where all is at work, nothing follows from that, and it is left out.
        restless = pool.rolling or pool.stop or not pool.settled or any(one.hangs for one in self.processes.values())
        lacks = len(pool.spares) < self.spares
        soon = now + 0.5 if restless or lacks else until
        back = self.back_at if self.back_at > now else until
        self.clock.now = max(now, min([until, soon, back, max(now, pool.next_event()), *coming]))
        self.turns = self.turns + 1 if self.clock.now == now else 0
        assert self.turns < MOST_TURNS, "the pool asks for the same moment again and again"
        for process in list(self.processes.values()):
            if process.ends_at <= self.clock.now:
                self.bury(process)
        self.beat()
        self.pool.tick()
        self.check()

    def bury(self, process: Process) -> None:
        process.alive = False
        del self.processes[process.pid]
        self.deaths[process.code] += 1
        slot = next((slot for slot in self.pool.slots.values() if slot.child and slot.child.pid == process.pid), None)
        spare = next((spare for spare in self.pool.spares if spare.pid == process.pid), None)
        if slot is not None:
            if slot.report.counters.commits or (slot.ready_for(self.clock.now) or 0) >= Policy().healthy_after:
                self.excuse(slot.name)
            self.pool.ended(slot, process.code)
        elif spare is not None:
            self.pool.spare_ended(spare)

    def beat(self) -> None:
        """Have every worker report whose loop goes round."""
        for slot in self.pool.slots.values():
            process = self.processes.get(slot.child.pid) if slot.child else None
            if process is None or process.hangs:
                continue
            ready = slot.report.ready or (self.broker and process.ready_at <= self.clock.now)
            phase = Phase.RUNNING if ready else Phase.JOINING
            commits = int(ready and self.broker and slot.role != "standby")
            slot.heard(
                Report(phase, slot.report.beat + 1, ready, counters=Counters(commits=commits)),
                self.clock.now,
            )

    # What must hold

    def check(self) -> None:
        jobs = Counter(one.job.name for one in self.processes.values() if one.job is not None)
        assert not jobs or max(jobs.values()) == 1, jobs
        assert len(self.pool.spares) <= self.spares
        for slot in self.pool.slots.values():
            assert slot.child is None or slot.child.pid in self.processes, f"{slot.name} has a process that is gone"
            assert slot.child or slot.retry_at is not None or slot.failed or self.pool.stop, f"{slot.name} is forgotten"
        if self.pool.stop and self.pool.stop.status is not ExitStatus.DONE:
            assert self.pool.stop.status in HOPELESS, self.pool.stop
            faults = sum(self.deaths[code] for code in (*OWN_FAULTS, ExitStatus.DISK, ExitStatus.FENCED))
            assert faults + self.happened["hang"] + self.happened["slow start"] + self.happened["no process"] > 0

    def check_storm(self, name: str) -> None:
        for times in (self.starts[name], self.excused[name]):
            while times and times[0] < self.clock.now - max(STORMS):
                times.popleft()
        for seconds, most in STORMS.items():
            starts, excused = (
                sum(at >= self.clock.now - seconds for at in times[name]) for times in (self.starts, self.excused)
            )
            assert starts <= most + excused, f"{name} is started {starts} times in {seconds:g} s"

    def live(self, hours: float) -> None:
        """Spend the budget of faults, then have everything converge and drain."""
        end = self.clock.now + hours * 3600.0
        next_at = self.clock.now
        while self.clock.now < end and not self.pool.finished:
            if self.clock.now >= next_at:
                self.happen()
                next_at = self.clock.now + self.chance.expovariate(1.0 / self.restless)
            self.step(min(end, next_at))
        # No more faults: what has been drawn for the future does not come, what has begun goes on
        self.budget, self.back_at = 0, self.clock.now
        self.poisoned.clear()
        for process in self.processes.values():
            if process.code != ExitStatus.DONE or process.ends_at > self.clock.now + 90.0:
                process.ends_at = float("inf")
        self.converge()

    def converge(self) -> None:
        pool, until = self.pool, self.clock.now + CONVERGED_SECONDS
        while (
            self.clock.now < until
            and not pool.stop
            and (pool.rolling or not all(slot.ready or slot.failed for slot in pool.slots.values()))
        ):
            self.step(until)
        if pool.stop is None:
            down = {slot.name: slot.failed or "" for slot in pool.slots.values() if not slot.ready}
            # A standby that keeps dying ends no run, as a worker does, and is left down.
            hopeless = {
                name for name, why in down.items() if name.startswith("standby") and "without getting to" in why
            }
            assert all("fenced" in why or name in hopeless for name, why in down.items()), f"not at work: {down}"
            assert not pool.rolling, "a rolling restart does not end"
            pool.drain("the end")
        until = self.clock.now + DRAINED_SECONDS
        while self.clock.now < until and not pool.finished:
            self.step(until)
        assert pool.finished, f"not drained: {list(pool.slots)}"
        assert [one for one in self.processes.values() if one.job is not None] == []


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    import logging  # noqa: PLC0415 - only to silence a hundred thousand deaths

    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("number", range(RUNS))
def test_what_must_hold_holds_whatever_happens(number: int) -> None:
    print(f"SEED={SEED} SIMULATED_HOURS={HOURS:g}, world {number}")
    world = World(SEED + number)
    world.live(HOURS / RUNS)
