"""The state of a run at one moment: `status`, the screen of a run, metrics and health are made from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from wcsup.pipeline.report import Counters, Ended, Phase, Role
from wcsup.supervisor.events import RunEvent
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.reach import Reachability
from wcsup.supervisor.resources import Usage
from wcsup.supervisor.slot import Slot, SlotState
from wcsup.supervisor.told import read
from wcsup.supervisor.words import WordsHere


@dataclass(frozen=True, slots=True)
class LagView:
    """The lag, as an observer of Kafka saw it a moment ago; none where it is not known."""

    lines: int | None = None
    words: int | None = None
    lines_by_partition: Mapping[int, int] = field(default_factory=dict)
    words_by_partition: Mapping[int, int] = field(default_factory=dict)
    lines_retention_by_partition: Mapping[int, float] = field(default_factory=dict)
    """For each partition the seconds until Kafka may delete its oldest uncounted line, where known."""
    oldest_seconds: float | None = None
    """Age of the oldest line that no total has yet, 0 where none is left; none where it is not known."""

    def by_partition(self, role: Role) -> Mapping[int, int] | None:
        """Return the lag of a role's input by partition; none where it is not known."""
        known = self.lines if role == "map" else self.words
        by_partition = self.lines_by_partition if role == "map" else self.words_by_partition
        return None if known is None else by_partition


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One slot."""

    role: Role
    slot: str
    """The slot's full name, such as `map-0`."""
    pid: int | None
    state: SlotState
    ready: bool
    """Whether it is assigned, has its stores open, and gives heartbeats."""
    phase: Phase
    beat: int
    restarts: int
    partitions: list[int]
    restoring: dict[int, tuple[int, int]]
    cpu_percent: float | None
    rss_bytes: int | None
    threads: int | None
    open_files: int | None
    uptime: float | None
    """Seconds of the present process."""
    last_exit: str | None
    failed: str | None
    counters: Counters
    """The sum over all processes that filled the slot, so they only rise."""
    distinct: int
    total: int
    state_bytes: int
    kept_words: int
    words_in_memory: int
    bytes_in_memory: int
    state_memory: int
    top: list[tuple[str, int]]
    cpu_seconds: float = 0.0
    """The sum over all processes that filled the slot."""
    restore_seconds: float | None = None
    """How long opening the stores in `restoring` will take; none where that can't be told."""
    heartbeat_seconds: float | None = None
    """Age of the newest heartbeat; none before the first one, and without a process."""
    silent: bool = False
    """Whether there was none for 2 s: the process is stopped, stuck or starved, and will be killed if it stays so."""
    last_commit_seconds: float | None = None
    """Seconds since the slot's last commit was reported; none where none was."""
    records_per_second: float = 0.0
    """Input records of the slot, over the last few seconds: lines of a mapper, `words` records of a reducer."""
    aborts_in_row: dict[str, int] = field(default_factory=dict)
    """Transactions aborted since the last commit, by Kafka's error."""
    ended: list[tuple[int, Ended]] = field(default_factory=list)
    """The last transactions of the slot, numbered; `to_json` leaves them out, which would repeat most of them."""

    @property
    def condition(self) -> str:
        """The state in a few words, for people: a silent worker may not be at what it reported last."""
        return f"no heartbeat for {self.heartbeat_seconds:.0f} s" if self.silent else str(self.state)


@dataclass(frozen=True, slots=True)
class TaskView:
    """A child beside the workers."""

    name: str
    pid: int
    running: bool
    status: int | None
    progress: dict[str, Any]
    """The last JSON object that it printed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole run at one moment."""

    pid: int
    uptime: float
    ready: bool
    """Whether every slot is ready, and gives heartbeats, and a broker answered lately."""
    broker: Reachability
    stopping: str | None
    """Why the run is ending, if it is."""
    workers: list[WorkerView]
    tasks: list[TaskView]
    spares: list[int]
    lag: LagView
    totals: dict[Role, Counters]
    """The work of all processes that the run has had, with those of removed slots."""
    restarts: dict[str, int]
    """How many processes were replaced, by cause: `killed`, `crashed`, `hung`, `requested`, `max_rss`, …"""
    supervisor: Usage | None
    events: list[RunEvent] = field(default_factory=list)
    """The last ones, oldest first."""
    application: str = ""
    bootstrap_servers: str = ""
    lines_per_second: float = 0.0
    words_per_second: float = 0.0
    """What mappers and reducers have committed, over the last few seconds."""
    latency: Latency | None = None
    """From lines to their totals, over the last minute; none where nothing was counted in it."""
    words_here: WordsHere | None = None
    """The totals of this host's reducers; none before all of them have opened their stores."""

    @property
    def lines_lag(self) -> int | None:
        """Lines that no mapper has committed yet."""
        return self.lag.lines

    @property
    def words_lag(self) -> int | None:
        """Records of `words` that no reducer has committed yet."""
        return self.lag.words

    @property
    def oldest_uncounted(self) -> float | None:
        """Age in seconds of the oldest line that no total has yet, 0 where none is left; none where not known."""
        return self.lag.oldest_seconds

    @property
    def lines_retention(self) -> float | None:
        """The seconds until Kafka may delete the first uncounted line; none where there is none or not known."""
        return min(self.lag.lines_retention_by_partition.values(), default=None)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned; raise `ValueError` where another version of wcsup means something else."""
        return read(cls, values)

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` prints."""
        told = asdict(self)
        for worker in told["workers"]:
            del worker["ended"]
        return {
            **told,
            "lines_lag": self.lines_lag,
            "words_lag": self.words_lag,
            "lines_retention_seconds": self.lines_retention,
            "oldest_uncounted_seconds": self.oldest_uncounted,
        }


def view(slot: Slot, now: float, rate: float = 0.0) -> WorkerView:
    """Return the view of a slot, which has `rate` input records a second."""
    report, usage, child = slot.report, slot.usage, slot.child
    return WorkerView(
        role=slot.role,
        slot=slot.name,
        pid=child.pid if child else None,
        state=slot.state,
        ready=slot.ready and not slot.silent(now),
        phase=report.phase,
        beat=report.beat,
        restarts=slot.restarts,
        partitions=report.partitions,
        restoring=report.restoring,
        cpu_percent=usage.cpu_percent if usage else None,
        rss_bytes=usage.rss_bytes if usage else None,
        threads=usage.threads if usage else None,
        open_files=usage.open_files if usage else None,
        uptime=now - slot.started_at if child else None,
        last_exit=slot.last_exit,
        failed=slot.failed,
        counters=slot.counters,
        distinct=report.distinct,
        total=report.total,
        state_bytes=report.state_bytes,
        kept_words=report.kept_words,
        words_in_memory=report.words_in_memory,
        bytes_in_memory=report.bytes_in_memory,
        state_memory=report.state_memory,
        top=report.top,
        cpu_seconds=slot.cpu_seconds,
        restore_seconds=report.restore_seconds,
        heartbeat_seconds=slot.heartbeat(now),
        silent=slot.silent(now),
        last_commit_seconds=slot.since_commit(now),
        records_per_second=rate,
        aborts_in_row=report.aborts_in_row,
        ended=list(slot.ended_transactions),
    )
