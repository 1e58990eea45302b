"""The slots together: fake processes and a clock that moves when told to."""

import atexit
import random
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clocks import FakeClock

from wcsup.config import Config
from wcsup.errors import ExitStatus, UsageError
from wcsup.pipeline.report import Counters, Job, Phase, Report
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.options import RunOptions
from wcsup.supervisor.policy import Policy
from wcsup.supervisor.pool import Pool
from wcsup.supervisor.processes import Child
from wcsup.supervisor.resources import Usage
from wcsup.supervisor.slot import Deadlines, SlotState

DEADLINES = Deadlines(starting=60, restoring=50, committing=30, turning=15, drain=30, dump=1)


class FakeChild:
    """A process that does nothing but remember what was done to it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.report_fd = pid + 1000
        self.job: Job | None = None
        self.signals: list[signal.Signals] = []
        self.dead = False

    def assign(self, job: Job) -> bool:
        self.job = job
        return not self.dead

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number)

    def pin(self, processor: int) -> None:
        self.processor = processor


_STATE = Path(tempfile.mkdtemp(prefix="wcsup-pool-"))
"""Where the events of all tables are kept."""
atexit.register(shutil.rmtree, _STATE)


class Table:
    """A pool on a table: time moves and workers act as the test says."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.started: list[FakeChild] = []
        self.released: list[Child] = []
        self.broken = False
        self.events = RunEvents(_STATE)
        self.pool = Pool(
            Config(),
            RunOptions(**{"spares": 0, **options}),
            self.launch,
            self.released.append,
            policy=Policy(),
            deadlines=DEADLINES,
            events=self.events,
            clock=self.clock,
            chance=random.Random(1),
        )
        self.pool.scale("map", 2)
        self.pool.scale("reduce", 1)

    def launch(self) -> Any:
        if self.broken:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        self.started.append(FakeChild(len(self.started) + 1))
        return self.started[-1]

    def child(self, name: str) -> Any:
        return self.pool.slots[name].child

    def report(self, name: str, phase: Phase = Phase.RUNNING, beat: int = 1, commits: int = 0) -> None:
        ready = phase in {Phase.RUNNING, Phase.COMMITTING}
        report = Report(phase, beat, ready, counters=Counters(commits=commits, records=10 * commits))
        self.pool.slots[name].heard(report, self.clock.now)

    def all_ready(self) -> None:
        for name in self.pool.slots:
            self.report(name)
        self.pool.tick()

    def end(self, name: str, code: int) -> None:
        self.pool.ended(self.pool.slots[name], code)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.pool.tick()

    def states(self) -> dict[str, str]:
        return {name: slot.state for name, slot in self.pool.slots.items()}


def test_each_process_gets_its_slots_job() -> None:
    table = Table(log_level="debug", cpu_affinity=(5, 6, 7))
    assert [(c.job.name, c.job.report_fd, c.job.log_level) for c in table.started if c.job] == [
        ("map-0", 1001, "debug"),
        ("map-1", 1002, "debug"),
        ("reduce-0", 1003, "debug"),
    ]
    assert [c.processor for c in table.started] == [5, 6, 6]
    first = table.started[0].job
    assert first is not None
    assert Job.from_json(first.to_json()) == first


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        (Phase.STARTING, SlotState.STARTING),
        (Phase.JOINING, SlotState.STARTING),
        (Phase.RESTORING, SlotState.RESTORING),
        (Phase.RUNNING, SlotState.RUNNING),
        (Phase.COMMITTING, SlotState.RUNNING),
        (Phase.DRAINING, SlotState.DRAINING),
    ],
)
def test_states_follow_phases(phase: Phase, state: SlotState) -> None:
    table = Table()
    table.report("map-0", phase)
    assert table.states()["map-0"] == state


def test_a_healthy_worker_that_dies_is_replaced_at_once() -> None:
    table = Table()
    table.all_ready()
    table.clock.now += 11
    table.end("map-0", 1)
    assert table.states()["map-0"] == SlotState.STARTING
    assert table.child("map-0").pid == 4
    assert table.pool.restarts == {"crashed": 1}


def test_waiting_ends_on_time() -> None:
    table = Table()
    table.all_ready()
    table.end("map-0", 1)
    assert table.states()["map-0"] == SlotState.BACKOFF
    due = table.pool.next_event()
    assert 0.2 <= due - table.clock.now <= 0.4
    table.pass_time(due - table.clock.now - 0.01)
    assert table.child("map-0") is None
    table.pass_time(0.02)
    assert table.child("map-0").pid == 4


