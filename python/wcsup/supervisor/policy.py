"""The restart policy: what follows from a worker's death, as a pure function of time and exits.

The deaths of a slot answer two questions:

*How long to wait?* A process that had been ready for `healthy_after`, or that was killed from outside while it was
ready, is replaced at once, since recovery time matters. Any other death doubles the wait of its slot, from 0.2 s to
30 s, with jitter. After a kill from outside the wait is at most 2 s: of these, only a kill by the kernel out of memory
needs a wait.

*Is it hopeless?* A death counts only if it is the worker's own fault **and** the process had done no work: five deaths
of one slot within a minute, or three of every slot, end the run. A process that committed, or was ready for
`healthy_after`, clears its slot. So a thousand random SIGKILLs do not end the run, since they come from outside; they
cost a wait at most. Nor does a crash after each commit: work goes on, slower and slower. But a record that crashes its
reader lets no commit pass, and ends the run after five tries. Before all workers were ready for the first time, nothing
is lost by stopping, so the limit of a minute does not hold: five deaths by a time-out of a minute each are enough.

A full or failing disk is a special case: hosts with another disk can work, and room may be made. So such a death alone
does not end the run. If every worker of a role dies of its disk three times in a row, none can work on this host, and
the run ends.
"""

import random
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wcsup.errors import ExitStatus

KILL_HINT = " (somebody's kill, or the kernel out of memory)"
"""Who may have killed a process that nobody here did."""


class Clock(Protocol):
    """The source of time: the module `time`, or a test's clock."""

    def monotonic(self) -> float:
        """Return seconds that only rise."""


@dataclass(frozen=True, slots=True)
class Death:
    """How one process of a slot ended, and what it had done before."""

    at: float
    code: int
    """As in `Popen.returncode`: an exit status, or the negative number of a signal."""
    ready_for: float | None = None
    """Seconds since the process became ready; none where it never did."""
    committed: bool = False
    hung: bool = False
    """Whether the supervisor killed it because its loop stood still."""

    @property
    def cause(self) -> str:
        """The kind of death in one word, for counting."""
        if self.hung:
            return "hung"
        if self.code < 0:
            return "killed" if self.from_outside else "crashed"
        if self.code == ExitStatus.DONE:
            return "drained"
        return ExitStatus(self.code).name.lower() if self.code in _TELLING else "crashed"

    @property
    def from_outside(self) -> bool:
        """Whether something else ended it: a signal that no defect sends, or status 0 after a SIGTERM."""
        return not self.hung and self.code in _FROM_OUTSIDE

    def describe(self) -> str:
        """Return the exit in words."""
        if self.hung:
            return "hung, killed"
        if self.code < 0:
            try:
                name = signal.Signals(-self.code).name
            except ValueError:
                name = f"signal {-self.code}"
            hint = KILL_HINT if self.code == -signal.SIGKILL else ""
            return f"killed by {name}{hint}"
        try:
            return f"exit status {self.code} ({ExitStatus(self.code).name.lower()})"
        except ValueError:
            return f"exit status {self.code}"


_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, ExitStatus.DONE}
_TELLING = set(ExitStatus) - {ExitStatus.DONE, ExitStatus.CHECK_FAILED, ExitStatus.GAVE_UP}
"""Statuses that tell the cause. 1 is left out: Python also ends with it after any uncaught exception."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start a new process in the slot."""

    delay: float


@dataclass(frozen=True, slots=True)
class LeaveDown:
    """Start no process in this slot; all other slots go on."""

    reason: str


@dataclass(frozen=True, slots=True)
class StopAll:
    """End the run."""

    status: ExitStatus
    reason: str


