"""How long a worker goes on trying what the brokers refuse, and what it gives up each time.

Rights are taken away and given back under a run, and passwords are changed: so a refusal is no reason to end at once.
One that lasts is: the process ends with what is to be changed, and nobody starts it again. Aborts are ordinary, so one
that comes again and again says nothing about settings: a new process tries.
"""

import logging
import time
from collections.abc import Callable
from enum import StrEnum

from wcsup.errors import RefusedError, RetryError

log = logging.getLogger("wcsup.patience")

REFUSED_SECONDS = 30.0
"""How long something may be refused before the worker ends for it."""
ABORTED_SECONDS = 60.0
"""How long transactions may be given up for one reason, with no commit in between, before a new process tries."""


class Doing(StrEnum):
    """What a worker does that may be refused, each on its own."""

    COMMIT = "commit"
    """Making the producer, and commits."""
    OFFSETS = "offsets"
    """Reading where partitions go on."""
    RESTORE = "restore"
    """Reading `counts` into a store."""
    INPUT = "input"
    """Reading the input."""
    GROUP = "group"
    """Being a member of the group."""
    LOGIN = "login"
    """Being let in by brokers."""


class Patience:
    """What is refused now, and since when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: dict[Doing, tuple[float, RefusedError]] = {}
        """By what is refused: since when, and what was said last."""
        self._aborted: tuple[str, float, float] | None = None
        """Why the last transactions were given up, since when, and when the last time."""

    @property
    def waiting(self) -> bool:
        """Whether something is refused."""
        return bool(self._refused)

    def waits_for(self, doing: Doing) -> bool:
        """Return whether it is refused."""
        return doing in self._refused

    def refused(self, doing: Doing, error: RefusedError) -> None:
        """Take note of a refusal. Raises it where the same is refused for too long."""
        known = {str(said) for _, said in self._refused.values()}
        since, _ = self._refused.get(doing, (self._clock(), error))
        self._refused[doing] = since, error
        if not known:
            log.warning("trying again for %.0f s what is refused: %s", REFUSED_SECONDS, error)
        elif str(error) not in known:
            log.warning("refused, too: %s", error)
        self.look()

    def look(self) -> None:
        """Raise what is refused for too long, though nobody may have said so again."""
        for since, error in self._refused.values():
            if self._clock() - since > REFUSED_SECONDS:
                raise error

    def passed(self, *doings: Doing) -> None:
        """Take note of what succeeded, or is not to be done any more."""
        waited = self.waiting
        for doing in doings:
            self._refused.pop(doing, None)
        if waited and not self.waiting:
            log.info("what was refused is refused no more")

    def aborted(self, reason: str) -> None:
        """Take note that a transaction was given up. Raises `RetryError` where there is no end of it."""
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
