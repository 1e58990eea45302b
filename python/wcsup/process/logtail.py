"""Keeps the last log lines while a full screen has the terminal that they would be written to."""

import io
import logging
import sys
from collections import deque
from dataclasses import dataclass
from typing import Self

from wcsup.process.logs import LineHandler, TextLines

KEPT = 500
SAID_AFTERWARDS = 20
"""How many of the last warnings are written to the terminal when it is free again."""

log = logging.getLogger("wcsup.stderr")


@dataclass(frozen=True, slots=True)
class LoggedLine:
    """One line of the log."""

    level: int
    text: str


class LogTail(logging.Handler):
    """Takes the place of the logs on standard error during the `with` block, if standard error is a terminal.

    A log file is written to as before. Other text for standard error is logged as warnings meanwhile. At the end the
    last warnings and errors of the block are written to standard error, with the logs' own format.
    """

    def __init__(self, slot: str) -> None:
        super().__init__()
        self.setFormatter(TextLines(slot))
        self.lines: deque[LoggedLine] = deque(maxlen=KEPT)
        """The last ones, oldest first."""
        self._warnings: deque[logging.LogRecord] = deque(maxlen=SAID_AFTERWARDS)
        self._warned = 0
        self._held: list[LineHandler] = []
        self._stderr = sys.stderr

    def __enter__(self) -> Self:
        """Take the logs; what was logged before is written first."""
        root = logging.getLogger()
        if sys.stderr.isatty():
            self._held = [one for one in root.handlers if isinstance(one, LineHandler) and one.path is None]
            for handler in self._held:
                root.removeHandler(handler)
                handler.close()
            sys.stderr = _Stray()
        root.addHandler(self)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Let logs go to standard error again, and write the last warnings there."""
        root = logging.getLogger()
        root.removeHandler(self)
        on_terminal, sys.stderr = sys.stderr is not self._stderr, self._stderr
        if not on_terminal:
            return
        form = self._held[0].formatter if self._held else self.formatter
        if left_out := self._warned - len(self._warnings):
            print(f"… and {left_out:,} warnings before these", file=sys.stderr)
        for record in self._warnings:
            print((form or self.formatter or logging.Formatter()).format(record), file=sys.stderr)
        for handler in self._held:
            again = LineHandler()
            again.setFormatter(handler.formatter)
            root.addHandler(again)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own way: a bad call of a logger is printed, not raised
            self.handleError(record)
            return
        self.lines.extend(LoggedLine(record.levelno, line) for line in text.splitlines())
        if record.levelno >= logging.WARNING:
            self._warned += 1
            self._warnings.append(record)


class _Stray(io.TextIOBase):
    """Logs what is written to it, such as the traceback of a thread."""

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Log the lines of a text."""
        for line in text.splitlines():
            if line.strip():
                log.warning("%s", line)
        return len(text)
