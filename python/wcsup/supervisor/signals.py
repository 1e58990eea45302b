"""Signals as a queue: handlers only note the name and wake the loop."""

import os
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("INT", "TERM", "HUP", "USR1", "CHLD")


class SignalQueue:
    """The names of received signals, in order, and a descriptor that is readable when there are any."""

    def __init__(self) -> None:
        self._names: deque[str] = deque()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._read_end

    def take(self) -> list[str]:
        """Return the names of the signals since the last call."""
        try:
            while os.read(self._read_end, 4096):
                pass
        except BlockingIOError:
            pass
        return [self._names.popleft() for _ in range(len(self._names))]

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals in `NAMES` during the `with` block."""
        numbers = {name: getattr(signal, f"SIG{name}") for name in NAMES}
        before = {number: signal.signal(number, self._note) for number in numbers.values()}
        # If the pipe is full, the loop is woken already.
        wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
            os.close(self._read_end)
            os.close(self._write_end)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._names.append(signal.Signals(number).name.removeprefix("SIG"))


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal. If it lost its terminal, SIGHUP means a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
