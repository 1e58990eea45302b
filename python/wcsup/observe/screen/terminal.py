"""The terminal: its modes, which are always restored, and the writing of what has changed on it."""

import atexit
import os
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TextIO

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from wcsup.observe.screen.chart import ASCII, UNICODE, Glyphs

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[2J"
"""The alternate screen, no cursor, no line breaks by the terminal, and what is pasted comes with marks around it."""
_LEAVE = "\x1b[0m\x1b[2J\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
"""It is cleared first: where the terminal was resized meanwhile, tmux leaves lines of it on the ordinary screen."""
_COLOURS = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Around the changes of one drawing, so that terminals that know these marks show all of them at once."""


class Terminal:
    """A terminal that is written to by descriptor `out`, and whose keys are read from `keys`, if that is a terminal.

    `enter` and `leave` may be called in any order and number. A terminal that is gone raises nothing: nobody is there
    to see it.
    """

    def __init__(self, out: int = 1, keys: int = 0) -> None:
        self.keys: int | None = keys if os.isatty(keys) else None
        self._out = out
        self._inside = False
        self._given_back = False
        """Whether it was given back for good."""
        self._before: list[Any] | None = None
        self._shown: list[Text] = []
        self._size = (0, 0)
        self._console = Console(force_terminal=True)
        self._colours = _COLOURS.get(self._console.color_system or "")
        self.glyphs: Glyphs = UNICODE if "utf" in (self._console.encoding or "").lower() else ASCII
        atexit.register(self.leave)

    @property
    def foreground(self) -> bool:
        """Whether this process may use the terminal now."""
        return in_foreground(self._out)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def enter(self) -> None:
        """Take the terminal: another screen, and keys at once and unseen. Ctrl-C and Ctrl-Z stay signals."""
        if self._inside or self._given_back:
            return
        self._inside, self._shown = True, []
        if self.keys is not None:
            with suppress(termios.error, OSError):
                self._before = termios.tcgetattr(self.keys)
                tty.setcbreak(self.keys, termios.TCSANOW)
                termios.tcflush(self.keys, termios.TCIFLUSH)  # what was typed before is no answer to what is shown
        self._write(_ENTER)

    def leave(self, *, for_good: bool = False) -> None:
        """Give the terminal back as it was; `for_good`: another thread does not take it again."""
        self._given_back = self._given_back or for_good
        if not self._inside:
            return
        self._inside = False
        self.unpause()
        self._write(_LEAVE)
        if self.keys is not None and self._before is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(self.keys, termios.TCSANOW, self._before)

    def unpause(self) -> None:
        """Let a write go on that Ctrl-S holds up: Linux does so where the terminal stops to heed that key."""
        with suppress(termios.error, OSError):
            attributes = termios.tcgetattr(self._out)
            heeding, attributes[0] = attributes[0], attributes[0] & ~termios.IXON
            termios.tcsetattr(self._out, termios.TCSANOW, attributes)
            attributes[0] = heeding
            termios.tcsetattr(self._out, termios.TCSANOW, attributes)

    def forget(self) -> None:
        """Write everything anew at the next drawing."""
        self._shown = []

    def show(self, lines: Sequence[Text]) -> None:
        """Write the lines that differ from what is shown."""
        size = self.size
        anew = size != self._size or len(self._shown) != len(lines)
        changes = ["\x1b[2J"] if anew else []
        for row, line in enumerate(lines):
            if anew or not _alike(line, self._shown[row]):
                # A full line leaves the cursor on its last character, which must not be erased.
                rest = "" if line.cell_len >= size[0] else "\x1b[K"
                changes.append(f"\x1b[{row + 1};1H\x1b[0m{self._coded(line)}{rest}")
        self._shown, self._size = list(lines), size
        if changes:
            self._write(f"{_BEGIN}{''.join(changes)}{_END}")

    def _coded(self, line: Text) -> str:
        """Return a line with the terminal's codes for its colours."""
        own = self._console.get_style(line.style)  # `render` leaves it out of a line without spans
        return "".join(self._segment(segment) for segment in Segment.apply_style(line.render(self._console), own))

    def _segment(self, segment: Segment) -> str:
        style = segment.style
        if style is None:
            return segment.text
        if self._console.no_color:
            style = style.without_color
        return style.render(segment.text, color_system=self._colours)

    def _write(self, text: str) -> None:
        data = text.encode(sys.stdout.encoding or "utf-8", "replace")
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError:  # the terminal is gone
            self.keys = None


def _alike(one: Text, other: Text) -> bool:
    return one.plain == other.plain and one.style == other.style and one.spans == other.spans


def usable() -> bool:
    """Tell whether standard output is a terminal that a full screen can be shown on, and is this process's to use."""
    out: TextIO | None = sys.stdout
    if out is None or not out.isatty() or os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return False
    return in_foreground(out.fileno())


def in_foreground(terminal: int) -> bool:
    """Tell whether this process may use a terminal: a shell has not put it into the background."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # it is not this session's terminal, so nobody takes it away
        return True


def suspend() -> None:
    """Stop this process, as Ctrl-Z does, until it is continued."""
    os.kill(os.getpid(), signal.SIGSTOP)
