"""How long a worker retries what the brokers refuse, and how long it goes on aborting.

Rights and passwords are changed during a run and set right again, so a worker does not end at the first refusal. If a
refusal lasts, the worker ends with a message that says what to change, and is not restarted. Aborts are ordinary and
say nothing about settings, so after a long row of aborts a new process takes over.
"""

import logging
import time
from collections.abc import Callable
from enum import StrEnum

from wcsup.errors import RefusedError, RetryError

log = logging.getLogger("wcsup.patience")

REFUSED_SECONDS = 30.0
"""How long a refusal may last before the worker ends."""
ABORTED_SECONDS = 60.0
"""How long transactions may be aborted for one reason, without a commit in between, before a new process tries."""


class Doing(StrEnum):
    """What the brokers can refuse a worker, independently of each other."""

    COMMIT = "commit"
    """Making the producer, and commits."""
    OFFSETS = "offsets"
    """Reading the offsets at which partitions resume."""
    RESTORE = "restore"
    """Reading `counts` into a store."""
    INPUT = "input"
    """Reading the input."""
    GROUP = "group"
    """Being a member of the group."""
    LOGIN = "login"
    """Being authenticated by the brokers."""


class Patience:
    """What is refused now, and since when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Doing, tuple[float, RefusedError]] = {}
        """For each refused activity: since when, and the last error."""
        self._aborted: tuple[str, float, float] | None = None
        """Why the last transactions were aborted, since when, and when the last one was."""

    @property
    def waiting(self) -> bool:
        """Whether something is refused."""
        return bool(self._refused)

    def waits_for(self, doing: Doing) -> bool:
        """Return whether `doing` is refused."""
        return doing in self._refused

    def refused(self, doing: Doing, error: RefusedError) -> None:
        """Take note of a refusal. Raises it where `doing` is refused for too long."""
        known = {str(said) for _, said in self._refused.values()}
        since, last = self._refused.get(doing, (self._clock(), error))
        self._refused[doing] = since if last.bounded == error.bounded else self._clock(), error
        if not error.bounded and str(error) not in known:
            log.warning("waiting: %s", error)
        elif not known:
            log.warning("trying again for %.0f s what is refused: %s", REFUSED_SECONDS, error)
        elif str(error) not in known:
            log.warning("refused, too: %s", error)
        self.look()

    def look(self) -> None:
        """Raise a refusal that has lasted too long, even if it was not reported again."""
        for since, error in self._refused.values():
            if error.bounded and self._clock() - since > REFUSED_SECONDS:
                raise error

    def passed(self, *doings: Doing) -> None:
        """Take note of activities that succeeded, or are not needed any more."""
        waited = self.waiting
        for doing in doings:
            self._refused.pop(doing, None)
        if waited and not self.waiting:
            log.info("what was refused is refused no more")

    def aborted(self, reason: str) -> None:
        """Take note of an aborted transaction. Raises `RetryError` after too long a row of aborts."""
        now = self._clock()
        since = now
        if self._aborted is not None:
            before, began, last = self._aborted
            if before == reason and now - last < ABORTED_SECONDS:
                since = began
        self._aborted = reason, since, now
        if now - since > ABORTED_SECONDS:
            raise RetryError(
                f"each transaction since {now - since:.0f} s was given up for {reason}: a new process tries"
            )

    def committed(self) -> None:
        """Take note of a commit."""
        self._aborted = None
        self.passed(Doing.COMMIT)
