"""One slot: a name that worker processes run under, one at a time, and what is known of the present process."""

import signal
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from wcsup.config import Config
from wcsup.kafka.ownership import partition_list
from wcsup.pipeline.report import Counters, Ended, Phase, Report, Role
from wcsup.supervisor.policy import Death
from wcsup.supervisor.processes import Child
from wcsup.supervisor.resources import Usage

SILENT_SECONDS = 2.0
"""After so long without a heartbeat a worker is shown as silent: its loop turns several times a second."""
_MOST_ENDED = 100
"""How many transactions are kept of each slot: those of two reports, of a worker that commits 100 times a second."""


class SlotState(StrEnum):
    """The state of a slot as users see it."""

    STARTING = "starting"
    RESTORING = "restoring"
    RUNNING = "running"
    DRAINING = "draining"
    BACKOFF = "backoff"
    """No process: the next one is started when the wait is over."""
    FAILED = "failed"
    """No process, and none will be started unless `restart` asks for one."""


_SHOWN = {
    Phase.STARTING: SlotState.STARTING,
    Phase.JOINING: SlotState.STARTING,
    Phase.RESTORING: SlotState.RESTORING,
    Phase.RUNNING: SlotState.RUNNING,
    Phase.COMMITTING: SlotState.RUNNING,
    Phase.DRAINING: SlotState.DRAINING,
}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a work loop may stand still in each phase, in seconds.

    In phases whose calls may wait for Kafka (`init_transactions`, a commit while a broker restarts), the deadline is
    the transaction time-out and a margin. While stores are opened, it is the longest time of one call of the disk. In
    all other phases the loop turns several times a second.
    """

    starting: float = 60.0
    restoring: float = 60.0
    committing: float = 30.0
    turning: float = 10.0
    drain: float = 30.0
    dump: float = 1.0
    """The time between asking a hung worker for its stacks and killing it."""

    @classmethod
    def fitting(cls, config: Config, drain: float) -> Self:
        """Return deadlines above the transaction time-out."""
        return cls(starting=config.transaction_timeout + 50, committing=config.transaction_timeout + 20, drain=drain)

    def of(self, phase: Phase) -> float:
        """Return the deadline of a phase. A drain as a whole has another one, `drain`."""
        match phase:
            case Phase.STARTING:
                return self.starting
            case Phase.RESTORING:
                return self.restoring
            case Phase.COMMITTING:
                return self.committing
            case _:
                return self.turning


class Slot:
    """A slot and its process. Each event is passed to it together with its time."""

    def __init__(self, role: Role, number: int) -> None:
        self.role = role
        self.number = number
        self.name = f"{role}-{number}"
        self.wanted = True
        """Whether a new process follows when this one has drained."""
        self.child: Child | None = None
        self.report = Report()
        self.usage: Usage | None = None
        self.restarts = 0
        self.deaths: deque[Death] = deque(maxlen=16)  # the policy looks no further back
        self.last_exit: str | None = None
        self.last_error: str | None = None
        """The last error that the process logged: probably the cause of its exit."""
        self.failed: str | None = None
        self.retry_at: float | None = None
        self.drain_until: float | None = None
        self.cause = ""
        """In a word, why the present process drains."""
        self.hung: str | None = None
        self.put_down = False
        """Whether the supervisor killed the process because the user asked it to end at once."""
        self.outgrown_at: float | None = None
        """When a process was last replaced since it used more memory than --max-rss."""
        self.told_of_memory = False
        """Whether it was said that a new process did not help against that."""
        self.shot = False
        """Whether the supervisor killed the process because the user asked for just that."""
        self.started_at = 0.0
        self._kill_at: float | None = None
        self._beat_at = 0.0
        self._was_heard = False
        """Whether the present process has reported yet."""
        self._commit_at: float | None = None
        self._ready_at: float | None = None
        self._ended_at: float | None = None
        """When the process before the present one ended."""
        self.ended_transactions: deque[tuple[int, Ended]] = deque(maxlen=_MOST_ENDED)
        """The last transactions of all processes that filled the slot, numbered from 1."""
        self._told: list[int] | None = None
        """The partitions of the last `news` of the present process."""
        self._past = Counters()
        self._cpu = self._past_cpu = 0.0

    @property
    def state(self) -> SlotState:
        """The state that is shown."""
        if self.failed:
            return SlotState.FAILED
        if self.child is None:
            return SlotState.BACKOFF
        return SlotState.DRAINING if self.drain_until is not None else _SHOWN[self.report.phase]

    @property
    def ready(self) -> bool:
        """Whether the process has joined, is assigned, has every store open, and is not draining."""
        return self.child is not None and self.drain_until is None and self.report.ready

    @property
    def counters(self) -> Counters:
        """Work of all processes that ever filled the slot."""
        return self._past + self.report.counters

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all processes that ever filled the slot, as of the last measurement of each."""
        return self._past_cpu + self._cpu

    def ready_for(self, now: float) -> float | None:
        """Return the seconds since the process became ready; none where it never did."""
        return None if self._ready_at is None else now - self._ready_at

    def heartbeat(self, now: float) -> float | None:
        """Return the age of the process's newest heartbeat; none before its first one, and without a process."""
        return now - self._beat_at if self.child is not None and self._was_heard else None

    def silent(self, now: float) -> bool:
        """Return whether the process has not given a heartbeat for a while: it is stopped, stuck or starved."""
        age = self.heartbeat(now)
        return age is not None and age > SILENT_SECONDS

    def since_commit(self, now: float) -> float | None:
        """Return the seconds since a report told of a new commit, of any of its processes; none where none did."""
        return None if self._commit_at is None else now - self._commit_at

    def started(self, child: Child, now: float) -> None:
        """Take the new process, which has the slot's job."""
        self.child = child
        self.report = Report()
        self.usage = self.failed = self.retry_at = self.drain_until = self.hung = self.last_error = None
        self._kill_at = self._ready_at = self._told = None
        self.shot = False
        self.started_at = self._beat_at = now
        self._was_heard = False

    def measured(self, usage: Usage | None) -> None:
        """Take the usage of the process; none where it is dead and not reaped yet."""
        self.usage = usage
        if usage:
            self._cpu = usage.cpu_seconds

    def heard(self, report: Report, now: float) -> None:
        """Take a report. It counts as a heartbeat only with a new beat or phase: a loop without these is stuck."""
        if (report.beat, report.phase) != (self.report.beat, self.report.phase):
            self._beat_at = now
            self._was_heard = True
        if report.counters.commits > self.report.counters.commits:
            self._commit_at = now
        first = self.ended_transactions[-1][0] + 1 if self.ended_transactions else 1
        self.ended_transactions.extend(enumerate(report.ended, first))
        if report.ready and self._ready_at is None:
            self._ready_at = now
        self.report = report

    def news(self) -> tuple[str, str] | None:
        """Return the event that the worker is at work on other partitions, once, and the event's reason; none else.

        `back` is a process that took another one's place: its reason has the seconds since that one ended.
        """
        if not self.ready or self._told == self.report.partitions:
            return None
        first, self._told = self._told is None, self.report.partitions
        partitions = f"partitions {partition_list(self.report.partitions) or 'none'}"
        if not first or self._ready_at is None:
            return "works", partitions
        if self._ended_at is not None:
            return "back", f"in {self._ready_at - self._ended_at:.1f} s, {partitions}"
        return "works", f"{partitions}, {self._ready_at - self.started_at:.1f} s after its start"

    def forgive(self, seconds: float) -> None:
        """Do not count a time in which the supervisor itself did not run and received no reports."""
        self._beat_at += seconds

    def draining(self, until: float, cause: str) -> None:
        """Note that the process was asked to drain, until when, and why."""
        self.drain_until, self.cause = until, cause

    def overdue(self, now: float, deadlines: Deadlines) -> str | None:
        """Return why the process counts as hung; none where it does not, and after it was dumped."""
        if self.child is None or self.hung:
            return None
        if self.drain_until is not None:
            return f"did not drain in {deadlines.drain:.0f} s" if now >= self.drain_until else None
        still = now - self._beat_at
        if still <= deadlines.of(self.report.phase):
            return None
        return f"stood still for {still:.0f} s while {self.report.phase} (beat {self.report.beat})"

    def dumped(self, reason: str, kill_at: float) -> None:
        """Note that a hung process was asked for its stacks."""
        self.hung, self._kill_at = reason, kill_at

    def kill_due(self, now: float) -> bool:
        """Return, once, that a hung process has had its time to write its stacks."""
        if self._kill_at is None or now < self._kill_at:
            return False
        self._kill_at = None
        return True

    def ended(self, code: int, now: float) -> Death:
        """Take the end of the process: keep its counters, and how it ended."""
        death = Death(now, code, self.ready_for(now), self.report.counters.commits > 0, self.hung is not None)
        self._past, self._ended_at = self.counters, now
        self._past_cpu, self._cpu = self.cpu_seconds, 0.0
        if self.put_down and code == -signal.SIGKILL:
            self.last_exit = "killed at the second signal"
        elif self.shot and code == -signal.SIGKILL:
            self.last_exit = "killed by SIGKILL, as asked"
        else:
            self.last_exit = f"{death.describe()}: {self.hung}" if self.hung else death.describe()
        self.child, self.usage, self.report = None, None, Report()
        return death

    def next_event(self) -> float:
        """Return when this slot needs the loop next, even if nothing happens; infinity where it does not."""
        times = (self.retry_at, self._kill_at, None if self.hung else self.drain_until)
        return min((time for time in times if time is not None), default=float("inf"))
