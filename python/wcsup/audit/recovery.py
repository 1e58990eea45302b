"""The recoveries that `wcsup chaos` observed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

RECOVERY_SECONDS = 60.0
"""How long a slot may take to work again before it counts as lost."""

Worker = dict[str, Any]
"""A worker as in `status --json`."""


@dataclass(frozen=True, slots=True)
class Event:
    """One harm, and the recovery from it."""

    action: str
    slot: str
    what: str
    recovered: float | None
    """Seconds from the end of the harm until the slot worked again; none where it never did."""


@dataclass(slots=True)
class RecoveryWatch:
    """Watches for a slot to work again."""

    worker: Worker
    """The worker before the harm."""
    new: bool
    """Whether to wait for a new process, or for the old process's loop to turn again."""
    since: float
    seconds: float | None = None
    now: Worker = field(default_factory=dict)

    def look(self, now: Worker) -> None:
        """Take the slot's present state."""
        self.now = now
        pid, beat = self.worker["pid"], self.worker["beat"]
        turned = now["pid"] != pid if self.new else (now["pid"], now["beat"]) != (pid, beat)
        if self.seconds is None and turned and now["ready"] and now["state"] == "running":
            self.seconds = time.monotonic() - self.since


@dataclass(slots=True)
class ChaosReport:
    """All harm that was done."""

    events: list[Event] = field(default_factory=list)
    ended: str | None = None
    """Why the run ended during the chaos; none where it did not."""

    @property
    def survived(self) -> bool:
        """Whether every slot works again."""
        return self.ended is None and all(event.recovered is not None for event in self.events)

    def summary(self, actions: Sequence[str]) -> str:
        """Return a line for each kind of harm, and one for all."""
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
