"""The options of a run beyond the application's `Config`."""

import re
from dataclasses import dataclass, field
from typing import Self

from wcsup.errors import UsageError
from wcsup.pipeline.report import Role


def too_many(count: int, partitions: int) -> str:
    """Return why a role can't have that many workers."""
    return f"{count} workers of a kind are too many: each works on partitions of its own, and there are {partitions}"


@dataclass(frozen=True, slots=True)
class Workers:
    """The number of a role's workers, or a range to scale within."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str, automatic: int, partitions: int) -> Self:
        """Read `4`, `1..8`, `0` for none on this host, or `auto`, which means what fits the host.

        Raises `UsageError` where there might be more workers than `partitions`.
        """
        if text == "auto":
            return cls(automatic, automatic)
        match = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}))?", text)
        if not match:
            raise UsageError(f"{text!r} is not a number of workers: expected 4, a range 1..8, or auto")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high or (match[2] and not low):
            raise UsageError(f"{text!r} is not a number of workers: a range rises, from 1 at least")
        if high > partitions:
            raise UsageError(too_many(high, partitions))
        return cls(low, high)

    @property
    def scaled(self) -> bool:
        """Whether it is a range."""
        return self.low < self.high


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a supervisor beyond the application's configuration."""

    mappers: Workers = Workers(1, 1)
    reducers: Workers = Workers(1, 1)
    standby: int = 0
    """How many hosts keep a warm store of each partition that they do not own; with 0 there is no standby."""
    drain_timeout: float = 30.0
    """Seconds from asking a worker to drain to killing it; above the transaction time-out."""
    max_rss: int | None = None
    """Bytes of resident memory above which a worker is drained and replaced."""
    cpu_affinity: tuple[int, ...] = ()
    """Processors to bind workers to, one each, in turn; with none the kernel decides."""
    spares: int = 1
    """How many spare processes are kept ready, everything imported, to replace a worker that dies."""
    log_level: str = "info"
    """The log level of workers; the caller sets up the supervisor's own logging."""

    def of(self, role: Role) -> Workers:
        """Return how many workers of a role."""
        standbys = min(1, self.standby)
        return {"map": self.mappers, "reduce": self.reducers, "standby": Workers(standbys, standbys)}[role]


@dataclass(frozen=True, slots=True)
class Task:
    """A child process that is no worker, such as one that feeds a file; if it fails, the run fails."""

    name: str
    command: tuple[str, ...] = field(default=())
