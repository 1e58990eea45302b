"""The latency from lines to their totals over the last minute, from a histogram that only rises."""

from collections import deque
from dataclasses import dataclass

from wcsup.pipeline.report import Histogram

WINDOW_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a line's time in Kafka to the end of the commit of its totals, for the words of a window.

    `wcsup.pipeline.report.Counters.latency` says what is measured. The values are as exact as the histogram's bounds.
    """

    p50: float
    p99: float
    max: float
    """No word took longer; a week where one took longer than that."""
    window_seconds: int = WINDOW_SECONDS


class LatencyWindow:
    """The histogram as it was in the last minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, Histogram]] = deque()
        """The histogram each time that it had changed; the first is the one at the window's beginning."""

    def look(self, now: float, latency: Histogram) -> Latency | None:
        """Take the histogram as it is now; return the latency of the window, none where nothing was counted in it."""
        while len(self._seen) > 1 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()
        if not self._seen or self._seen[-1][1].counts != latency.counts:
            self._seen.append((now, latency))
        return _latency(latency - self._seen[0][1]) if len(self._seen) > 1 else None


def _latency(counted: Histogram) -> Latency | None:
    p50, p99, most = (counted.quantile(share) for share in (0.5, 0.99, 1.0))
    return None if p50 is None or p99 is None or most is None else Latency(p50, p99, most)
