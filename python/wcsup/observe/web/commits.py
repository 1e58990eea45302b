"""What each slot committed lately, and how long the steps of commits took: for the page's strips and its table."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from wcsup.pipeline.report import Counters, Histogram, Role
from wcsup.supervisor import Snapshot

LOOKS = 240
"""How many looks are kept: two minutes. A look is made twice a second, as often as workers report."""
WINDOW_SECONDS = 60.0
"""Over which time the steps' percentiles are."""
_MARK_SECONDS = 5.0
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_IDLE = (0, 0, 0)

Work = tuple[int, int, int]
"""Input records, commits and aborts."""


class CommitStrips:
    """What each slot reported between two looks: committed records, commits, and aborts.

    A slot without a process at a look has nothing there. A slot that works takes 50 kB.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._looks: deque[tuple[float, dict[str, Work]]] = deque(maxlen=LOOKS)
        self._seen: dict[str, Work] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        sums = {one.slot: _work(one.counters) for one in snapshot.workers}
        now = {}
        for worker in snapshot.workers:
            if worker.pid is not None:
                before = self._seen.get(worker.slot, sums[worker.slot])
                change = tuple(max(0, new - old) for new, old in zip(sums[worker.slot], before, strict=True))
                now[worker.slot] = _IDLE if change == _IDLE else change
        self._seen = sums
        with self._lock:
            self._looks.append((self._wall_clock(), now))  # type: ignore[arg-type]

    def after(self, at: float = 0.0) -> dict[str, Any]:
        """Return the looks that are later than a time in seconds since 1970, by column: their times, and each slot's.

        A slot's value is none where it had no process.
        """
        with self._lock:
            looks = [look for look in self._looks if look[0] > at]
        slots = sorted({slot for _, works in looks for slot in works})
        columns = {
            slot: {
                name: [works[slot][place] if slot in works else None for _, works in looks]
                for place, name in enumerate(("records", "commits", "aborts"))
            }
            for slot in slots
        }
        return {"time": [round(one, 3) for one, _ in looks], "slots": columns}


def _work(counters: Counters) -> Work:
    return counters.records, counters.commits, sum(counters.aborts.values())


class StepTimes:
    """How long each step of the commits took over the last minute, by role."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: deque[tuple[float, Mapping[Role, Counters]]] = deque()
        """Sums of all counters, every five seconds, the oldest one a minute ago."""
        self._newest: Mapping[Role, Counters] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        now, self._newest = self._clock(), snapshot.totals
        if not self._marks or now - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append((now, snapshot.totals))
        while len(self._marks) > 1 and self._marks[1][0] <= now - WINDOW_SECONDS:
            self._marks.popleft()

    def told(self) -> dict[str, Any]:
        """Return the percentiles in seconds, by role and step, with how often the step was done."""
        newest, marks = self._newest, list(self._marks)
        first = marks[0][1] if marks else {}
        return {
            role: {step: _told(one, first[role].step_seconds.get(step)) for step, one in counters.step_seconds.items()}
            for role, counters in newest.items()
            if role in first
        }


def _told(now: Histogram, before: Histogram | None) -> dict[str, float | None]:
    """Return the percentiles of what was observed since `before`."""
    old = before.counts if before else [0] * len(now.counts)
    counts = [max(0, new - one) for new, one in zip(now.counts, old, strict=True)]
    return {"count": sum(counts), **{name: quantile(now.bounds, counts, q) for name, q in _QUANTILES.items()}}


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """Return the value that a share of the observations is below; none without observations.

    It is as Prometheus' `histogram_quantile` has it: even between two bounds, and the highest bound for what is above.
    """
    below = list(accumulate(counts))
    wanted = share * below[-1]
    if not below[-1]:
        return None
    place = next(index for index, count in enumerate(below) if count >= wanted and counts[index])
    if place == len(bounds):
        return bounds[-1]
    low = bounds[place - 1] if place else 0.0
    return round(low + (bounds[place] - low) * (wanted - (below[place] - counts[place])) / counts[place], 6)
