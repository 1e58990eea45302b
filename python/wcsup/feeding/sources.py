"""Where lines come from: files and standard input, cut at newlines, and a request to stop reading them.

Lines are bytes between newlines and nothing else: no decoding, and a last line without a newline counts.
"""

import os
import select
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wcsup.errors import UsageError

STDIN = "-"
CHUNK_BYTES = 1 << 20
IDLE_SECONDS = 0.2


class StopRequest:
    """A request to stop that wakes a waiting or reading thread; `set` may be a signal handler."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.asked = 0
        """How often the stop was requested."""

    def set(self, *_signal: object) -> None:
        """Request the stop."""
        self.asked += 1
        os.write(self._write, b"x")

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the request; return whether the stop is requested."""
        return bool(select.select([self._read], [], [], seconds)[0])

    def readable(self, descriptor: int) -> bool | None:
        """Wait a moment for data; return whether there is any, none where the stop is requested."""
        ready = select.select([self._read, descriptor], [], [], IDLE_SECONDS)[0]
        return None if self._read in ready else bool(ready)


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that is longer than the topic takes."""

    source: str
    number: int
    length: int


class Splitter:
    """Cuts chunks of bytes into lines, holding no more of an unfinished line than `longest` bytes."""

    def __init__(self, source: str, longest: int) -> None:
        self.source = source
        self.longest = longest
        self.refused: list[Refused] = []
        self._number = 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0

    def cut(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk."""
        first, *rest = chunk.split(b"\n")
        self._begin(first)
        if not rest:
            return []
        lines: list[bytes] = []
        self._complete(lines)
        last = rest.pop()
        if len(chunk) > self.longest:
            for line in rest:
                self._begin(line)
                self._complete(lines)
        else:
            self._number += len(rest)
            lines += rest
        self._begin(last)
        return lines

    def end(self) -> list[bytes]:
        """Return the last line, if the source did not end with a newline."""
        lines: list[bytes] = []
        if self._begun_bytes:
            self._complete(lines)
        return lines

    def _begin(self, piece: bytes) -> None:
        self._begun_bytes += len(piece)
        if self._begun_bytes > self.longest:
            self._begun = []
        else:
            self._begun.append(piece)

    def _complete(self, lines: list[bytes]) -> None:
        self._number += 1
        if self._begun_bytes > self.longest:
            self.refused.append(Refused(self.source, self._number, self._begun_bytes))
        else:
            lines.append(b"".join(self._begun))
        self._begun, self._begun_bytes = [], 0


def name(path: str) -> str:
    """Return the name of a source."""
    return "<stdin>" if path == STDIN else path


def size(paths: Sequence[str]) -> int | None:
    """Return the bytes of all files together; None where one of them has no known end."""
    total = 0
    for path in paths:
        try:
            found = os.fstat(0) if path == STDIN else Path(path).stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        if not stat.S_ISREG(found.st_mode):
            return None
        total += found.st_size
    return total


def chunks(path: str, stop: StopRequest) -> Iterator[bytes]:
    """Yield a file's bytes as they come; an empty chunk while there are none yet. A request to stop ends it."""
    try:
        descriptor = 0 if path == STDIN else os.open(path, os.O_RDONLY)
        try:
            while (ready := stop.readable(descriptor)) is not None:
                if not ready:
                    yield b""
                elif chunk := os.read(descriptor, CHUNK_BYTES):
                    yield chunk
                else:
                    return
        finally:
            if descriptor:
                os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError) -> UsageError:
    return UsageError(f"{name(path)} can't be read: {error.strerror}")