@pytest.mark.parametrize(
    ("phase", "limit"),
    [(Phase.STARTING, 60), (Phase.JOINING, 15), (Phase.RESTORING, 50), (Phase.RUNNING, 15), (Phase.COMMITTING, 30)],
)
def test_a_still_beat_is_a_hung_worker(phase: Phase, limit: float) -> None:
    table = Table()
    child = table.child("map-0")
    table.report("map-0", phase)
    table.clock.now += limit - 0.1
    table.report("map-0", phase)  # it still speaks, but its loop does not move
    for other in ("map-1", "reduce-0"):
        table.report(other, beat=2)
    table.pool.tick()
    assert child.signals == []
    table.pass_time(0.2)
    assert child.signals == [signal.SIGUSR2, signal.SIGCONT]
    table.pass_time(0.9)
    assert child.signals == [signal.SIGUSR2, signal.SIGCONT]
    table.pass_time(0.2)
    table.pass_time(0.2)
    assert child.signals == [signal.SIGUSR2, signal.SIGCONT, signal.SIGKILL]
    table.end("map-0", -9)
    assert table.pool.restarts == {"hung": 1}
    last_exit = table.pool.slots["map-0"].last_exit or ""
    assert last_exit.startswith("hung, killed: stood still for")
    assert f"while {phase}" in last_exit


def test_a_beat_that_moves_is_progress_in_any_phase() -> None:
    table = Table()
    for beat in range(100):
        table.report("map-0", Phase.RESTORING, beat)
        table.report("map-1", Phase.COMMITTING, beat)
        table.report("reduce-0", Phase.JOINING, beat)
        table.pass_time(14)
    assert all(child.signals == [] for child in table.started)


def test_time_that_the_supervisor_slept_through_is_forgiven() -> None:
    table = Table()
    table.all_ready()
    table.clock.now += 100
    for slot in table.pool.slots.values():
        slot.forgive(100)
    table.pool.tick()
    assert all(child.signals == [] for child in table.started)


def test_shrinking_drains_the_highest_and_growing_again_keeps_it() -> None:
    table = Table()
    table.all_ready()
    table.pool.scale("map", 1)
    child = table.child("map-1")
    assert child.signals == [signal.SIGINT], "others are to have its partitions"
    table.pool.scale("map", 3)
    table.end("map-1", 0)
    assert table.child("map-1").pid == 5
    table.pool.scale("map", 1)
    table.end("map-1", 0)
    table.end("map-2", -signal.SIGSEGV)
    assert list(table.pool.slots) == ["map-0", "reduce-0"]
    assert [slot.name for slot in table.pool.in_order()] == ["map-0", "reduce-0"]


def test_work_of_slots_that_are_gone_stays_counted() -> None:
    table = Table()
    table.report("map-0", commits=1)
    table.report("map-1", commits=5)
    table.end("map-1", -9)
    table.report("map-1", commits=7)
    table.pool.scale("map", 1)
    table.end("map-1", 0)
    assert table.pool.totals()["map"].commits == 13
    assert table.pool.totals()["map"].records == 130


def test_rolling_restarts_one_at_a_time() -> None:
    table = Table()
    table.all_ready()
    table.pool.restart(["map-0", "map-1", "reduce-0"])
    table.pool.restart(["map-1"])  # is on the list already
    order = []
    for name in ("map-0", "map-1", "reduce-0"):
        table.pass_time(0.1)
        assert [n for n, s in table.states().items() if s == SlotState.DRAINING] == [name]
        table.pass_time(0.1)
        table.end(name, 0)
        table.pass_time(0.1)
        assert SlotState.DRAINING not in table.states().values()  # the next waits until this one is ready
        table.report(name)
        order.append(name)
    table.pass_time(0.1)
    assert not table.pool.rolling
    assert table.pool.restarts == {"requested": 3}


def test_a_roll_stops_at_a_slot_that_does_not_come_back() -> None:
    table = Table()
    table.all_ready()
    table.pool.restart(["map-0", "map-1"])
    table.pass_time(0.1)
    table.end("map-0", 0)
    for _ in range(3):
        table.end("map-0", 1)
        for beat, name in enumerate(("map-1", "reduce-0")):
            table.report(name, beat=int(table.clock.now) + beat)
        table.pass_time(5)
    assert table.child("map-1").signals == []


