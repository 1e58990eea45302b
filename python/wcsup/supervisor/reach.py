"""Whether Kafka is reachable: a broker answered a moment ago, or none has answered since a given time."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from wcsup.kafka.sighting import OUTAGE_SECONDS, Sighting
from wcsup.process.times import utc
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.policy import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reachability:
    """Whether a broker is reachable."""

    reachable: bool | None = None
    """None where there is no lookout, or no sighting yet."""
    since: str | None = None
    """Since when, as ISO 8601 in UTC; if no broker is reachable, the time of the last answer."""


class Reach:
    """Follows the sightings."""

    def __init__(self, clock: Clock, events: RunEvents, wall_clock: Callable[[], float] = time.time) -> None:
        self._clock, self._events, self._wall_clock = clock, events, wall_clock
        self._now = Reachability()
        self._judged_from = 0.0

    def forgive(self, seconds: float) -> None:
        """Do not judge at once: this process itself did not run for so long, so its lookout did not ask either.

        A shorter time explains no missing answer, and on a busy machine it happens again and again.
        """
        if seconds > OUTAGE_SECONDS / 2:
            self._judged_from = self._clock.monotonic() + OUTAGE_SECONDS

    def look(self, newest: Sighting | None) -> Reachability:
        """Return whether a broker is reachable now, by the newest sighting."""
        if newest is None:
            return self._now
        age = self._clock.monotonic() - newest.asked
        reachable = age <= OUTAGE_SECONDS
        if not reachable and self._clock.monotonic() < self._judged_from:
            return self._now
        if reachable is not self._now.reachable:
            if not reachable:
                log.warning("Kafka gone for %.0f s, retrying: counting rests until a broker answers", age)
                self._events.add("broker gone", f"no broker answers for {age:.0f} s: counting rests until one does")
            elif self._now.reachable is False:
                log.info("Kafka is back: a broker answers; none did since %s", self._now.since)
                self._events.add("broker back", f"a broker answers again; none did since {self._now.since}")
            self._now = Reachability(reachable, utc(self._wall_clock() - age))
        return self._now
