"""What happened in a run, and why: the source for `wcsup events`, the screen of a run, the page and `status --json`.

Events are kept in a file of the state directory, one JSON object a line, so that they can be read while the run goes on
and after its end. When the file is full it becomes the older one, in place of the one before.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from wcsup.process.times import utc

log = logging.getLogger(__name__)

_FULL_BYTES = 1 << 20
"""The size at which a file is full: some 8,000 events."""
SHOWN = 30
"""How many of the last events a snapshot has."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened."""

    time: str
    """When, as ISO 8601 in UTC."""
    slot: str | None
    """The slot that it happened to; none for what concerns the whole run."""
    event: str
    """What happened, in a word or two, such as `ended`."""
    reason: str
    """Why, or what came of it, such as `killed by SIGKILL`."""

    @classmethod
    def read(cls, line: str) -> Self | None:
        """Return what a line of the file says; none for a line that a crash cut off."""
        try:
            return cls(**json.loads(line))
        except (TypeError, ValueError):
            return None

    def line(self) -> str:
        """Return the event's line of the file, without its newline."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))


def paths(state: Path) -> tuple[Path, Path]:
    """Return the files of a state directory: the older one, and the one that is written."""
    return state / "events.1.jsonl", state / "events.jsonl"


class RunEvents:
    """The events of this run. Adding one never raises: a full disk loses events and stops nothing."""

    def __init__(self, state: Path, wall_clock: Callable[[], float] = time.time) -> None:
        self._older, self._path = paths(state)
        self._wall_clock = wall_clock
        self._failed = False
        self.last: deque[RunEvent] = deque(maxlen=SHOWN)
        """The newest events, oldest first."""

    def add(self, event: str, reason: str, slot: str | None = None) -> None:
        """Add an event that happened now."""
        added = RunEvent(utc(self._wall_clock()), slot, event, reason)
        self.last.append(added)
        try:
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(added.line() + "\n")
                full = file.tell() > _FULL_BYTES
            if full:
                self._path.replace(self._older)
        except OSError as error:
            if not self._failed:
                log.warning("events are not kept: %s: %s", self._path, error.strerror)
            self._failed = True


class EventsReader:
    """Reads the events of a state directory: at first all that are kept, then what was added since."""

    def __init__(self, state: Path) -> None:
        self._older, self._path = paths(state)
        self._file = _inode(self._older) or _inode(self._path)
        """The inode of the file that is read; none while there is no next one yet."""
        self._at = 0
        self._rest = ""
        """A line that was not complete yet."""

    def read(self) -> list[RunEvent]:
        """Return the next events, oldest first."""
        found: list[RunEvent] = []
        if self._file is not None and self._file == _inode(self._older):  # it is full: its rest, and then the next one
            found = self._read(self._older)
            self._file = None
        now = _inode(self._path)
        if now != self._file:
            self._file, self._at, self._rest = now, 0, ""
        return found + self._read(self._path)

    def _read(self, path: Path) -> list[RunEvent]:
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(self._at)
                *lines, self._rest = (self._rest + file.read()).split("\n")
                self._at = file.tell()
        except FileNotFoundError:
            return []
        return [event for line in lines if (event := RunEvent.read(line)) is not None]


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
