"""When a batch is read on, and when it is committed: at once under a light load, when it is full or old in a backlog.

A commit costs about the same for one record as for thousands. Under a light load a batch is committed as soon as the
pause since the last commit is over. In a backlog it grows until it is full, until its commit interval is over, or until
its input ends.
"""

import time
from collections.abc import Callable
from typing import Protocol

from wcsup.kafka.reader import POLL_BYTES

FIRST_BYTES = 64 << 10
"""About the most bytes of a worker's first batch, whose words may all have to be looked up: it is soon to be seen."""
LIGHT_RECORDS = 5_000
LIGHT_BYTES = 512 << 10
"""A batch of no more than this, when its stage's pause is over, is of a light load: it is committed at once."""
DRY_SECONDS = 0.03
"""How long after its last record a larger batch is committed: a backlog's fetches come with less than that between."""
QUIET_SECONDS = 0.2
"""How long after the last commit work without new input is committed: an end past control records, top words."""


class Batch(Protocol):
    """How large a batch is; a stage tells it of its own."""

    @property
    def taken(self) -> int:
        """Records in the batch."""

    @property
    def taken_bytes(self) -> int:
        """Bytes of the records in the batch."""

    @property
    def full(self) -> bool:
        """Whether the batch is at its bound and should be committed."""


def is_light(batch: Batch) -> bool:
    """Return whether a batch is as small as those of a light load."""
    return batch.taken <= LIGHT_RECORDS and batch.taken_bytes <= LIGHT_BYTES


class Pacing:
    """The pace of one worker."""

    def __init__(
        self, commit_interval: float, pause_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`commit_interval` is the longest time between two commits while there is input, in seconds.

        `pause_seconds` is the shortest one between the beginnings of two commits of a light load.
        """
        self._interval, self._pause, self._clock = commit_interval, pause_seconds, clock
        self._has_counted = False
        """Whether a batch with records was committed."""
        self._last_record = self._light_from = 0.0
        self._last_commit = clock()

    @property
    def bytes_to_read(self) -> int:
        """About how many bytes are read at a time."""
        return POLL_BYTES if self._has_counted else FIRST_BYTES

    def until_light(self) -> float:
        """Return in how many seconds a light batch is due; 0 where it is."""
        return max(0.0, self._light_from - self._clock())

    def read(self) -> None:
        """Take note that records came."""
        self._last_record = self._clock()

    def is_due(self, batch: Batch, *, dry: bool, idle_work: Callable[[], bool]) -> bool:
        """Return whether to commit now.

        `dry`: there was no input at the last look. `idle_work` tells whether something is left to commit without any.
        """
        now = self._clock()
        since = now - self._last_commit
        if batch.taken:
            first = not self._has_counted  # of a backlog, too, something is soon to be seen
            light = is_light(batch) and now >= self._light_from
            ended = now - self._last_record > DRY_SECONDS
            return first or light or ended or batch.full or since >= self._interval
        return dry and since >= QUIET_SECONDS and idle_work()

    def ended(self, began: float, *, counted: bool) -> None:
        """Take note that a commit has ended, and when it began; `counted`: records were committed by it."""
        self._has_counted |= counted
        self._last_commit = self._clock()
        self._light_from = began + self._pause
