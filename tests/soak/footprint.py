"""What long-lived processes hold in the beginning and in the end: memory, threads, descriptors."""

import time
from contextlib import suppress
from typing import NamedTuple

import psutil
from application import wait_for
from keeper import Keeper
from leaks import descriptors

from soak.field import VETERANS

_LOOK_SECONDS = 5.0
_LIFE = 12
"""How many looks at a process make a life long enough to tell a leak."""
_DESCRIPTORS, _THREADS, _BYTES = 40, 10, 200 << 20
"""What may come on top: connections to a broker that was started anew, a store more than in the beginning, caches."""


class Held(NamedTuple):
    """What a process holds."""

    descriptors: int
    threads: int
    resident: int

    @classmethod
    def by(cls, process: psutil.Process) -> "Held":
        return cls(process.num_fds(), process.num_threads(), process.memory_info().rss)

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.threads} threads, {self.resident / 1e6:.0f} MB"


def _least(looks: list[Held]) -> Held:
    """Return what was held all the time: a store that is being opened, or a broker that is away, costs a while."""
    return Held(*map(min, zip(*looks, strict=True)))


class Footprints:
    """Those of the test's own process, proxy included, and of the workers that nobody harmed."""

    def __init__(self) -> None:
        self._own = Held.by(psutil.Process())
        self._looks: dict[tuple[str, int], list[Held]] = {}
        self._due = 0.0

    def look(self, keeper: Keeper) -> None:
        """Look at the workers now and then; a life ends with the process."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _LOOK_SECONDS
        for slot in VETERANS:
            worker = keeper.running[slot]
            with suppress(psutil.NoSuchProcess):
                held = Held.by(psutil.Process(worker.process.pid))
                if worker.ready:
                    self._looks.setdefault((worker.job_name, worker.process.pid), []).append(held)

    def check(self) -> None:
        """Check the long lives, and this process's own when no worker is left."""
        for name, first, last in self._lives():
            assert last.descriptors <= first.descriptors + _DESCRIPTORS, (name, first, last)
            assert last.threads <= first.threads + _THREADS, (name, first, last)
            assert last.resident <= first.resident + _BYTES, (name, first, last)
        wait_for("this process holds no more than before", self._let_go, 30)

    def _lives(self) -> list[tuple[str, Held, Held]]:
        return [
            (f"{name} in {len(looks) * _LOOK_SECONDS:.0f} s", _least(looks[: _LIFE // 2]), _least(looks[-_LIFE // 2 :]))
            for (name, _), looks in self._looks.items()
            if len(looks) >= _LIFE
        ]

    def _let_go(self) -> bool:
        process = psutil.Process()
        return (
            descriptors(process) <= self._own.descriptors + _DESCRIPTORS
            and process.num_threads() <= self._own.threads + _THREADS
        )

    def __str__(self) -> str:
        lives = [*self._lives(), ("this process", self._own, Held.by(psutil.Process()))]
        return "\n".join(["held:", *(f"  {name}: {first}; then {last}" for name, first, last in lives)])
