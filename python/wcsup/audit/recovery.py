"""What `wcsup chaos` saw of recoveries."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

RECOVERY_SECONDS = 60.0
"""How long a slot may take to be at work again before it counts as lost."""

Worker = dict[str, Any]
"""A worker as `status --json` has it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done, and what came of it."""

    action: str
    slot: str
    what: str
    recovered: float | None
    """Seconds from the end of the harm until the slot was at work again; none where it never was."""


@dataclass(slots=True)
class RecoveryWatch:
    """Looks out for a slot to be at work again."""

    worker: Worker
    """As it was before the harm."""
    new: bool
    """As a new process, or as one whose loop turns again."""
    since: float
    seconds: float | None = None
    now: Worker = field(default_factory=dict)

    def look(self, now: Worker) -> None:
        """Take in what the slot is by now."""
        self.now = now
        pid, beat = self.worker["pid"], self.worker["beat"]
        turned = now["pid"] != pid if self.new else (now["pid"], now["beat"]) != (pid, beat)
        if self.seconds is None and turned and now["ready"] and now["state"] == "running":
            self.seconds = time.monotonic() - self.since


@dataclass(slots=True)
class ChaosReport:
    """What was done in all."""

    events: list[Event] = field(default_factory=list)
    ended: str | None = None
    """Why the run ended under it, if it did."""

    @property
    def survived(self) -> bool:
        """Whether every slot came back."""
        return self.ended is None and all(event.recovered is not None for event in self.events)

    def summary(self, actions: Sequence[str]) -> str:
        """Return a line for each kind of harm, and one for the whole."""
        lines = []
        for action in actions:
            times = [event.recovered for event in self.events if event.action == action and event.recovered is not None]
            if times:
                half, worst = median(times), max(times)
                lines.append(
                    f"{action:8} {len(times):4} times, at work again after {half:.2f} s (half), {worst:.2f} s (worst)"
                )
        lost = [event.slot for event in self.events if event.recovered is None]
        if lost:
            lines.append(f"not at work again within {RECOVERY_SECONDS:.0f} s: {', '.join(lost)}")
        if self.ended:
            lines.append(f"the run ended: {self.ended}")
        return "\n".join(lines)
