"""A terminal for tests: a pseudo-terminal, and what a terminal would show of what is written to it."""

import codecs
import fcntl
import os
import pty
import re
import struct
import termios
import threading
from contextlib import suppress
from typing import Any, Self

_CODE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")


class Emulator:
    """Knows the codes that the screen writes, two screens, and no colours."""

    def __init__(self, columns: int, lines: int) -> None:
        self.ours, self.theirs = pty.openpty()
        self.columns, self.lines = columns, lines
        self.resize(columns, lines)
        self.first = termios.tcgetattr(self.theirs)
        self.raw = b""
        self.modes: set[str] = set()
        self._text = ""
        self._screens: dict[bool, list[list[str]]] = {False: [[]], True: []}
        self._row = self._column = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.theirs)
        self._thread.join(5)
        os.close(self.ours)

    @property
    def full_screen(self) -> bool:
        return "?1049" in self.modes

    @property
    def shown(self) -> list[str]:
        """The lines of the screen that is shown; of the ordinary one also those that have scrolled away."""
        with self._lock:
            return ["".join(line).rstrip() for line in self._screens[self.full_screen]]

    @property
    def text(self) -> str:
        return "\n".join(self.shown)

    @property
    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self.theirs)

    def resize(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def _read(self) -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(self.ours, 65536):
                with self._lock:
                    self.raw += data
                    self._feed(self._decoder.decode(data))

    def _feed(self, text: str) -> None:
        text = self._text + text
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _CODE.match(text, at)
                if found is None:
                    break
                self._act(*found.groups())
                at = found.end()
            else:
                self._put(text[at])
                at += 1
        self._text = text[at:]

    def _act(self, argument: str, code: str) -> None:
        screen = self._screens[self.full_screen]
        match code:
            case "h":
                self.modes.add(argument)
                if argument == "?1049":
                    self._screens[True] = []
            case "l":
                self.modes.discard(argument)
                if argument == "?1049":
                    self._row, self._column = len(self._screens[False]) - 1, 0
            case "H":
                row, column = (int(part) for part in argument.split(";"))
                self._row, self._column = row - 1, column - 1
            case "J":
                screen.clear()
            case "K":
                if self._row < len(screen):
                    del screen[self._row][self._column :]
            case "m":
                pass
            case _:
                raise AssertionError(f"an unexpected code: {argument}{code}")

    def _put(self, character: str) -> None:
        screen = self._screens[self.full_screen]
        if character == "\n":
            self._row += 1
        elif character == "\r":
            self._column = 0
        while len(screen) <= self._row:
            screen.append([])
        if character in "\r\n":
            return
        assert character.isprintable(), f"{character!r} reached the terminal"
        line = screen[self._row]
        line += " " * (self._column - len(line))
        line[self._column : self._column + 1] = [character]
        self._column += 1
