"""A worker's job, and the reports that it sends while it works: one JSON line each.

A supervised worker is `python -m wcsup.pipeline`. The first line of its standard input is a `Job`. The next
lines are what the supervisor sees of topics and groups (`wcsup.kafka.sighting`), and questions for totals. The end of
the pipe means that the supervisor is gone. Reports go down the pipe whose descriptor the job names. Logs are JSON
lines on standard error (see `wcsup.process.logs`).

The supervisor may be older than its workers: `wcsup restart all` after an upgrade starts new code in them. So what is
unknown in a line is passed over, and what is missing has its default. Only a change that the other side would
misunderstand raises `TALK`, which the job carries: a worker then refuses the job, and says that the supervisor has to
be started anew.
"""

import json
from bisect import bisect_left
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

from wcsup.config import Config
from wcsup.errors import ConfigurationError

Role = Literal["map", "reduce", "standby"]

TALK = 1
"""The version of what supervisor and worker tell each other."""


class Phase(StrEnum):
    """What the work loop is doing; the supervisor has a deadline for each."""

    STARTING = "starting"
    """Making clients, `init_transactions`."""
    JOINING = "joining"
    """Waiting for the group to assign partitions."""
    RESTORING = "restoring"
    """Opening stores; partitions that are open already are worked on meanwhile."""
    RUNNING = "running"
    COMMITTING = "committing"
    DRAINING = "draining"
    """Asked to stop: the last commit, closing stores, leaving the group."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a new process is to be: its role, the slot that it fills, the application."""

    role: Role
    slot: str
    """The slot's name within its role, such as `0`; stable over restarts."""
    config: Config
    report_fd: int | None = None
    """Open descriptor for reports; none in the foreground."""
    log_level: str = "info"
    copies: int = 0
    """Standby: how many hosts are to follow each partition that they do not own."""

    @property
    def name(self) -> str:
        """The name that users see and type, such as `map-0`."""
        return f"{self.role}-{self.slot}"

    def to_json(self) -> str:
        """Return the line that the worker reads."""
        return json.dumps(
            {
                "role": self.role,
                "slot": self.slot,
                "report_fd": self.report_fd,
                "log_level": self.log_level,
                "copies": self.copies,
                "talk": TALK,
                "config": self.config.to_json(),
            }
        )

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read what `to_json` wrote; raise `ConfigurationError` where another version of wcsup wrote it differently."""
        job = json.loads(line)
        if job.get("talk", TALK) != TALK:
            which = "an older" if job["talk"] < TALK else "a newer"
            raise ConfigurationError(
                f"the supervisor that runs is of {which} wcsup than the one that is installed now, and they do not "
                "understand each other: end the run (wcsup drain --wait) and start it again"
            )
        config = Config.from_json(job["config"])
        return cls(job["role"], job["slot"], config, job["report_fd"], job["log_level"], job.get("copies", 0))


@dataclass(frozen=True, slots=True)
class Question:
    """A supervisor's question for totals of words, in one line; the reducer that owns their partitions answers."""

    number: int
    """Tells which question an answer is for."""
    words: list[tuple[int, str]]
    """The partition of each word, and the word as Latin-1 text, so that JSON can hold any bytes."""

    MARK: ClassVar[bytes] = b'{"question":'
    """How the line begins, which no sighting does."""

    def to_json(self) -> str:
        """Return the line, without its newline."""
        return json.dumps({"question": self.number, "words": self.words}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read what `to_json` wrote."""
        asked = json.loads(line)
        return cls(asked["question"], [(partition, word) for partition, word in asked["words"]])


@dataclass(frozen=True, slots=True)
class Found:
    """The committed total of a word."""

    count: int
    offset: int
    """The first offset of the word's partition of `counts` that the total does not have."""
    committed_at: float | None
    """When this process last committed a total of the partition, in seconds since 1970; none where it did not yet."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reducer's answer to a `Question`, in one line."""

    number: int
    totals: list[Found | None]
    """For each word of the question; none where the reducer does not own its partition, or is still opening it."""

    MARK: ClassVar[bytes] = b'{"reply":'
    """How the line begins, which no report does."""

    def to_json(self) -> str:
        """Return the line, without its newline."""
        totals = [one and [one.count, one.offset, one.committed_at] for one in self.totals]
        return json.dumps({"reply": self.number, "totals": totals}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        """Read what `to_json` wrote."""
        told = json.loads(line)
        return cls(told["reply"], [one and Found(*one) for one in told["totals"]])


SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds for histograms of durations."""
AGES = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0),
    *(60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0, 604_800.0),
)
"""Upper bounds for the histogram of the time from a line to its totals: from 5 ms to a week."""
SIZES = (1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0)
"""Upper bounds for histograms of batch sizes."""


@dataclass(slots=True)
class Histogram:
    """Observations counted by size, the way Prometheus does."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    """For each bound, the observations up to it and above the bound before; last, those above all bounds."""
    sum: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float, times: int = 1) -> None:
        """Count an observation that was made so many `times`."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """Read what `asdict` made, and JSON of its tuple."""
        return cls(tuple(values["bounds"]), values["counts"], values["sum"])

    def quantile(self, share: float) -> float | None:
        """Return the value that this share of the observations does not exceed; none without observations.

        Values are taken to be spread evenly between two bounds, as Prometheus' `histogram_quantile` does. Beyond all
        bounds, the highest bound is returned.
        """
        left = share * sum(self.counts)
        for below, bound, count in zip((0.0, *self.bounds), self.bounds, self.counts, strict=False):
            if count and left <= count:
                return below + (bound - below) * left / count
            left -= count
        return self.bounds[-1] if any(self.counts) else None

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        counts = [now - before for now, before in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds, counts, self.sum - earlier.sum)

    def __add__(self, other: "Histogram") -> "Histogram":
        counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.bounds, counts, self.sum + other.sum)


@dataclass(slots=True)
class Counters:
    """Committed work of one process since its start; each only rises."""

    records: int = 0
    """Input records of committed batches: lines of a mapper, `words` records of a reducer."""
    words: int = 0
    """Words in these records."""
    bytes: int = 0
    """Bytes of the records' values (mapper) or of their words (reducer)."""
    written: int = 0
    """Records written to `words` or `counts`."""
    null_lines: int = 0
    dead_letters: int = 0
    commits: int = 0
    commit_seconds: float = 0.0
    """Time spent inside commits; divided by `commits` it is the mean."""
    restored: int = 0
    """Records of `counts` read while opening stores."""
    aborts: dict[str, int] = field(default_factory=dict)
    """Aborted transactions, whose batches were read again, by the name of the error."""
    batch_records: Histogram = field(default_factory=lambda: Histogram(SIZES))
    """Input records of each commit."""
    step_seconds: dict[str, Histogram] = field(default_factory=dict)
    """Time of each step of the commits, by the step's name (`produce`, `offsets`, `commit`, `store`)."""
    latency: Histogram = field(default_factory=lambda: Histogram(AGES))
    """Reducer: for each word counted, the seconds from its line to the end of the commit of its total.

    The line's time is that in Kafka: when it was made, or appended if the topic says so. Each word counts with the time
    of the oldest line of the mapper's commit that it came in, so that the latency is an upper bound, by a commit
    interval at most in a steady stream. The clocks of who writes the lines and of this host are assumed to agree.
    Words of records that tell no such time, which an older wcsup wrote, are left out. Words that another reducer was to
    count (after a rebalance) are counted here and there.
    """

    def __add__(self, other: "Counters") -> "Counters":
        total = Counters()
        for name in self.__slots__:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(total, name, _merge(mine, theirs) if isinstance(mine, dict) else mine + theirs)
        return total

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """Read what `asdict` made."""
        known = _known(cls, values)
        if "batch_records" in known:
            known["batch_records"] = Histogram.from_mapping(known["batch_records"])
        if "latency" in known:
            known["latency"] = Histogram.from_mapping(known["latency"])
        steps = known.get("step_seconds", {})
        known["step_seconds"] = {step: Histogram.from_mapping(one) for step, one in steps.items()}
        return cls(**known)


def _merge(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    both = {key: mine[key] + theirs[key] for key in mine.keys() & theirs.keys()}
    return {**mine, **theirs, **both}


@dataclass(frozen=True, slots=True)
class Ended:
    """A transaction that ended."""

    at: float
    """When, in seconds since 1970."""
    seconds: float
    """How long its commit took, or its attempt."""
    records: int
    """Input records that it covered; 0 where it only moved offsets or published top words."""
    error: str | None = None
    """The name of the error that it was aborted for; none where it was committed."""


@dataclass(slots=True)
class Report:
    """One heartbeat of a work loop, sent twice a second by the loop itself."""

    phase: Phase = Phase.STARTING
    beat: int = 0
    """Rises with every turn of the loop: a worker whose beat stands still is stuck."""
    ready: bool = False
    """Joined, assigned (maybe nothing), every store open, and nothing refused."""
    partitions: list[int] = field(default_factory=list)
    restoring: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Stores being opened: offsets read and offsets to read, by partition."""
    restore_seconds: float | None = None
    """How long opening these stores will take at the pace so far; none where that can't be told."""
    counters: Counters = field(default_factory=Counters)
    aborts_in_row: dict[str, int] = field(default_factory=dict)
    """Transactions aborted since the last commit, by the name of the error."""
    ended: list[Ended] = field(default_factory=list)
    """The transactions that ended since the report before, oldest first."""
    distinct: int = 0
    """Reducer: distinct words in its open stores."""
    total: int = 0
    """Reducer: sum of all totals in its open stores."""
    top: list[tuple[str, int]] = field(default_factory=list)
    """Reducer: most frequent words of its partitions with their totals, highest first."""
    top_cut: bool = True
    """Reducer: whether there may be more words than `top` has."""
    unlisted: int | None = None
    """Reducer: how many words are too long for `top`; none where that is not known."""
    state_bytes: int = 0
    """Reducer: size of its open stores on disk."""
    kept_words: int = 0
    """Reducer: words whose new totals are yet to be written to its stores."""
    words_in_memory: int = 0
    """Reducer: words whose totals are resident in memory, so that they need no look-up."""
    bytes_in_memory: int = 0
    """Reducer: memory of the resident totals."""
    state_memory: int = 0
    """Reducer: the most memory that resident totals may take, with the partitions that it has now."""

    def to_json(self) -> str:
        """Return the report's line, without its newline."""
        return json.dumps(self, default=_fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        values = _known(cls, json.loads(line))
        values["phase"] = Phase(values["phase"])
        values["counters"] = Counters.from_mapping(values["counters"])
        values["restoring"] = {int(p): (done, todo) for p, (done, todo) in values["restoring"].items()}
        values["top"] = [(word, count) for word, count in values["top"]]
        values["ended"] = [Ended(*one) for one in values.get("ended", [])]
        return cls(**values)


def _known(kind: "type[Report] | type[Counters]", values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of fields that this version has."""
    return {name: value for name, value in values.items() if name in kind.__slots__}


def _fields(value: Report | Counters | Histogram | Ended) -> dict[str, Any] | tuple[Any, ...]:
    """Return the fields of one of the classes here. `asdict` would make deep copies, twice a second."""
    if isinstance(value, Ended):
        return value.at, value.seconds, value.records, value.error
    return {name: getattr(value, name) for name in value.__slots__}
