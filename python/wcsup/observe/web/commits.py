"""The last transactions of each slot, and how long the steps of commits took: for the page's strips and its table."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from wcsup.pipeline.report import Counters, Ended, Histogram, Role
from wcsup.supervisor import Snapshot

STRIP_SECONDS = 60.0
"""How far back the strips go."""
_MOST = 2000
"""Transactions of a slot that are kept at most."""
WINDOW_SECONDS = 60.0
"""Over which time the steps' percentiles are."""
_MARK_SECONDS = 5.0
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(slots=True)
class _Strip:
    """The strip of one slot."""

    number: int = 0
    """Of the newest transaction that was taken."""
    transactions: deque[tuple[float, int, Ended]] = field(default_factory=lambda: deque(maxlen=_MOST))
    """Each with the time at which it was taken, and its number."""
    away: deque[tuple[float, float]] = field(default_factory=deque)
    """From when to when the slot was seen without a process, in seconds since 1970."""
    is_away: bool = False


class CommitStrips:
    """The transactions of each slot that ended in the last minute, and when the slot had no process.

    A slot that commits ten times a second takes 200 kB.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._strips: dict[str, _Strip] = {}
        self._looked_at = wall_clock()

    def take(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        now, before = self._wall_clock(), self._looked_at
        self._looked_at = now
        with self._lock:
            for worker in snapshot.workers:
                newest = worker.ended[-1][0] if worker.ended else 0
                strip = self._strips.setdefault(worker.slot, _Strip())
                if newest < strip.number:  # the slot was removed, and made again
                    strip.number = 0
                strip.transactions.extend((now, number, one) for number, one in worker.ended if number > strip.number)
                strip.number = newest
                if worker.pid is None:
                    strip.away.append((strip.away.pop()[0] if strip.is_away else before, now))
                strip.is_away = worker.pid is None
            there = {worker.slot for worker in snapshot.workers}
            for slot, strip in list(self._strips.items()):
                while strip.transactions and strip.transactions[0][2].at <= now - STRIP_SECONDS:
                    strip.transactions.popleft()
                while strip.away and strip.away[0][1] <= now - STRIP_SECONDS:
                    strip.away.popleft()
                if slot not in there and not strip.transactions and not strip.away:
                    del self._strips[slot]

    def after(self, at: float = 0.0) -> dict[str, Any]:
        """Return, by slot, what was taken later than a time in seconds since 1970."""
        with self._lock:
            return {
                slot: {
                    "transactions": [
                        {"number": number, **asdict(one)} for taken, number, one in strip.transactions if taken > at
                    ],
                    "away": [[round(since, 3), round(until, 3)] for since, until in strip.away if until > at],
                }
                for slot, strip in self._strips.items()
            }


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
