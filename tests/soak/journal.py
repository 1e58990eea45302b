"""What was done to whom and when, and what came of it in numbers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from application import WorkerProcess


@dataclass(slots=True)
class Event:
    """One fault."""

    kind: str
    began: float
    ended: float | None = None
    hit: str = ""

    def note(self, text: str) -> None:
        """Add to what is known of it."""
        self.hit += f"; {text}" if self.hit else text

    def __str__(self) -> str:
        lasted = "goes on" if self.ended is None else f"{self.ended - self.began:4.1f} s"
        return f"{_clock(self.began)}  {lasted}  {self.kind}: {self.hit}"


class Journal:
    """All faults so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def begin(self, kind: str) -> Event:
        event = Event(kind, time.time())
        with self._lock:
            self.events.append(event)
        return event

    def drop(self, event: Event) -> None:
        """Forget a fault that found nobody to hit."""
        with self._lock:
            self.events.remove(event)

    def kinds(self) -> Counter[str]:
        """Return how often each kind was done."""
        return Counter(event.kind for event in self.events if event.ended is not None)

    def write(self, path: Path, workers: Iterable[WorkerProcess]) -> None:
        """Write the faults and all that workers logged into one file, in the order of time."""
        lines = [(event.began, str(event)) for event in self.events]
        for worker in workers:
            at = 0.0
            for line in worker.log:
                at = _time(line, at)
                lines.append((at, f"{_clock(at)}  {worker.job_name}[{worker.process.pid}] {line}"))
            status = worker.process.returncode
            lines.append((at, f"{_clock(at)}  {worker.job_name}[{worker.process.pid}] ended with {status}"))
        path.write_text("".join(f"{text}\n" for _, text in sorted(lines, key=lambda line: line[0])))


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Return figures with their names, one a line."""
    return "\n".join(f"  {name:<40}{number:>14,}" for name, number in rows)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def _time(line: str, before: float) -> float:
    """Return when a worker logged a line; what is not its own log is of the moment before."""
    try:
        return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return before
