"""What workers use of the host, and how many of them fit it."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

_WORKER_BYTES = 300 << 20
"""What a worker stays under with the default settings."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process uses now."""

    cpu_percent: float
    """Of one processor, since the look before."""
    rss_bytes: int
    threads: int
    open_files: int
    cpu_seconds: float = 0.0
    """Processor time since the process began."""


class ProcessWatch:
    """Looks at one process, again and again."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._process.cpu_percent()  # percentages are between two looks; this is the first

    @classmethod
    def of(cls, pid: int) -> "ProcessWatch | None":
        """Return a watch for a process, or none where it is gone already."""
        try:
            return cls(pid)
        except psutil.Error:
            return None

    def look(self) -> Usage | None:
        """Return what the process uses, or none where it is gone."""
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
    """Return how many processors this process may keep busy: its affinity and a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no quota
        return count


def memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many bytes of memory are there for workers: the host's or a container's."""
    available = psutil.virtual_memory().available
    try:
        return min(available, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):
        return available


def automatic(partitions: int, count: int | None = None, room: int | None = None) -> tuple[int, int]:
    """Return how many mappers and reducers fit the host.

    Two mappers to a reducer (reducers see combined words only), together at most one a processor and half of the
    memory, and never more of a kind than partitions: those would idle.
    """
    count = processors() if count is None else count
    room = memory() if room is None else room
    total = max(2, min(count, room // 2 // _WORKER_BYTES))
    mappers = max(1, total * 2 // 3)
    return min(mappers, partitions), min(max(1, total - mappers), partitions)