def test_restarting_a_slot_that_waits_starts_it_now() -> None:
    table = Table()
    table.all_ready()
    table.end("map-0", 1)
    table.pool.restart(["map-0"])
    table.pool.tick()
    assert table.child("map-0")


def test_an_unknown_slot_is_refused() -> None:
    with pytest.raises(UsageError, match="no slot 'map-9'; there are map-0, map-1, reduce-0"):
        Table().pool.restart(["map-9"])


def test_a_drain_ends_waiting_slots_and_asks_reducers_last() -> None:
    table = Table()
    table.all_ready()
    table.end("map-0", 1)
    table.pool.drain("a test")
    table.pass_time(0.1)
    assert list(table.pool.slots) == ["map-1", "reduce-0"]
    assert table.child("reduce-0").signals == []
    table.end("map-1", ExitStatus.RETRY)  # whatever it ends with: nothing is started any more
    table.pass_time(0.1)
    assert table.child("reduce-0").signals == [signal.SIGTERM]
    table.pass_time(31)
    assert table.child("reduce-0").signals == [signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT]
    table.pass_time(2)
    table.end("reduce-0", -9)
    assert table.pool.finished
    assert table.pool.stop
    assert table.pool.stop.status is ExitStatus.DONE


def test_a_drain_of_a_host_that_will_not_come_back_leaves_the_groups() -> None:
    table = Table()
    table.all_ready()
    table.pool.drain("SIGTERM")
    table.pass_time(0.1)
    table.pool.drain("asked to drain", leave=True)
    table.end("map-0", ExitStatus.DONE)
    table.end("map-1", ExitStatus.DONE)
    table.pass_time(0.1)
    assert table.child("reduce-0").signals == [signal.SIGINT], "who was asked already goes on as it was asked"


def test_the_first_reason_to_stop_stays() -> None:
    table = Table()
    table.pool.slots["map-0"].last_error = "topic counts has 4 partitions"
    table.end("map-0", ExitStatus.CONFIGURATION)
    table.pool.drain("SIGTERM")
    assert table.pool.stop
    assert table.pool.stop.status is ExitStatus.CONFIGURATION
    assert table.pool.stop.reason == "map-0: exit status 3 (configuration): topic counts has 4 partitions"


def test_a_host_without_room_for_a_process_is_waited_for() -> None:
    table = Table()
    table.all_ready()
    table.broken = True
    table.end("map-0", -9)
    assert table.states()["map-0"] == SlotState.BACKOFF
    table.broken = False
    table.pass_time(1)
    assert table.child("map-0").pid == 4


def test_a_spare_takes_the_place_and_the_next_comes_a_second_later() -> None:
    table = Table(spares=1)
    table.all_ready()
    assert not table.pool.spares  # not while workers need the processors for their first work
    table.pass_time(1)
    spare: Any = table.pool.spares[0]
    table.end("map-0", -9)
    assert table.child("map-0") is spare
    table.report("map-0")
    table.pass_time(0.9)
    assert not table.pool.spares
    table.pass_time(0.1)
    assert len(table.pool.spares) == 1


def test_a_spare_that_died_is_not_used_and_not_replaced_at_once() -> None:
    table = Table(spares=1)
    table.all_ready()
    table.pass_time(1)
    dead: Any = table.pool.spares[0]
    dead.dead = True
    table.end("map-0", -9)
    assert table.child("map-0") is not dead
    assert table.released == [dead]
    table.report("map-0")
    table.pass_time(1)
    table.pool.spare_ended(table.pool.spares[0])
    table.pass_time(1)
    assert not table.pool.spares
    table.pass_time(5)
    assert table.pool.spares


def test_a_restart_does_not_use_a_spare_of_the_old_code() -> None:
    table = Table(spares=1)
    table.all_ready()
    table.pass_time(1)
    old = table.pool.spares[0]
    table.pool.restart(["map-0"])
    table.pass_time(0.1)
    assert table.released == [old]
    assert table.pool.spares


def test_memory_is_looked_at_when_the_worker_has_had_time_to_work() -> None:
    table = Table(max_rss=100 << 20)
    slot = table.pool.slots["map-0"]
    table.all_ready()
    slot.usage = Usage(1.0, 200 << 20, 3, 10)
    table.pool.outgrown(slot)
    assert not table.pool.rolling
    for name in table.pool.slots:
        table.report(name, beat=2)
    table.clock.now += 11
    table.pool.outgrown(slot)
    table.pool.outgrown(slot)
    table.pool.tick()
    assert slot.state == SlotState.DRAINING
    table.end("map-0", 0)
    assert table.pool.restarts == {"max_rss": 1}


