"""Lines that flow for as long as the soak takes: prose, with odd lines and bursts between."""

import random
import threading
from collections import Counter
from typing import Self

from application import Application, prose
from reference import recount

from wcsup import _core

Letter = tuple[bytes | None, bytes | None]
"""Key and value of a record that can't be processed."""

RATES = 1000, 3000
"""Lines a second."""
_BURST_LINES = 5000
_BURST = 0.1
"""How often so many lines come as fast as they go."""
_ODD = 0.01
_LARGE = 0.05
"""How often a second has a word of the longest kind, or one of more than that."""


class Load:
    """Lines from a seed; what was written of them is in `application.written`."""

    def __init__(self, application: Application, seed: int) -> None:
        self._application = application
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._failure: BaseException | None = None
        self.lines = 0
        self.nulls = 0
        self.rejected: Counter[Letter] = Counter()
        """Lines that can't be counted."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the flow of lines."""
        if self._failure is not None:
            raise self._failure

    def expected(self) -> Counter[bytes]:
        """Return the totals that all lines together give."""
        return self._application.written - recount(line for _, line in self.rejected.elements())

    def _feed(self) -> None:
        rng = self._rng
        try:
            while not self._over.is_set():
                burst = rng.random() < _BURST
                rate = rng.uniform(*RATES)
                lines = self._second(_BURST_LINES if burst else int(rate))
                self.lines += len(lines)
                self._application.feed(lines, rate=0 if burst else rate)
        except BaseException as error:  # noqa: BLE001 - raised by `check`
            self._failure = error

    def _second(self, number: int) -> list[bytes | None]:
        rng = self._rng
        lines: list[bytes | None] = [*prose(number, rng.getrandbits(32))]
        for at in range(number):
            if rng.random() < _ODD:
                lines[at] = self._odd()
        if rng.random() < _LARGE:
            size = _core.MAX_WORD_BYTES + rng.choice((-1, 0, 1))
            large = bytes(rng.choices(b"lL", k=8)) * (size // 8 + 1)
            lines[rng.randrange(number)] = large[:size]
            if size > _core.MAX_WORD_BYTES:
                self.rejected[None, large[:size]] += 1
        self.nulls += lines.count(None)
        return lines

    def _odd(self) -> bytes | None:
        rng = self._rng
        return rng.choice(
            [
                None,
                b"",
                bytes(range(256)),
                rng.randbytes(rng.randrange(1, 300)),
                rng.choice([b"\0", b"_", b" ", b"\xff\xfe", b"WCSUP\0\0\1", b"\r\n", b"\xc3\x89t\xc3\xa9"]),
                b"long" * rng.randrange(1, 5000),
                # Words that never were: stores grow, and outgrow their write buffers.
                b" ".join(bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz_", k=12)) for _ in range(20)),
            ]
        )
