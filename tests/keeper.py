"""A supervisor in a few lines: it starts a worker again whose end asks for that, and keeps the record."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from application import Application, WorkerProcess

from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

RESTARTED = {ExitStatus.RETRY, ExitStatus.STORE_BROKEN, ExitStatus.BROKER_UNREACHABLE, -9}
"""Ends after which the supervisor starts a worker again."""

Slot = tuple[Role, str]


class Keeper:
    """Workers that are kept running."""

    def __init__(self, application: Application, slots: list[Slot], changes: dict[str, Any]) -> None:
        self._application = application
        self._changes = changes
        self._lock = threading.Lock()
        self.running: dict[Slot, WorkerProcess] = {slot: self._start(slot) for slot in slots}
        self.ends: list[tuple[Slot, int]] = []
        """Each end that was followed by a new start."""
        self.unexpected: list[str] = []
        self._down: set[Slot] = set()

    def tend(self) -> None:
        with self._lock:
            for slot, worker in list(self.running.items()):
                if worker.process.poll() is None or slot in self._down:
                    continue
                status = worker.wait()
                if status in RESTARTED:
                    self.ends.append((slot, status))
                    self.running[slot] = self._start(slot)
                else:
                    self._down.add(slot)
                    self.unexpected.append(f"{slot} ended with {status}: {worker.log[-3:]}")

    def kill(self, slot: Slot) -> None:
        """Kill a worker; the next round starts it again."""
        with self._lock:
            self.running[slot].kill()

    def aborts(self) -> int:
        """Return how many transactions all workers gave up so far, ended ones included."""
        return sum(sum(worker.report.counters.aborts.values()) for worker in self._application.workers)

    def _start(self, slot: Slot) -> WorkerProcess:
        return self._application.start(*slot, **self._changes)


@contextmanager
def keeping(application: Application, *slots: Slot, **changes: Any) -> Iterator[Keeper]:
    """Keep workers running; at the end no worker may have ended as one that must not be started again."""
    keeper = Keeper(application, list(slots), changes)
    over = threading.Event()

    def tend() -> None:
        while not over.wait(0.2):
            keeper.tend()

    thread = threading.Thread(target=tend, daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        over.set()
        thread.join()
        print("restarted:", keeper.ends, *keeper.unexpected, sep="\n  ")
    assert not keeper.unexpected, "\n".join(keeper.unexpected)
