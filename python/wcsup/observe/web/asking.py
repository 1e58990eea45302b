"""Answers that take a while: one at a time, kept for a moment, and never many threads that wait for them."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from wcsup.errors import WcsupError

_MOST_WAITING = 8

Answer = TypeVar("Answer")
Asked = TypeVar("Asked")


class BusyError(WcsupError):
    """Too many ask for the same at once."""


class OneAtATime(Generic[Asked, Answer]):
    """Calls a function for one thread at a time; an answer is given again while it is young."""

    def __init__(
        self, find: Callable[[Asked], Answer], kept: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`kept` is how long an answer is good for, in seconds."""
        self._find, self._kept, self._clock = find, kept, clock
        self._turn = threading.Lock()
        self._room = threading.BoundedSemaphore(_MOST_WAITING)
        self._last: tuple[float, Asked, Answer] | None = None

    def __call__(self, asked: Asked) -> Answer:
        """Return the answer; raise `BusyError` where too many wait for one."""
        if not self._room.acquire(blocking=False):
            raise BusyError("too many ask at once: ask again in a moment")
        try:
            with self._turn:
                last = self._last
                if last is not None and last[1] == asked and self._clock() - last[0] < self._kept:
                    return last[2]
                answer = self._find(asked)
                self._last = self._clock(), asked, answer
                return answer
        finally:
            self._room.release()
