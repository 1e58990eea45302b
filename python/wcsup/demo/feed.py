"""Writes the text to Kafka: a little at a time while the acts are played, and the rest at full speed."""

import io
import subprocess
import threading
from contextlib import suppress
from itertools import islice
from typing import Self

from wcsup.demo.text import DemoText

_TURN_SECONDS = 0.1
_SHARE = 900
"""Each turn writes one part in so many of what is left: so the text lasts as long as the acts do, on every machine."""


def portion(left: int) -> int:
    """Return how many lines the next turn writes of those that are left."""
    return -(-left // _SHARE)


class TextFeed:
    """Writes to the standard input of `wcsup gen -`, in a thread, from the beginning of the `with` block on."""

    def __init__(self, gen: subprocess.Popen[bytes], text: DemoText) -> None:
        self.left = text.lines
        """How many lines are not written yet."""
        self._gen, self._text = gen, text
        self._hurry, self._over = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="text", daemon=True)

    def __enter__(self) -> Self:
        """Begin to write."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End: what is not written yet stays so."""
        self._over = True
        self._hurry.set()
        if self._thread.is_alive():
            self._gen.kill()  # it may not be reading, and hold up a write
        self._thread.join()

    def hurry(self) -> None:
        """Write the rest as fast as it is taken."""
        self._hurry.set()

    def _work(self) -> None:
        pipe, stream = self._gen.stdin, io.BytesIO(self._text.data)
        assert pipe is not None  # noqa: S101 - it was started so
        with suppress(BrokenPipeError), pipe:
            while not self._hurry.wait(_TURN_SECONDS):
                lines = portion(self.left)
                pipe.write(b"".join(islice(stream, lines)))
                pipe.flush()
                self.left -= lines
            if not self._over:
                pipe.write(stream.read())
                self.left = 0
