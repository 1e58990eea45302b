"""What long-lived processes hold at the start and at the end: memory, threads, descriptors."""

from typing import NamedTuple

import psutil
from application import wait_for
from keeper import Keeper
from leaks import descriptors

from soak.field import VETERANS

_DESCRIPTORS, _THREADS, _BYTES = 40, 10, 200 << 20
"""What may come on top: connections to a broker that was started anew, a store more than at the start, caches."""


class Held(NamedTuple):
    """What a process holds."""

    descriptors: int
    threads: int
    resident: int

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.threads} threads, {self.resident / 1e6:.0f} MB"


def _held(pid: int | None = None) -> Held:
    process = psutil.Process(pid)
    return Held(descriptors(process), process.num_threads(), process.memory_info().rss)


class Footprints:
    """Those of the test's own process, proxy included, and of the workers that nobody harmed."""

    def __init__(self) -> None:
        self._own = _held()
        self._first: dict[tuple[str, int], Held] = {}
        self._last: dict[tuple[str, int], Held] = {}

    def begin(self, keeper: Keeper) -> None:
        self._first = self._veterans(keeper)

    def end(self, keeper: Keeper) -> None:
        """Take the figures of those that are still the processes of the start."""
        last = self._veterans(keeper)
        self._last = {name: last[name] for name in self._first.keys() & last.keys()}

    def check(self) -> None:
        """Check them, and this process's own when no worker is left."""
        for name, last in self._last.items():
            first = self._first[name]
            assert last.descriptors <= first.descriptors + _DESCRIPTORS, (name, first, last)
            assert last.threads <= first.threads + _THREADS, (name, first, last)
            assert last.resident <= first.resident + _BYTES, (name, first, last)
        wait_for("this process holds no more than before", self._let_go, 30)

    def _let_go(self) -> bool:
        own = _held()
        return own.descriptors <= self._own.descriptors + _DESCRIPTORS and own.threads <= self._own.threads + _THREADS

    def __str__(self) -> str:
        lines = [f"  {name[0]} {self._first[name]}, then {last}" for name, last in self._last.items()]
        return "\n".join(["held by those that nobody harmed:", *lines, f"  this process {self._own}, then {_held()}"])

    def _veterans(self, keeper: Keeper) -> dict[tuple[str, int], Held]:
        workers = [keeper.running[slot] for slot in VETERANS]
        return {(worker.job_name, worker.process.pid): _held(worker.process.pid) for worker in workers}
