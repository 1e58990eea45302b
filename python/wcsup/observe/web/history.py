"""What a run looked like before: a quarter of an hour by seconds and a day by minutes, for the charts of the page.

It is kept in the memory of the supervisor: 190 kB when full, whatever the load. It begins with the run.
"""

import math
import threading
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from wcsup.supervisor import Snapshot

RECENT_SECONDS = 900
DAY_MINUTES = 1440
RATES = ("lines_per_second", "words_per_second")
"""As the snapshot has them, over the last seconds; by minutes the mean of the minute."""
LEVELS = ("lines_lag", "words_lag", "latency_p50", "latency_p99", "oldest_uncounted_seconds")
"""As they were at that second; by minutes the highest of the minute."""
COLUMNS = (*RATES, *LEVELS)

_UNKNOWN = math.nan


class RowSeries:
    """Rows of `COLUMNS` at points in time, the oldest ones dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._drop()

    def _drop(self) -> None:
        self._times = array("d")
        self._columns = [array("d") for _ in COLUMNS]

    def add(self, at: float, row: Sequence[float]) -> None:
        """Add a row. Where the clock was set back, the rows before are dropped: their times mean nothing now."""
        if self._times and at <= self._times[-1]:
            self._drop()
        for column, value in zip((self._times, *self._columns), (at, *row), strict=True):
            column.append(value)
            if len(column) > self._most:
                del column[0]

    def after(self, at: float) -> dict[str, list[float | None]]:
        """Return the columns of the rows that are later than `at`; what was not known is none."""
        first = bisect_right(self._times, at)
        columns: dict[str, list[float | None]] = {"time": [round(one, 3) for one in self._times[first:]]}
        for name, column in zip(COLUMNS, self._columns, strict=True):
            columns[name] = [_figure(value) for value in column[first:]]
        return columns


def _figure(value: float) -> float | None:
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else round(value, 4)


class RunHistory:
    """Takes each snapshot; tells the two series. It is told and asked by different threads."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._recent, self._day = RowSeries(RECENT_SECONDS), RowSeries(DAY_MINUTES)
        self._second = self._minute = 0
        self._rows: list[list[float]] = []
        """The rows of this minute."""

    def take(self, snapshot: Snapshot) -> None:
        """Take a snapshot: each second of the clock gets one row."""
        now = self._wall_clock()
        if int(now) == self._second:
            return
        self._second = int(now)
        row = [_UNKNOWN if value is None else float(value) for value in _values(snapshot)]
        with self._lock:
            self._recent.add(now, row)
            if self._minute != int(now // 60):
                if self._rows:
                    self._day.add(self._minute * 60.0, _of_a_minute(self._rows))
                self._minute, self._rows = int(now // 60), []
            self._rows.append(row)

    def after(self, at: float = 0.0) -> dict[str, Any]:
        """Return the rows that are later than a time in seconds since 1970."""
        with self._lock:
            return {"recent": self._recent.after(at), "day": self._day.after(at)}


def _values(snapshot: Snapshot) -> list[float | None]:
    """Return a row: what `COLUMNS` has the names of."""
    latency = snapshot.latency
    return [
        snapshot.lines_per_second,
        snapshot.words_per_second,
        snapshot.lines_lag,
        snapshot.words_lag,
        latency.p50 if latency else None,
        latency.p99 if latency else None,
        snapshot.oldest_uncounted,
    ]


def _of_a_minute(rows: Sequence[Sequence[float]]) -> list[float]:
    known = [[value for value in column if not math.isnan(value)] for column in zip(*rows, strict=True)]
    means = [sum(column) / len(column) if column else _UNKNOWN for column in known[: len(RATES)]]
    return means + [max(column, default=_UNKNOWN) for column in known[len(RATES) :]]
