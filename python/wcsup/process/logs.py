"""Logs: one line for each event, as text or as JSON, in the same form from every process.

A process calls `configure` once and then uses plain `logging`. A thread writes the lines: if a terminal is paused or
nobody reads a pipe, lines are dropped and counted, and the process does not wait.
"""

import atexit
import json
import logging
import queue
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, TextIO

from wcsup.process.printable import printable_lines
from wcsup.process.terminal import colored

LogFormat = Literal["text", "json"]

_BACKLOG = 10_000
_COLORS = {logging.DEBUG: 2, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}
"""The parameter of the terminal's escape code for a level: dim, yellow, red."""
_phase = ""


class _JsonLines(logging.Formatter):
    """Format a record as one JSON object: time, level, slot, pid, phase, event and traceback."""

    def __init__(self, slot: str) -> None:
        super().__init__()
        self.slot = slot

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "slot": getattr(record, "slot", self.slot),
            "pid": getattr(record, "pid", record.process),
        }
        if phase := getattr(record, "phase", _phase):
            event["phase"] = phase
        event["event"] = record.getMessage()
        if traceback := _traceback(self, record):
            event["traceback"] = traceback
        return json.dumps(event)


class TextLines(logging.Formatter):
    """Format a record for a reader: `12:30:01 map-0[4711] committing info: event`, the level in colour if asked."""

    def __init__(self, slot: str, *, colors: bool = False) -> None:
        super().__init__()
        self.slot, self._colors = slot, colors

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        slot, pid = getattr(record, "slot", self.slot), getattr(record, "pid", record.process)
        phase = getattr(record, "phase", _phase)
        level = record.levelname.lower()
        if self._colors and record.levelno in _COLORS:
            level = f"\x1b[{_COLORS[record.levelno]}m{level}\x1b[0m"
        event, traceback = record.getMessage(), _traceback(self, record)
        said = printable_lines(f"{event}\n{traceback}" if traceback else event)
        return f"{clock} {slot}[{pid}]{' ' * bool(phase)}{phase} {level}: {said}"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info else record.exc_text


class LineHandler(logging.Handler):
    """Write records to standard error or a file, from a thread of its own with a bounded queue."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self._file: TextIO | None = _open(path) if path else None  # raises here if the file can't be opened
        self._backlog: queue.Queue[logging.LogRecord | None] = queue.Queue(_BACKLOG)
        self._dropped = 0
        self._reopen = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; if the queue is full, drop it and count it."""
        try:
            record.msg, record.args = record.getMessage(), None  # arguments may change before the thread reads them
            self._backlog.put_nowait(record)
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001 - logging's own way: a bad call of a logger is printed, not raised
            self.handleError(record)

    def reopen(self) -> None:
        """Reopen the file before the next line, after a log rotation has renamed it."""
        self._reopen.set()

    def close(self) -> None:
        """Write the queue, for a second at most, and stop."""
        try:
            self._backlog.put(None, timeout=1)
            self._thread.join(timeout=1)
        except queue.Full:
            pass
        super().close()

    def _write_all(self) -> None:
        while (record := self._backlog.get()) is not None:
            self._write(self.format(record))
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                self._write(self.format(logging.makeLogRecord(_lost(dropped))))
        if self._file:
            with suppress(OSError):
                self._file.close()

    def _write(self, line: str) -> None:
        try:
            if self.path and self._reopen.is_set():
                self._reopen.clear()
                old, self._file = self._file, _open(self.path)
                if old:
                    with suppress(OSError):
                        old.close()
            out = self._file or sys.stderr
            out.write(line + "\n")
            out.flush()
        except (OSError, ValueError):
            pass  # the disk is full or the terminal closed: there is no other place to report it


def _open(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="backslashreplace")


def _lost(lines: int) -> dict[str, object]:
    event = f"{lines} lines were lost: they came faster than they could be written"
    return {"msg": event, "levelno": logging.WARNING, "levelname": "WARNING"}


def configure(slot: str, form: LogFormat = "text", level: str = "info", file: Path | None = None) -> None:
    """Send all logs of this process, with librdkafka's, to standard error (or `file`) in the format `form`."""
    handler = LineHandler(file)
    colors = file is None and sys.stderr is not None and sys.stderr.isatty() and colored()
    handler.setFormatter(_JsonLines(slot) if form == "json" else TextLines(slot, colors=colors))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def enter(phase: str) -> None:
    """Set the phase that this process's log lines carry from now on."""
    global _phase  # noqa: PLW0603 - one work loop a process, and its phase is the process'
    _phase = phase


def reopen() -> None:
    """Reopen the log file, if there is one."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.reopen()


def flush() -> None:
    """Write the queue now: for a process that ends without Python's own shutdown (`os._exit`)."""
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, LineHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()


def relay(line: bytes, slot: str, pid: int, phase: str) -> logging.LogRecord:
    """Return the record of a child's log line. A line that is not JSON (a stack dump, a C library) is kept as it is."""
    text = line.decode("utf-8", "backslashreplace")
    fields: dict[str, object] = {"name": "wcsup.worker", "slot": slot, "pid": pid, "phase": phase}
    try:
        event = json.loads(text) if text.startswith("{") else None
        level = logging.getLevelNamesMapping()[str(event["level"]).upper()] if event else logging.WARNING
        fields |= {"msg": str(event["event"]) if event else text}
        if event:
            fields |= {"exc_text": event.get("traceback"), "phase": event.get("phase", phase)}
    except (ValueError, KeyError, TypeError):
        level = logging.WARNING
        fields |= {"msg": text}
    return logging.makeLogRecord({**fields, "levelno": level, "levelname": logging.getLevelName(level)})


atexit.register(flush)
