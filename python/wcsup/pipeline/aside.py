"""A call that takes no bound, made in a thread of its own, so that the work loop says meanwhile that it is alive.

`send_offsets_to_transaction` waits for the group's coordinator however long that takes. All other calls of a work loop
take a second at most, and are made again.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

_SLICE_SECONDS = 0.5
"""How long the caller waits before it says that it is alive."""

_Call = Callable[[], object]


class Aside:
    """Makes one call at a time; costs it 30 µs."""

    def __init__(self) -> None:
        self._thread: _Thread | None = None

    def make(self, call: _Call, alive: Callable[[float], None]) -> None:
        """Return when the call has returned; raise what it raises.

        `alive` is called meanwhile with the seconds since it was called last. Where it raises, the call is left to
        itself, and what comes of it is heard by nobody.
        """
        thread, self._thread = self._thread or _Thread(), None
        thread.calls.put(call)
        try:
            error = thread.wait(alive)
        except BaseException:
            thread.calls.put(None)
            raise
        self._thread = thread
        if error is not None:
            raise error


class _Thread:
    """Makes the calls that it is given, and says how each ended; none ends it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ends: SimpleQueue[Exception | None] = SimpleQueue()
        threading.Thread(target=self._work, name="aside", daemon=True).start()

    def wait(self, alive: Callable[[float], None]) -> Exception | None:
        """Return how a call ended."""
        while True:
            try:
                return self._ends.get(timeout=_SLICE_SECONDS)
            except Empty:
                alive(_SLICE_SECONDS)

    def _work(self) -> None:
        while (call := self.calls.get()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001 - the caller raises it
                self._ends.put(error)
            else:
                self._ends.put(None)
            del call
