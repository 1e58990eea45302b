"""Server-sent events: the page hears of each new snapshot, once a second (HTML Living Standard, section 9.2)."""

import threading
import time
from collections.abc import Callable, Iterator

EVERY_SECONDS = 1.0
STILL_SECONDS = 2.0
"""After this long without a snapshot, clients are told so: the loop stands still then, and not the network."""
_RETRY_MILLISECONDS = 2000


class Broadcast:
    """Tells threads that wait here of new snapshots, and of the end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._number = 0
        self._ended = False

    def tell(self) -> None:
        """Say that there is a new snapshot."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Say that there will be none any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def frames(self, news: Callable[[], bytes]) -> Iterator[bytes]:
        """Yield what a client is sent: `snapshot` with its news, `still` while there are none, `end` at the end."""
        yield f"retry: {_RETRY_MILLISECONDS}\n\n".encode()
        seen, sent = 0, -EVERY_SECONDS
        while True:
            number, ended = self._wait(seen, sent)
            fresh, seen = number != seen, number
            sent = self._clock()
            if fresh:
                yield b"event: snapshot\ndata: " + news() + b"\n\n"
            if ended:
                yield b"event: end\ndata: {}\n\n"
                return
            if not fresh:
                yield b"event: still\ndata: {}\n\n"

    def _wait(self, seen: int, sent: float) -> tuple[int, bool]:
        """Wait until a second after `sent`, and for another snapshot than number `seen`; return which, and the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, max(0.0, sent + EVERY_SECONDS - self._clock()))
            self._changed.wait_for(lambda: self._ended or self._number != seen, STILL_SECONDS)
            return self._number, self._ended
