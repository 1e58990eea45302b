"""Whether Kafka can be reached, as far as is seen: a broker answered a moment ago, or it has not since when."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from wcsup.kafka.sighting import OUTAGE_SECONDS, Sighting
from wcsup.supervisor.policy import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether a broker can be reached."""

    reachable: bool | None = None
    """None where nobody looks, or nothing was seen yet."""
    since: str | None = None
    """Since when, as ISO 8601 in UTC: for one that can't be reached, its last answer."""


class Reach:
    """Follows the answers."""

    def __init__(self, clock: Clock, wall_clock: Callable[[], float] = time.time) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._now = Reachability()

    def look(self, newest: Sighting | None) -> Reachability:
        """Return whether a broker is reached now, by the newest sighting."""
        if newest is None:
            return self._now
        age = self._clock.monotonic() - newest.asked
        reachable = age <= OUTAGE_SECONDS
        if reachable is not self._now.reachable:
            if not reachable:
                log.warning("no broker answers for %.0f s: counting rests until one does", age)
            elif self._now.reachable is False:
                log.info("a broker answers again; none did since %s", self._now.since)
            answered = datetime.fromtimestamp(self._wall_clock() - age, UTC)
            self._now = Reachability(reachable, answered.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        return self._now