def test_where_a_new_process_uses_as_much_memory_it_is_left_at_work_for_a_while_and_that_is_said() -> None:
    table = Table(max_rss=100 << 20)
    slot = table.pool.slots["map-0"]

    def works_and_grows(seconds: float) -> None:
        for name in table.pool.slots:
            table.report(name, beat=int(table.clock.now))
        table.clock.now += seconds
        for name in table.pool.slots:
            table.report(name, beat=int(table.clock.now))
        slot.usage = Usage(1.0, 200 << 20, 3, 10)
        table.pool.outgrown(slot)
        table.pool.tick()

    table.all_ready()
    works_and_grows(11)
    table.end("map-0", 0)
    table.pass_time(1)
    works_and_grows(11)
    works_and_grows(11)
    assert table.states()["map-0"] == SlotState.RUNNING
    said = [event.reason for event in table.events.last if event.event == "too large"]
    assert said == ["uses 200 MB again, soon after it was replaced: its work takes more than --max-rss"]
    works_and_grows(600)
    assert table.states()["map-0"] == SlotState.DRAINING


def test_counters_add_up() -> None:
    one, two = Counters(records=1, aborts={"FENCED": 1}), Counters(records=2, aborts={"FENCED": 1, "OTHER": 3})
    one.batch_records.observe(5)
    two.batch_records.observe(5_000)
    total = one + two
    assert total.records == 3
    assert total.aborts == {"FENCED": 2, "OTHER": 3}
    assert total.batch_records.counts == [0, 1, 0, 0, 1, 0, 0, 0]
    assert total.batch_records.sum == 5_005
    report = Report(counters=total, partitions=[1], restoring={1: (2, 3)}, restore_seconds=0.5, top=[("a", 1)])
    assert Report.from_json(report.to_json()) == report
    assert replace(report, beat=1) != report


def test_what_happens_to_a_worker_is_told_with_its_reason() -> None:
    table = Table()
    table.all_ready()
    table.end("map-1", -signal.SIGKILL)
    told = [(event.slot, event.event, event.reason) for event in table.events.last]
    assert ("map-1", "ended", "killed by SIGKILL (somebody's kill, or the kernel out of memory)") in told
    assert told[-1] == ("map-1", "started", f"process {table.child('map-1').pid}")
    assert (None, "ready", "3 workers") in told


def test_a_worker_that_is_back_says_after_how_long_and_with_what() -> None:
    table = Table()
    table.all_ready()
    table.end("map-1", -signal.SIGKILL)
    table.clock.now += 0.3
    table.report("map-1")
    table.pool.slots["map-1"].report.partitions = [9, 10, 11]
    table.pool.tick()
    last = table.events.last[-1]
    assert (last.slot, last.event, last.reason) == ("map-1", "back", "in 0.3 s, partitions 9-11")


def test_a_worker_that_a_user_kills_says_so_and_is_replaced() -> None:
    table = Table()
    table.all_ready()
    table.pool.shoot("map-1")
    assert table.child("map-1").signals == [signal.SIGKILL]
    table.end("map-1", -signal.SIGKILL)
    assert table.pool.slots["map-1"].last_exit == "killed by SIGKILL, as asked"
    assert table.pool.restarts == {"killed": 1}
    table.end("map-1", -signal.SIGKILL)
    assert "somebody" in str(table.pool.slots["map-1"].last_exit), "that kill was somebody else's"
    with pytest.raises(UsageError, match="no process"):
        table.pool.shoot("map-9")


def test_a_standby_keeps_no_run_going_whose_workers_are_all_down() -> None:
    table = Table(standby=1)
    table.pool.scale("standby", 1)
    table.all_ready()
    for name in ("map-0", "map-1", "reduce-0"):
        table.end(name, ExitStatus.FENCED)
    assert table.pool.stop is not None
    assert table.pool.stop.status is ExitStatus.FENCED


def test_a_standby_that_can_not_work_is_left_down_and_counting_goes_on() -> None:
    table = Table(standby=1)
    table.pool.scale("standby", 1)
    table.all_ready()
    table.end("standby-0", ExitStatus.CONFIGURATION)
    assert table.pool.slots["standby-0"].failed
    assert table.pool.stop is None
    assert table.pool.ready
