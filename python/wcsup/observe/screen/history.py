"""What the screen remembers of earlier snapshots: a quarter of an hour of speeds, lag and latency, and words' rates."""

import math
from collections import deque
from dataclasses import dataclass

from wcsup.observe.changes import Changes
from wcsup.supervisor import Snapshot

SPAN_SECONDS = 900
"""How far back charts go."""
_SPANS = (60, 120, 300, 600, SPAN_SECONDS)
"""How many seconds a chart may have across its width."""
_TREND_SECONDS = 10.0
"""Over how long the change of the lag is measured: commits come once a second, so the lag is a saw-tooth."""


class Series:
    """A value for each second, for a quarter of an hour."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, float]] = deque(maxlen=SPAN_SECONDS)

    @property
    def peak(self) -> float:
        """The highest value; 0 where there is none."""
        return max((value for _, value in self._seconds), default=0.0)

    def take(self, at: float, value: float | None) -> None:
        """Take the value at a time in seconds; the last one of each second is kept. None leaves a gap."""
        second = int(at)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds.pop()
        if value is not None:
            self._seconds.append((second, value))

    def span(self, at: float) -> int:
        """Return how many seconds a chart has: as few as show everything that is known."""
        known = int(at) - self._seconds[0][0] + 1 if self._seconds else 0
        return next((span for span in _SPANS if span >= known), SPAN_SECONDS)

    def columns(self, at: float, columns: int) -> list[float | None]:
        """Return the means of the last seconds up to `at`, one for each column of a chart; none where nothing is known.

        A column stands for the same seconds until these leave the chart on the left.
        """
        step = self.span(at) / columns
        last = int(at) // step if step >= 1 else math.ceil((int(at) + 1) / step) - 1
        first = int(last) - columns + 1
        seconds = dict(self._seconds)
        found: list[float | None] = []
        for column in range(first, first + columns):
            begin, end = math.ceil(column * step), math.ceil((column + 1) * step)
            within = range(begin, end) or (begin - 1,)  # a second may be wider than a column
            values = [seconds[second] for second in within if second in seconds]
            found.append(sum(values) / len(values) if values else None)
        return found


@dataclass(frozen=True, slots=True)
class CatchUp:
    """How the lag changes."""

    rate: float
    """By how much a second the lag falls; below zero it grows."""
    seconds: float | None
    """Until nothing is left at that rate; none where the lag does not fall."""


class History:
    """Takes each snapshot of a run; times are seconds of the run."""

    def __init__(self) -> None:
        self.lines, self.latency, self.lag = Series(), Series(), Series()
        self.at = 0.0
        """The time of the newest snapshot."""
        self._lags: deque[tuple[float, int]] = deque()
        self._changes = Changes()
        self._word_rates: dict[str, float | None] = {}

    def take(self, snapshot: Snapshot) -> None:
        """Take the next snapshot."""
        self.at = snapshot.uptime
        known = snapshot.broker.reachable is not False
        self.lines.take(self.at, snapshot.lines_per_second)
        self.lag.take(self.at, snapshot.lines_lag if known else None)
        latency = snapshot.latency
        self.latency.take(self.at, latency.p99 if latency and known else None)
        self._take_lag(snapshot.lines_lag)
        self._take_words(snapshot)

    def catch_up(self) -> CatchUp | None:
        """Return how the lag changes; none where that is not known, or too little of it is."""
        if len(self._lags) < 2:
            return None
        (first_at, first), (last_at, last) = self._lags[0], self._lags[-1]
        if last_at - first_at < _TREND_SECONDS / 4:
            return None
        rate = (first - last) / (last_at - first_at)
        return CatchUp(rate, last / rate if rate > 0 else None)

    def word_rate(self, word: str) -> float | None:
        """Return how often a word of the top list is counted in a second; none where it is new there."""
        return self._word_rates.get(word)

    def _take_lag(self, lag: int | None) -> None:
        if lag is None:
            self._lags.clear()
            return
        self._lags.append((self.at, lag))
        while self._lags[0][0] < self.at - _TREND_SECONDS:
            self._lags.popleft()

    def _take_words(self, snapshot: Snapshot) -> None:
        here = snapshot.words_here
        if here is None or here.as_of is not None:  # totals that stand still say nothing of how often words come
            self._changes, self._word_rates = Changes(), {}
            return
        self._word_rates = {one.word: one.rate for one in self._changes.take(self.at, here.top)}
