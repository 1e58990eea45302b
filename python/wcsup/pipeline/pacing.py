"""When a batch is committed: at once under a light load; in a backlog when it is full or old.

A commit costs about the same for one record as for thousands. Under a light load a batch is committed as soon as the
pause since the last commit is over. In a backlog the batch grows until it is full, until the commit interval is over,
or until the input ends.
"""

import time
from collections.abc import Callable
from typing import Protocol

from wcsup.kafka.reader import POLL_BYTES

FIRST_BYTES = 64 << 10
"""About the most bytes of a worker's first batch. It is small so that the first totals are visible soon, though each of
its words may have to be looked up."""
LIGHT_RECORDS = 5_000
LIGHT_BYTES = 512 << 10
"""A batch of at most this size, when its stage's pause is over, means a light load: it is committed at once."""
DRY_SECONDS = 0.03
"""A larger batch is committed so long after its last record: in a backlog the time between two fetches is shorter."""
QUIET_SECONDS = 0.2
"""How long after the last commit there is one without new input: for offsets past control records, and top words."""


class Batch(Protocol):
    """How large a batch is. Each stage tells it of its own batch."""

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
    """Return whether a batch is as small as the batches of a light load."""
    return batch.taken <= LIGHT_RECORDS and batch.taken_bytes <= LIGHT_BYTES


class Pacing:
    """The pace of one worker."""

    def __init__(
        self, commit_interval: float, pause_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`commit_interval` is the longest time between two commits while there is input, in seconds.

        `pause_seconds` is the shortest time between the beginnings of two commits of a light load.
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
        """Return the seconds until a light batch may be committed; 0 where it may be now."""
        return max(0.0, self._light_from - self._clock())

    def read(self) -> None:
        """Take note that records came."""
        self._last_record = self._clock()

    def is_due(self, batch: Batch, *, dry: bool, idle_work: Callable[[], bool]) -> bool:
        """Return whether to commit now.

        `dry`: the last read had no records. `idle_work` tells whether something is left to commit without new records.
        """
        now = self._clock()
        since = now - self._last_commit
        if batch.taken:
            first = not self._has_counted  # so that a backlog's first totals are visible soon
            light = is_light(batch) and now >= self._light_from
            ended = now - self._last_record > DRY_SECONDS
            return first or light or ended or batch.full or since >= self._interval
        return dry and since >= QUIET_SECONDS and idle_work()

    def ended(self, began: float, *, counted: bool) -> None:
        """Take note that a commit has ended, and when it `began`; `counted`: the commit had records."""
        self._has_counted |= counted
        self._last_commit = self._clock()
        self._light_from = began + self._pause
