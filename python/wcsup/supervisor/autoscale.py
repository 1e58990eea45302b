"""How many workers of a role there should be, within a range: a pure function of lag, rate and time.

The measure is the backlog in seconds: how long the lag takes at the present rate. It must be above (or below) its
bound without a break for a while, and after a change there is a pause before the next one. The two bounds lie far
apart. So load that goes up and down within seconds changes nothing.

Lag and rate are those of the partitions that workers of this host own; other hosts scale by their own partitions. A
partition without an owner counts as soon as it has one. More workers than owned partitions would idle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import psutil

from wcsup.supervisor.options import Workers
from wcsup.supervisor.snapshot import WorkerView


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one role."""

    at: float
    workers: int
    """How many workers there are now."""
    lag: int
    """The lag of the partitions that they own, in records."""
    partitions: int
    """How many partitions they own."""
    rate: float
    """Records a second that all workers of the role commit."""
    cpu_percent: float
    """The mean over the role's workers, in percent of one processor."""
    host_percent: float
    """The load of all of the host's processors together."""


@dataclass(frozen=True, slots=True)
class LoadHistory:
    """Since when the load has been high or low, and when the number of workers last changed."""

    high_since: float | None = None
    low_since: float | None = None
    changed_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Scaling:
    """The bounds of scaling."""

    high_backlog: float = 10.0
    low_backlog: float = 1.0
    low_cpu: float = 60.0
    """A worker may go if the remaining ones would be busy for less than this percentage."""
    full_host: float = 90.0
    """Above this the host has no processor time for another worker."""
    high_for: float = 10.0
    low_for: float = 60.0
    pause: float = 20.0

    def decide(self, load: Load, history: LoadHistory, limits: Workers) -> tuple[LoadHistory, int, str]:
        """Return the new history, how many workers there should be, and the reason if that is a change."""
        backlog = load.lag / load.rate if load.rate > 0 else (float("inf") if load.lag else 0.0)
        high = backlog > self.high_backlog and load.host_percent < self.full_host
        stay_busy = load.cpu_percent * load.workers / max(1, load.workers - 1)
        low = backlog < self.low_backlog and stay_busy < self.low_cpu
        history = replace(
            history,
            high_since=(load.at if history.high_since is None else history.high_since) if high else None,
            low_since=(load.at if history.low_since is None else history.low_since) if low else None,
        )
        wanted = min(max(load.workers, limits.low), limits.high)
        why = f"there are to be {limits.low} to {limits.high}"
        if load.at - history.changed_at >= self.pause and wanted == load.workers:
            if history.high_since is not None and load.at - history.high_since >= self.high_for:
                wanted = max(load.workers, min(load.workers + 1, limits.high, load.partitions))
                waits = "and nothing is committed" if load.rate <= 0 else f"or {backlog:.0f} s of work"
                why = f"{load.lag} records wait, {waits}, for {load.at - history.high_since:.0f} s"
            elif history.low_since is not None and load.at - history.low_since >= self.low_for:
                wanted = max(load.workers - 1, limits.low)
                why = f"workers are busy for {load.cpu_percent:.0f} %, for {load.at - history.low_since:.0f} s"
        if wanted == load.workers:
            return history, wanted, ""
        return LoadHistory(changed_at=load.at), wanted, why


class Autoscaler:
    """Makes a role's `Load` from the pool's figures and the lag, and keeps its history."""

    def __init__(self, limits: Workers, scaling: Scaling) -> None:
        self._limits, self._scaling = limits, scaling
        self._history = LoadHistory()
        self._before: tuple[float, int] | None = None

    def look(
        self, at: float, workers: Sequence[WorkerView], records: int, lag: Mapping[int, int] | None
    ) -> tuple[int, str] | None:
        """Return how many workers there should be and why, if that is a change.

        `records` is how many records the role has committed so far. `lag` is by partition; none where it is not known.
        """
        before, self._before = self._before, (at, records)
        if lag is None or before is None or at <= before[0] or not all(worker.ready for worker in workers):
            return None  # during a rebalance, lag and rate say nothing
        busy = [worker.cpu_percent for worker in workers if worker.cpu_percent is not None]
        owned = {partition for worker in workers for partition in worker.partitions}
        load = Load(
            at=at,
            workers=len(workers),
            lag=sum(lag.get(partition, 0) for partition in owned),
            partitions=len(owned),
            rate=(records - before[1]) / (at - before[0]),
            cpu_percent=sum(busy) / max(1, len(busy)),
            host_percent=psutil.cpu_percent(),
        )
        self._history, wanted, why = self._scaling.decide(load, self._history, self._limits)
        return (wanted, why) if wanted != load.workers else None
