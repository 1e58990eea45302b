"""A request to Kafka for which the work loop waits only a moment in each turn, until the answer is there."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_WAIT_SECONDS = 0.05
"""How long one turn of the work loop waits for an answer. Most answers come sooner; in an outage they take 10 s."""


class Asking(Generic[Answer]):
    """Makes one request at a time, in a thread of its own."""

    def __init__(self, name: str) -> None:
        """`name` is the name of the thread."""
        self._thread = ThreadPoolExecutor(1, name)
        self._about: Hashable = None
        self._answer: Future[Answer] | None = None

    def answer(self, about: Hashable, ask: Callable[[], Answer]) -> Answer | None:
        """Return what `ask` returns, or none until it has returned; raise what `ask` raises.

        `about` says what the request is for. A request with another `about` than the last one starts when the last one
        has ended; its answer is dropped.
        """
        if self._answer is not None and self._about != about:
            if not self._answer.done():
                return None
            self._answer = None
        if self._answer is None:
            self._about, self._answer = about, self._thread.submit(ask)
        wait([self._answer], _WAIT_SECONDS)
        if not self._answer.done():
            return None
        answered, self._answer = self._answer, None
        return answered.result()
