"""A supervisor in a few lines: it restarts workers by their exit status, and keeps a record of their ends."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from application import Application, WorkerProcess

from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

RESTARTED = {ExitStatus.RETRY, ExitStatus.STORE_BROKEN, ExitStatus.BROKER_UNREACHABLE, -9}
"""Ends after which the supervisor starts a worker again."""

Slot = tuple[Role, str]


class Keeper:
    """Workers that are kept running, each with its own changes to the configuration."""

    def __init__(self, application: Application, slots: Mapping[Slot, dict[str, Any]]) -> None:
        self._application = application
        self._changes = dict(slots)
        self._lock = threading.Lock()
        self.running: dict[Slot, WorkerProcess] = {slot: self._start(slot) for slot in slots}
        self.ends: list[tuple[Slot, int]] = []
        """Each end of a worker after which it was restarted."""
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

    def release(self, slot: Slot) -> WorkerProcess:
        """Return a slot's worker, and stop restarting it."""
        with self._lock:
            return self.running.pop(slot)

    def start(self, slot: Slot, *, crash: str | None = None, **changes: Any) -> WorkerProcess:
        """Start a slot and keep it running, with these changes; its first process dies at the crash point `crash`."""
        with self._lock:
            assert slot not in self.running
            self._changes[slot] = changes
            self.running[slot] = self._start(slot, crash)
            return self.running[slot]

    def aborts(self) -> int:
        """Return how many transactions all workers have aborted so far, with workers that ended."""
        return sum(sum(worker.report.counters.aborts.values()) for worker in self._application.workers)

    def _start(self, slot: Slot, crash: str | None = None) -> WorkerProcess:
        return self._application.start(*slot, crash=crash, **self._changes[slot])


@contextmanager
def tended(keeper: Keeper) -> Iterator[Keeper]:
    """Restart a keeper's workers during the `with` block; fail if one ended with a status that forbids a restart."""
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
    assert not keeper.unexpected, "\n".join(keeper.unexpected)


@contextmanager
def keeping(application: Application, *slots: Slot, **changes: Any) -> Iterator[Keeper]:
    """Keep workers running that all have the same changes, and print a summary."""
    keeper = Keeper(application, dict.fromkeys(slots, changes))
    try:
        with tended(keeper):
            yield keeper
    finally:
        print("restarted:", keeper.ends, *keeper.unexpected, sep="\n  ")
