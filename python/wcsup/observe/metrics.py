"""The metrics of a run for Prometheus: one scrape for all workers, made from the supervisor's newest snapshot.

Counters are sums over all processes that the run has had, so they outlive workers. There are few series: their labels
are role, slot, partition, and reasons and states with a few fixed values.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from wcsup import __version__
from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Counters, Histogram
from wcsup.supervisor import Snapshot, WorkerView
from wcsup.supervisor.slot import SlotState

RESTART_REASONS = (
    *("killed", "crashed", "hung", "drained", "requested", "max_rss", "scaled"),
    *(status.name.lower() for status in (ExitStatus.STORE_BROKEN, ExitStatus.BROKER_UNREACHABLE, ExitStatus.RETRY)),
    ExitStatus.DISK.name.lower(),
)
"""Reasons that are exported from the start, at 0: `rate` misses the first event of a counter that begins with it."""

Series = dict[tuple[str, ...], float]
"""Values by label values."""


def registry(application: str, newest: Callable[[], Snapshot | None]) -> CollectorRegistry:
    """Return the registry for a scrape: the run, and the supervisor's own process (`process_…`)."""
    found = CollectorRegistry()
    found.register(RunCollector(application, newest))
    ProcessCollector(registry=found)
    return found


class RunCollector(Collector):
    """Makes metrics from the newest snapshot, in any thread."""

    def __init__(self, application: str, newest: Callable[[], Snapshot | None]) -> None:
        self._application, self._newest = application, newest

    def describe(self) -> Iterable[Metric]:
        """Describe no metrics before the first scrape, since there is no snapshot yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield InfoMetricFamily(
            "wcsup",
            "Which application runs here, and by which version.",
            {"application": self._application, "version": __version__},
        )
        snapshot = self._newest()
        if snapshot is not None:
            for part in (_run, _work, _commits, _latency, _lag, _workers):
                yield from part(snapshot)


def _run(snapshot: Snapshot) -> Iterator[Metric]:
    yield _gauge("uptime_seconds", "Age of the run.", {(): snapshot.uptime})
    yield _gauge(
        "ready", "Whether every slot is assigned and has its stores open, and a broker answers.", {(): snapshot.ready}
    )
    reachable = snapshot.broker.reachable
    known: Series = {} if reachable is None else {(): reachable}
    yield _gauge("broker_reachable", "Whether a broker answered in the last 5 s; left out where not known.", known)
    yield _gauge("stopping", "Whether the run is ending.", {(): snapshot.stopping is not None})
    yield _gauge("spare_workers", "Processes that wait to take a dead worker's place.", {(): len(snapshot.spares)})
    restarts = dict.fromkeys(RESTART_REASONS, 0) | snapshot.restarts
    by_reason: Series = {(reason,): count for reason, count in restarts.items()}
    yield _counter("restarts", "New processes in the place of old ones.", by_reason, "reason")


def _work(snapshot: Snapshot) -> Iterator[Metric]:
    mapped, reduced = snapshot.totals["map"], snapshot.totals["reduce"]
    yield _counter(
        "lines", "Lines that mappers have committed, null lines and dead letters among them.", {(): mapped.records}
    )
    yield _counter("null_lines", "Lines without a value, skipped.", {(): mapped.null_lines})
    yield _counter("words", "Words that reducers have added to totals and committed.", {(): reduced.words})
    yield _counter(
        "input_records",
        "Committed input: lines of mappers, records of the topic words of reducers.",
        _by_role(snapshot, lambda counters: counters.records),
        "role",
    )
    yield _counter(
        "input_bytes",
        "Size of the committed input: lines of mappers, keys of reducers.",
        _by_role(snapshot, lambda counters: counters.bytes),
        "role",
    )
    yield _counter(
        "output_records",
        "Records written to the topics words (mappers) and counts (reducers).",
        _by_role(snapshot, lambda counters: counters.written),
        "role",
    )
    yield _counter(
        "dead_letters",
        "Records that can't be processed, written to the topic dead-letters.",
        _by_role(snapshot, lambda counters: counters.dead_letters),
        "role",
    )
    yield _counter("restored_records", "Records of the topic counts read to open stores.", {(): reduced.restored})
    here = snapshot.workers
    yield _gauge("distinct_words", "Words that have a total in the open stores.", {(): sum(w.distinct for w in here)})
    yield _gauge("counted_words", "Sum of all totals in the open stores.", {(): sum(w.total for w in here)})


def _commits(snapshot: Snapshot) -> Iterator[Metric]:
    totals = snapshot.totals.items()
    yield _counter("commits", "Transactions committed.", _by_role(snapshot, lambda counters: counters.commits), "role")
    aborts: Series = {(role, reason): count for role, counters in totals for reason, count in counters.aborts.items()}
    yield _counter("aborts", "Transactions given up and done again, by Kafka's error.", aborts, "role", "reason")
    durations = SummaryMetricFamily(
        "wcsup_commit_duration_seconds", "Time of whole commits.", labels=["role"], unit="seconds"
    )
    batches = HistogramMetricFamily("wcsup_batch_records", "Input records of each commit.", labels=["role"])
    steps = HistogramMetricFamily(
        "wcsup_commit_step_duration_seconds", "Time of each step of commits.", labels=["role", "step"], unit="seconds"
    )
    for role, counters in totals:
        durations.add_metric([role], counters.commits, counters.commit_seconds)
        _observe(batches, [role], counters.batch_records)
        for step, histogram in counters.step_seconds.items():
            _observe(steps, [role, step], histogram)
    yield from (durations, batches, steps)


def _latency(snapshot: Snapshot) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "wcsup_line_to_total_seconds",
        "Time from a line's time in Kafka to the commit of its totals, for each word counted; "
        "each word has the time of the oldest line of the mapper's commit that it came in.",
        unit="seconds",
    )
    _observe(family, [], snapshot.totals["reduce"].latency)
    yield family
    oldest: Series = {} if snapshot.oldest_uncounted is None else {(): snapshot.oldest_uncounted}
    yield _gauge(
        "oldest_uncounted_seconds",
        "Age of the oldest line that no total has yet, 0 where none is left; left out where it is not known.",
        oldest,
    )


def _lag(snapshot: Snapshot) -> Iterator[Metric]:
    lag = {"lines": snapshot.lag.lines_by_partition, "words": snapshot.lag.words_by_partition}
    series: Series = {(topic, str(p)): left for topic, partitions in lag.items() for p, left in partitions.items()}
    yield _gauge("lag_records", "Records that no worker has committed yet.", series, "topic", "partition")
    until: Series = {(str(p),): seconds for p, seconds in snapshot.lag.lines_retention_by_partition.items()}
    yield _gauge(
        "lines_retention_seconds",
        "Time until Kafka may delete the oldest line that is not counted, at the earliest; "
        "left out where no line waits, where lines are kept for ever and where it is not known.",
        until,
        "partition",
    )


def _remaining(worker: WorkerView) -> int:
    return sum(todo - done for done, todo in worker.restoring.values())


def _restored(worker: WorkerView) -> float:
    todo = sum(todo for _, todo in worker.restoring.values())
    if todo:
        return sum(done for done, _ in worker.restoring.values()) / todo
    return 0.0 if worker.restoring else 1.0  # before a store's stamp is checked, the records to read are not known


_OF_WORKERS: tuple[tuple[str, str, Callable[[WorkerView], float | None]], ...] = (
    ("ready", "Whether the slot is assigned, has its stores open, and gives heartbeats.", lambda w: w.ready),
    ("partitions", "Partitions that the slot has.", lambda w: len(w.partitions)),
    ("uptime_seconds", "Age of the present process.", lambda w: w.uptime),
    ("heartbeat_age_seconds", "Time since the process's last heartbeat.", lambda w: w.heartbeat_seconds),
    ("commit_age_seconds", "Time since the slot's last commit.", lambda w: w.last_commit_seconds),
    ("resident_memory_bytes", "Resident memory of the present process.", lambda w: w.rss_bytes),
    ("threads", "Threads of the present process.", lambda w: w.threads),
    ("open_fds", "Open file descriptors of the present process.", lambda w: w.open_files),
    ("state_bytes", "Size of the open stores on disk.", lambda w: w.state_bytes),
    ("kept_words", "Words whose new totals are yet to be written to the stores.", lambda w: w.kept_words),
    ("words_in_memory", "Words whose totals need no look-up in the stores.", lambda w: w.words_in_memory),
    ("bytes_in_memory", "What the totals of these words take.", lambda w: w.bytes_in_memory),
    ("state_memory_bytes", "What they may take, with the partitions that the slot has.", lambda w: w.state_memory),
    ("restoring_partitions", "Stores that are being opened.", lambda w: len(w.restoring)),
    ("restore_remaining_records", "Records left to read to open stores.", _remaining),
    ("restore_remaining_seconds", "Time that it will take at the pace so far.", lambda w: w.restore_seconds),
    ("restore_ratio", "Share read of what opening stores takes; 1 where all are open.", _restored),
)
"""Name, help and value of each gauge that every slot has."""


def _workers(snapshot: Snapshot) -> Iterator[Metric]:
    labels = {worker.slot: (worker.role, worker.slot) for worker in snapshot.workers}

    def each(value: Callable[[WorkerView], float | None]) -> Series:
        values = ((labels[worker.slot], value(worker)) for worker in snapshot.workers)
        return {label: found for label, found in values if found is not None}

    states: Series = {
        (*labels[worker.slot], state.value): float(worker.state is state)
        for worker in snapshot.workers
        for state in SlotState
    }
    yield _gauge("worker_state", "1 at the state that the slot is in, else 0.", states, "role", "slot", "state")
    for name, text, value in _OF_WORKERS:
        yield _gauge(f"worker_{name}", text, each(value), "role", "slot")
    in_row: Series = {
        (*labels[worker.slot], reason): count
        for worker in snapshot.workers
        for reason, count in worker.aborts_in_row.items()
    }
    text = "Transactions that the slot has aborted since its last commit, by Kafka's error."
    yield _gauge("worker_aborts_in_row", text, in_row, "role", "slot", "reason")
    for name, text, count in (
        ("restarts", "New processes in the slot.", each(lambda w: w.restarts)),
        ("input_records", "Committed input of the slot's processes.", each(lambda w: w.counters.records)),
        ("cpu_seconds", "Processor time of the slot's processes.", each(lambda w: w.cpu_seconds)),
    ):
        yield _counter(f"worker_{name}", text, count, "role", "slot")


def _by_role(snapshot: Snapshot, value: Callable[[Counters], float]) -> Series:
    return {(role,): value(counters) for role, counters in snapshot.totals.items()}


def _gauge(name: str, text: str, series: Series, *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"wcsup_{name}", text, labels=labels, unit=_unit(name)), series)


def _counter(name: str, text: str, series: Series, *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"wcsup_{name}", text, labels=labels, unit=_unit(name)), series)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, series: Series) -> Metric:
    for labels, value in series.items():
        family.add_metric(labels, value)
    return family


def _unit(name: str) -> Literal["", "seconds", "bytes", "ratio"]:
    for unit in ("seconds", "bytes", "ratio"):
        if name.endswith(f"_{unit}"):
            return unit
    return ""


def _observe(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    """Add a histogram. Prometheus' buckets are cumulative; a `Histogram` has the counts between two bounds."""
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    below = list(accumulate(histogram.counts))
    family.add_metric(labels, list(zip(bounds, below, strict=True)), histogram.sum)
