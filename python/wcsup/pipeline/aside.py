"""A call without a time-out, made in its own thread, so that the work loop goes on reporting that it is alive.

`send_offsets_to_transaction` waits for the group's coordinator without bound. All other calls of the work loop have a
time-out of a second at most, and are repeated.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

_SLICE_SECONDS = 0.5
"""How often the waiting caller reports that it is alive."""

_Call = Callable[[], object]


class Aside:
    """Makes one call at a time, at a cost of 30 µs a call."""

    def __init__(self) -> None:
        self._thread: _Thread | None = None

    def make(self, call: _Call, alive: Callable[[float], None]) -> None:
        """Return when `call` has returned; raise what it raises.

        `alive` is called meanwhile with the seconds since its last call. If `alive` raises, `call` is abandoned: its
        outcome is ignored.
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
    """Makes the calls in its queue, and passes on what each raised."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._ends: SimpleQueue[Exception | None] = SimpleQueue()
        threading.Thread(target=self._work, name="aside", daemon=True).start()

    def wait(self, alive: Callable[[float], None]) -> Exception | None:
        """Wait for a call to end; return what it raised, or none."""
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