Decision = Restart | LeaveDown | StopAll


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers of the restart policy, and its decisions."""

    shortest: float = 0.2
    longest: float = 30.0
    longest_after_kill: float = 2.0
    memory_rest: float = 600.0
    """A slot's process is replaced for its memory at most so often, in seconds."""
    healthy_after: float = 10.0
    """A process that has been ready for this long works, with input or without."""
    window: float = 60.0
    slot_deaths: int = 5
    everyone_deaths: int = 3

    def decide(
        self,
        slot: str,
        deaths: Mapping[str, Sequence[Death]],
        was_ready: bool,
        chance: random.Random,
        working: Collection[str] = (),
    ) -> Decision:
        """Decide what follows from the slot's last death.

        `deaths` has the deaths of every slot that exists, oldest first. `was_ready`: all workers have been ready once.
        `working`: the slots whose process is ready now.
        """
        return (
            self._by_status(slot, deaths, was_ready, working)
            or self._hopeless(slot, deaths, was_ready)
            or Restart(self._delay(deaths[slot], chance))
        )

    def _by_status(
        self, slot: str, deaths: Mapping[str, Sequence[Death]], was_ready: bool, working: Collection[str]
    ) -> Decision | None:
        """Return the decision that the exit status alone determines; none where it determines none."""
        death = deaths[slot][-1]
        match death.code:
            case ExitStatus.CONFIGURATION | ExitStatus.USAGE:
                return StopAll(ExitStatus(death.code), f"{slot}: {death.describe()}")
            case ExitStatus.FENCED:
                return LeaveDown("fenced: another process runs under this name")
            case ExitStatus.BROKER_UNREACHABLE if not was_ready:
                return StopAll(ExitStatus.BROKER_UNREACHABLE, f"{slot}: {death.describe()}")
            case ExitStatus.DISK if self._all_lack_disk(slot, deaths, working):
                why = f"no worker of its kind has a disk that it can work with; last: {slot}: {death.describe()}"
                return StopAll(ExitStatus.CONFIGURATION, why)
        return None

    def _hopeless(self, slot: str, deaths: Mapping[str, Sequence[Death]], was_ready: bool) -> Decision | None:
        death = deaths[slot][-1]
        window = self.window if was_ready else float("inf")
        faults = {name: self._faults(past, death.at - window) for name, past in deaths.items()}
        if faults[slot] >= self.slot_deaths:
            return StopAll(
                ExitStatus.GAVE_UP,
                f"{slot} died {faults[slot]} times without getting to work in between; last: {death.describe()}",
            )
        if len(faults) > 1 and min(faults.values()) >= self.everyone_deaths:
            return StopAll(
                ExitStatus.GAVE_UP,
                f"all {len(faults)} workers keep dying without getting to work in between; last: "
                f"{slot}: {death.describe()}",
            )
        return None

    def _all_lack_disk(self, slot: str, deaths: Mapping[str, Sequence[Death]], working: Collection[str]) -> bool:
        """Return whether the slot's role has no worker left whose disk lets it work."""
        role = slot.partition("-")[0]
        peers = [name for name in deaths if name.partition("-")[0] == role]
        return not any(name in working or self._disk_deaths(deaths[name]) < self.everyone_deaths for name in peers)

    def _disk_deaths(self, deaths: Sequence[Death]) -> int:
        """Count the slot's last deaths in a row that its disk caused, each without work before it."""
        count = 0
        for death in reversed(deaths):
            if death.code != ExitStatus.DISK or self._worked(death):
                break
            count += 1
        return count

    def _worked(self, death: Death) -> bool:
        """Return whether the process did its work: then its death is no reason to give up."""
        healthy = death.ready_for is not None and death.ready_for >= self.healthy_after
        return death.committed or healthy or (death.from_outside and death.ready_for is not None)

    def _faults(self, deaths: Sequence[Death], since: float) -> int:
        """Count deaths by own fault since the slot last worked. A missing broker or a bad disk is no worker's fault."""
        count = 0
        for death in reversed(deaths):
            if self._worked(death) or death.at < since:
                break
            count += not death.from_outside and death.code not in {ExitStatus.BROKER_UNREACHABLE, ExitStatus.DISK}
        return count

    def _delay(self, deaths: Sequence[Death], chance: random.Random) -> float:
        level = 0
        for death in reversed(deaths):
            ready_for = -1.0 if death.ready_for is None else death.ready_for
            if ready_for >= self.healthy_after or (death.from_outside and ready_for >= 0):
                break
            level += 1
        if level == 0:
            return 0.0
        # Half of the span is random, so that workers that died together do not come back together.
        longest = self.longest_after_kill if deaths[-1].from_outside else self.longest
        span = min(longest, self.shortest * 2.0 ** min(level, 32))
        return chance.uniform(max(self.shortest, span / 2), span)
