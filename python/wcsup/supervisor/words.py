"""The totals of this host's reducers, and since when they are stale while a reducer is away."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from wcsup.pipeline.report import Report
from wcsup.process.times import utc
from wcsup.supervisor.slot import Slot

_MOVED_SECONDS = 5.0
"""How long partitions may be moving between this host's reducers; after that another host has them."""


@dataclass(frozen=True, slots=True)
class WordsHere:
    """The totals in this host's stores."""

    distinct: int = 0
    total: int = 0
    """Sum of all totals."""
    state_bytes: int = 0
    """Size of the stores on disk."""
    top: list[tuple[str, int]] = field(default_factory=list)
    """The most frequent words with their totals, highest first, right to its last line."""
    unlisted: int | None = 0
    """How many words are too long for `top`; none where not known: an older wcsup made a store."""
    as_of: str | None = None
    """When all this was true, as ISO 8601 in UTC, while a reducer is away; none while it is true now."""

    @classmethod
    def of(cls, reports: Sequence[Report]) -> "WordsHere":
        """Add up what reducers reported."""
        unlisted = [report.unlisted for report in reports]
        return cls(
            distinct=sum(report.distinct for report in reports),
            total=sum(report.total for report in reports),
            state_bytes=sum(report.state_bytes for report in reports),
            top=merged(reports),
            unlisted=None if None in unlisted else sum(filter(None, unlisted)),
        )


def merged(reports: Iterable[Report]) -> list[tuple[str, int]]:
    """Return the top words of all reports in one list, as far down as it is right.

    A word is in one partition, so in one report. Behind the last word of a list that is cut, its reducer may have words
    that the other lists' lower ones come after.
    """
    reports = list(reports)
    words = sorted((_place(word, total) for report in reports for word, total in report.top))
    ends = [_place(*report.top[-1]) for report in reports if report.top and report.top_cut]
    end = min(ends, default=None)
    return [(word, -below) for below, word in words if end is None or (below, word) <= end]


def _place(word: str, total: int) -> tuple[int, str]:
    return -total, word


class WordsWatch:
    """Keeps the last values while a reducer is away."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._last: WordsHere | None = None
        self._true_at = 0.0
        """When the last values were true, in seconds since 1970."""
        self._partitions: set[int] = set()
        self._fewer_since: float | None = None
        """Since when all reducers are there and have fewer partitions than before."""

    def look(self, slots: Iterable[Slot], now: float) -> WordsHere | None:
        """Return the totals of the reducers among the slots; none before all of them have opened their stores."""
        reducers = [slot for slot in slots if slot.role == "reduce"]
        there = [slot for slot in reducers if slot.child is not None and slot.report.ready and not slot.silent(now)]
        if self._are_all(reducers, there, now):
            self._last = WordsHere.of([slot.report for slot in there])
            self._partitions = _partitions(there)
            self._true_at = self._wall_clock() - max(slot.heartbeat(now) or 0.0 for slot in there)
            return self._last
        return self._last and replace(self._last, as_of=utc(self._true_at))

    def _are_all(self, reducers: Sequence[Slot], there: Sequence[Slot], now: float) -> bool:
        """Return whether the reducers that are there have all the words of this host.

        They have where they own all partitions that were here: then a reducer that is away has none. Where partitions
        are missing, these are on their way between two reducers, or have gone to another host.
        """
        if not there:
            return False
        if self._last is not None and _partitions(there) >= self._partitions:
            self._fewer_since = None
            return True
        if len(there) < sum(not slot.failed for slot in reducers):
            self._fewer_since = None
            return False
        if self._fewer_since is None:
            self._fewer_since = now
        return self._last is None or now - self._fewer_since > _MOVED_SECONDS


def _partitions(slots: Iterable[Slot]) -> set[int]:
    return {partition for slot in slots for partition in slot.report.partitions}
