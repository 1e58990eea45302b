"""What follows from a worker's death: a pure function of time and exits.

Two questions are asked of the deaths of a slot, and they are different ones:

*How long to wait?* A process that had worked healthily (or that somebody else killed while it was ready) is
replaced at once: recovery time matters. Any other death doubles the wait of its slot, 0.2 s to 30 s, with jitter;
to 2 s only where somebody else killed it, since the kernel out of memory has to be given air, and nobody else has.

*Is it hopeless?* Only deaths that are the worker's own fault **and** had no work done before them count: five of a
slot within a minute, or three of every slot. A process that committed, or was ready for the healthy time, clears
its slot. So a thousand random SIGKILLs stop nothing: someone else did them; they cost a wait at most. Neither does
a crash after each commit: work goes on, slower and slower. But a record that crashes whoever reads it gets no
commit past it and is found after five tries. Before the whole was ready for the first time there is nothing to
lose by stopping, so there the minute does not limit: five deaths by a time-out of a minute each are enough.

A disk that is full or fails is another matter: those that have another disk can work, and room may be made. So such
a death alone stops nothing. Where every worker of a role is down for it, three times in a row, nobody can work here.
"""

import random
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wcsup.errors import ExitStatus


class Clock(Protocol):
    """Where time comes from: the module `time`, or a test."""

    def monotonic(self) -> float:
        """Return seconds that only rise."""


@dataclass(frozen=True, slots=True)
class Death:
    """How one process of a slot ended, and what it had done until then."""

    at: float
    code: int
    """As `Popen.returncode`: minus a signal's number, or an exit status."""
    ready_for: float | None = None
    """Seconds since it was ready; none where it never was."""
    committed: bool = False
    hung: bool = False
    """The supervisor killed it because it stood still."""

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
        """Somebody else ended it, by a signal that no bug sends; a SIGTERM that it obeyed ends with status 0."""
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
            hint = " (somebody's kill, or the kernel out of memory)" if self.code == -signal.SIGKILL else ""
            return f"killed by {name}{hint}"
        try:
            return f"exit status {self.code} ({ExitStatus(self.code).name.lower()})"
        except ValueError:
            return f"exit status {self.code}"


_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, ExitStatus.DONE}
_TELLING = set(ExitStatus) - {ExitStatus.DONE, ExitStatus.CHECK_FAILED, ExitStatus.GAVE_UP}
"""Statuses that say why. 1 is left out: it is also what Python makes of any exception."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Start a new process in the slot."""

    delay: float


@dataclass(frozen=True, slots=True)
class LeaveDown:
    """Start no process in this slot; the others go on."""

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
    healthy_after: float = 10.0
    """A process that is ready for so long has shown that it works, with input or without."""
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
        """Decide what follows from the last of the slot's deaths.

        `deaths` has those of every slot that exists, oldest first; `was_ready`: the whole has been ready once;
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
        """Return what the exit status alone asks for, if it does."""
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
        """Whether the slot's role has nobody left whose disk lets it work."""
        role = slot.partition("-")[0]
        peers = [name for name in deaths if name.partition("-")[0] == role]
        return not any(name in working or self._disk_deaths(deaths[name]) < self.everyone_deaths for name in peers)

    def _disk_deaths(self, deaths: Sequence[Death]) -> int:
        """Count the deaths by the disk, one after the other and without work before them, that the slot ends with."""
        count = 0
        for death in reversed(deaths):
            if death.code != ExitStatus.DISK or self._worked(death):
                break
            count += 1
        return count

    def _worked(self, death: Death) -> bool:
        """Whether the process did what it is for; what it died of is then no reason to give up."""
        healthy = death.ready_for is not None and death.ready_for >= self.healthy_after
        return death.committed or healthy or (death.from_outside and death.ready_for is not None)

    def _faults(self, deaths: Sequence[Death], since: float) -> int:
        """Count deaths by own fault since the slot last worked: a broker or a disk that is away is nobody's here."""
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
