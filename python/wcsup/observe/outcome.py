"""When a run's input is completely counted, and the summary of the run."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from wcsup.config import Config
from wcsup.observe.figures import age, columns, top_words
from wcsup.observe.lag import Sample
from wcsup.observe.totals import TotalsReader, highest, totals
from wcsup.pipeline.report import AGES, Histogram
from wcsup.process.times import clock
from wcsup.supervisor import Snapshot, WorkerView
from wcsup.supervisor.words import WordsHere

_TOP_WORDS = 10
_SETTLE_SECONDS = 5.0
"""How long a partition without a reducer here may be moving between two reducers; after that it is taken for one of
another machine."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run, or of the part of it that was done."""

    lines: int
    words: int
    distinct: int | None
    """Distinct words that were ever counted, with earlier runs; none where that is not known."""
    total: int | None
    """Words that were ever counted, with earlier runs; none where that is not known."""
    seconds: float
    top: list[tuple[str, int]]
    restarts: Mapping[str, int] = field(default_factory=dict)
    """How many workers were replaced, by cause."""
    latency: Histogram = field(default_factory=lambda: Histogram(AGES))
    """Seconds from lines to their totals, as `wcsup.pipeline.report.Counters.latency` says."""
    partial: str = ""
    """What `distinct` leaves out, where it leaves something out."""

    def text(self) -> str:
        """Return the summary for a reader."""
        before = 0 if self.total is None else self.total - self.words
        causes = ", ".join(f"{count:,} {cause}" for cause, count in self.restarts.items())
        p50, p99 = self.latency.quantile(0.5), self.latency.quantile(0.99)
        rows: list[tuple[object, ...]] = [
            ("lines", self.lines, f"{self.lines / self.seconds:,.0f} a second" if self.seconds else ""),
            ("words", self.words, f"{self.total:,} with those of earlier runs" if before > 0 else ""),
            ("distinct words", "unknown" if self.distinct is None else self.distinct, self.partial),
            ("seconds", f"{self.seconds:.1f}", ""),
            ("restarts", sum(self.restarts.values()), causes),
            (
                "latency",
                *(("unknown", "") if p50 is None or p99 is None else (f"p50 {age(p50)}", f"p99 {age(p99)}")),
            ),
        ]
        if not self.top:
            return columns(rows, "<><")
        words = columns([(word, count) for word, count in self.top], "<>")
        return f"{columns(rows, '<><')}\n\nmost frequent words\n{words}"


class Outcome:
    """Follows a run's snapshots, tells when everything is counted, and keeps the snapshot of then."""

    def __init__(
        self, config: Config, last_sample: Callable[[], Sample | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.final: Snapshot | None = None
        """The snapshot with which everything was counted; none before."""
        self.worked = False
        """Whether all workers were ready once."""
        self._last: Snapshot | None = None
        self._here: WordsHere | None = None
        """The last totals of this host's reducers that were known."""
        self._whole = False
        """Whether these were the totals of all partitions."""
        self._config = config
        self._last_sample = last_sample
        self._clock = clock
        self._began = clock()
        self._ended = self._began
        self._fed_at: float | None = None
        self._before: list[WorkerView] = []
        self._total_before: int | None = None

    def take(self, snapshot: Snapshot) -> None:
        """Take each snapshot of the run, also the last one."""
        self._last = snapshot
        self.worked |= snapshot.ready
        here = self._stores(snapshot)
        if self._total_before is None and here is not None and snapshot.ready:
            self._total_before = sum(worker.total - worker.counters.words for worker in here)
        if snapshot.words_here is not None:
            self._here = snapshot.words_here
            if self._here.as_of is None:
                self._whole = here is not None

    def done(self, snapshot: Snapshot) -> bool:
        """Tell whether all is counted: the feeder has ended, and after that Kafka says that the lag is 0.

        Workers' reports are a moment behind Kafka. So every worker must have sent another report since, without new
        counts: then the snapshot has the final numbers.
        """
        if any(task.running for task in snapshot.tasks):
            return False
        if self._fed_at is None:
            self._fed_at = self._clock()
        sample = self._last_sample()
        if sample is None or sample.asked < self._fed_at or sample.lag.lines != 0 or sample.lag.words != 0:
            self._before = []
            return False
        workers = [worker for worker in snapshot.workers if not worker.failed]
        before, self._before = self._before, workers
        if not before:
            self._ended = self._clock()
        elif len(before) == len(workers) and all(map(_is_quiet, before, workers)):
            # Wait until every partition has a reducer: one that ended during a rebalance would not publish top words.
            settled = self._stores(snapshot) is not None or self._clock() - self._ended > _SETTLE_SECONDS
            self.final = snapshot if settled else None
        return self.final is not None

    def summary(self, lines: int) -> Summary:
        """Return the summary of a run that has counted everything; `lines` is the number of its lines."""
        if self.final is None:
            raise ValueError("the run ended before everything was counted")
        here = self._stores(self.final)
        if here is None:  # other machines own some partitions, or partitions are moving
            distinct, total, top = self._read()
        else:
            distinct, total = sum(worker.distinct for worker in here), sum(worker.total for worker in here)
            top = top_words(self.final, _TOP_WORDS)
        words = self.final.totals["reduce"].words
        if self._total_before is not None:  # better than counters: a dead worker's unreported counts are lost
            words = total - self._total_before
        latency = self.final.totals["reduce"].latency
        return Summary(lines, words, distinct, total, self._ended - self._began, top, dict(self._restarts), latency)

    def so_far(self, lines: int) -> Summary:
        """Return the summary of a run that ended before everything was counted; `lines` is the number of its lines."""
        if self._last is None:
            raise ValueError("the run ended before it began")
        counted, here = self._last.totals["reduce"], self._here
        words, total = counted.words, None
        if here is not None and self._whole and self._total_before is not None:
            # A killed reducer's unreported counts are only in the total, those of the last commits in the counters.
            words = max(words, here.total - self._total_before)
            total = self._total_before + words
        partial = [] if self._whole else ["in this host's partitions"]
        if here is not None and here.as_of is not None:
            partial.append(f"as of {clock(here.as_of)}")
        return Summary(
            lines,
            words,
            None if here is None else here.distinct,
            total,
            self._clock() - self._began,
            [],
            dict(self._restarts),
            counted.latency,
            ", ".join(partial) if here is not None else "",
        )

    @property
    def _restarts(self) -> Mapping[str, int]:
        return {} if self._last is None else self._last.restarts

    def _stores(self, snapshot: Snapshot) -> list[WorkerView] | None:
        """Return the reducers, if they own all partitions together; else none."""
        reducers = [worker for worker in snapshot.workers if worker.role == "reduce"]
        owned = {partition for worker in reducers for partition in worker.partitions}
        return reducers if len(owned) == self._config.partitions else None

    def _read(self) -> tuple[int, int, list[tuple[str, int]]]:
        """Return the number of distinct words, the sum of their totals, and the words with the highest totals."""
        distinct = total = 0

        def counted(pairs: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
            nonlocal distinct, total
            for word, count in pairs:
                distinct += 1
                total += count
                yield word, count

        with closing(TotalsReader(self._config, "counts")) as reader:
            top = highest(counted(totals(reader, reader.partitions)), _TOP_WORDS)
        return distinct, total, top


def _is_quiet(before: WorkerView, now: WorkerView) -> bool:
    """Tell whether a worker has sent another report without new counts."""
    return (
        (before.slot, before.pid, before.counters.records, before.total)
        == (now.slot, now.pid, now.counters.records, now.total)
        and now.ready
        and now.beat > before.beat
    )
