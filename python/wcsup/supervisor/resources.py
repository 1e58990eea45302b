"""The host's resources: what processes use, and how many workers fit."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_WORKER_BYTES = 300 << 20
"""The memory that `automatic` allows for each worker."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The resources that one process uses now."""

    cpu_percent: float
    """In percent of one processor, since the last measurement."""
    rss_bytes: int
    threads: int
    open_files: int
    cpu_seconds: float = 0.0
    """Processor time since the process began."""


class ProcessWatch:
    """Measures one process repeatedly."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._process.cpu_percent()  # a percentage is between two calls; this is the first call

    @classmethod
    def of(cls, pid: int) -> "ProcessWatch | None":
        """Return a watch for a process, or none where it is gone already."""
        try:
            return cls(pid)
        except psutil.Error:
            return None

    def look(self) -> Usage | None:
        """Return the resources that the process uses; none where it is gone."""
        try:
            with self._process.oneshot():
                cpu = self._process.cpu_times()
                return Usage(
                    self._process.cpu_percent(),
                    self._process.memory_info().rss,
                    self._process.num_threads(),
                    self._process.num_fds(),
                    cpu.user + cpu.system,
                )
        except psutil.Error:
            return None


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may keep busy, by its affinity and a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        return count


def memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes of memory are available to workers, on the host or in its container."""
    available = psutil.virtual_memory().available
    try:
        return min(available, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):
        return available


def automatic(partitions: int, count: int | None = None, room: int | None = None) -> tuple[int, int]:
    """Return how many mappers and reducers fit the host.

    There are two mappers for each reducer, since reducers get combined words only. Together they are at most one for
    each processor, and take at most half of the memory. A role never has more workers than partitions: they would idle.
    """
    count = processors() if count is None else count
    room = memory() if room is None else room
    total = max(2, min(count, room // 2 // _WORKER_BYTES))
    mappers = max(1, total * 2 // 3)
    return min(mappers, partitions), min(max(1, total - mappers), partitions)
