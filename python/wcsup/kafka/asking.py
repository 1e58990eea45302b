"""A question to Kafka that the work loop waits for a moment only: it goes on, and asks for the answer again."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

_WAIT_SECONDS = 0.05
"""How long one turn of the work loop waits for an answer. Most come sooner; in an outage they take 10 s."""


class Asking(Generic[Answer]):
    """One question at a time, put by a thread of its own."""

    def __init__(self, name: str) -> None:
        """`name` is the thread's."""
        self._thread = ThreadPoolExecutor(1, name)
        self._about: Hashable = None
        self._answer: Future[Answer] | None = None

    def answer(self, about: Hashable, ask: Callable[[], Answer]) -> Answer | None:
        """Return what `ask` returns, none as long as it has not; raises what it raises, and forgets the question then.

        A question that is about something else than the last one is put anew, when the last one has ended.
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
