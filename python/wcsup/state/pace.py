"""How fast a restore reads, and how long it will take."""

from collections.abc import Callable

_LOG_SECONDS = 5.0
"""How often a long restore logs its progress."""


class RestorePace:
    """How fast one restore reads, from its first partition's turn to its last one's end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = 0.0
        self._read_before = 0
        self._passed = 0
        self._told = 0.0

    def begin(self, read: int) -> None:
        """Start the clock; `read` records were read by earlier restores."""
        self._began = self._told = self._clock()
        self._read_before, self._passed = read, 0

    def passed(self, offsets: int) -> None:
        """Count the offsets of a partition that is done."""
        self._passed += offsets

    def remaining(self, done: int, todo: int) -> float | None:
        """Return the seconds left for partitions of which `done` of `todo` offsets are read."""
        passed = self._passed + done
        return (todo - done) * (self._clock() - self._began) / passed if passed else None

    def is_due(self) -> bool:
        """Return whether it is time to log the progress."""
        now = self._clock()
        due = now - self._told >= _LOG_SECONDS
        if due:
            self._told = now
        return due

    def end(self, read: int) -> tuple[int, float]:
        """Return the records that this restore read, and the seconds that it took."""
        return read - self._read_before, self._clock() - self._began
