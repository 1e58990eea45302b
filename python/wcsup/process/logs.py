"""Logs: one line an event, for a terminal or as JSON, the same shape from every process.

`configure` once a process, then plain `logging`. A thread does the writing: a terminal that is held, or a pipe
that nobody reads, costs lines (counted, and said) but never stops the process that logs.
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

LogFormat = Literal["text", "json"]

_BACKLOG = 10_000
_phase = ""


class _JsonLines(logging.Formatter):
    """Format a record as one JSON object: time, level, slot, pid, phase, event and what else it carries."""

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


class _TextLines(logging.Formatter):
    """Format a record for a reader: `12:30:01 map-0[4711] committing info: event`."""

    def __init__(self, slot: str) -> None:
        super().__init__()
        self.slot = slot

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        slot, pid = getattr(record, "slot", self.slot), getattr(record, "pid", record.process)
        phase = getattr(record, "phase", _phase)
        line = f"{clock} {slot}[{pid}]{' ' * bool(phase)}{phase} {record.levelname.lower()}: {record.getMessage()}"
        traceback = _traceback(self, record)
        return f"{line}\n{traceback}" if traceback else line


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    return formatter.formatException(record.exc_info) if record.exc_info else record.exc_text


class LineHandler(logging.Handler):
    """Write records to standard error or a file, from a thread of its own and a bounded backlog."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.path = path
        self._file: TextIO | None = _open(path) if path else None  # a file that can't be opened is found here
        self._backlog: queue.Queue[logging.LogRecord | None] = queue.Queue(_BACKLOG)
        self._dropped = 0
        self._reopen = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; count it where the backlog is full."""
        try:
            record.msg, record.args = record.getMessage(), None  # arguments may change before the thread reads them
            self._backlog.put_nowait(record)
        except queue.Full:
            self._dropped += 1
        except Exception:  # noqa: BLE001 - logging's own way: a bad call of a logger is printed, not raised
            self.handleError(record)

    def reopen(self) -> None:
        """Open the file anew before the next line, for a log rotation that renamed it."""
        self._reopen.set()

    def close(self) -> None:
        """Write what is queued, for a second at most, and stop."""
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
            pass  # a full disk or a closed terminal: there is no place left to complain


def _open(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="backslashreplace")


def _lost(lines: int) -> dict[str, object]:
    event = f"{lines} lines were lost: they came faster than they could be written"
    return {"msg": event, "levelno": logging.WARNING, "levelname": "WARNING"}


def configure(slot: str, form: LogFormat = "text", level: str = "info", file: Path | None = None) -> None:
    """Send every log of this process, librdkafka's too, to standard error (or `file`) as lines of `form`."""
    handler = LineHandler(file)
    handler.setFormatter(_JsonLines(slot) if form == "json" else _TextLines(slot))
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def enter(phase: str) -> None:
    """Name what this process is doing; its log lines say so from now on."""
    global _phase  # noqa: PLW0603 - one work loop a process, and its phase is the process'
    _phase = phase


def reopen() -> None:
    """Open the log file anew, where one is named."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LineHandler):
            handler.reopen()


def flush() -> None:
    """Write what is queued now: for a process that ends without Python's own shutdown (`os._exit`)."""
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler, LineHandler):
            logging.getLogger().removeHandler(handler)
            handler.close()


def relay(line: bytes, slot: str, pid: int, phase: str) -> logging.LogRecord:
    """Return the record of a child's log line; one that is not JSON (a stack dump, a C library) stays as it is."""
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
