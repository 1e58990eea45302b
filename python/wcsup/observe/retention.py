"""How long it takes until Kafka may delete lines that nobody has counted yet: looked at now and then by a thread."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Self

from confluent_kafka import KafkaException

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients
from wcsup.kafka.progress import of_stage
from wcsup.kafka.retention import Uncounted, Waiting
from wcsup.observe.figures import span
from wcsup.supervisor import LagView

log = logging.getLogger("wcsup.retention")

LOOK_SECONDS = 30.0
_END_SECONDS = 1.0
_OVERDUE_SECONDS = 600.0
"""How often it is said that lines may be gone already."""


class RetentionWatch:
    """Looks every half minute, in a thread that ends with the block or the process, and warns in time."""

    def __init__(self, config: Config, seconds: float = LOOK_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.last: Waiting | None = None
        """What the newest look that was answered found."""
        self._config = config
        self._seconds = seconds
        self._clock = clock
        self._alarm = Alarm()
        self._admin = clients.admin(config)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Look no more, and give the thread a moment to close its client."""
        self._end.set()
        self._thread.join(_END_SECONDS)

    def added(self, lag: LagView | None) -> LagView | None:
        """Return what is left to count with the seconds until lines of it may be deleted, where they are known."""
        if lag is None or self.last is None:
            return lag
        left = self.last.left(self._clock())
        waiting = {partition: seconds for partition, seconds in left.items() if lag.lines_by_partition.get(partition)}
        return replace(lag, lines_retention_by_partition=waiting)

    def _work(self) -> None:
        with closing(Uncounted(self._config, self._admin)) as uncounted:
            while True:
                try:
                    self._look(uncounted)
                except (KafkaException, WcsupError) as error:
                    # The oldest line is the same as before, or a newer one, which is kept longer.
                    log.debug("what retention takes is not known for now: %s", error)
                if self._end.wait(self._seconds):
                    return

    def _look(self, uncounted: Uncounted) -> None:
        config = self._config
        progress = of_stage(self._admin, config, "lines")
        found = uncounted.look({partition: one.offset for partition, one in enumerate(progress) if one.lag})
        self.last = found
        now = self._clock()
        left = found.left(now)
        if self._alarm.due(min(left.values(), default=None), found.retention.little, now):
            log.warning(warning(config.topic("lines"), left))


class Alarm:
    """When to warn: as soon as little is left, and again each time that half of the rest is gone."""

    def __init__(self) -> None:
        self._again = 0.0

    def due(self, left: float | None, little: float, now: float) -> bool:
        """Tell whether to warn at the time `now`, with so many seconds `left`; none where that is not known."""
        if left is None or left > little:
            self._again = 0.0
            return False
        if now < self._again:
            return False
        self._again = now + (left / 2 or _OVERDUE_SECONDS)
        return True


def warning(topic: str, left: dict[int, float]) -> str:
    """Return what is said of lines that Kafka may delete before they are counted: partition, time and what to do."""
    partition, seconds = min(left.items(), key=lambda item: item[1])
    when = f"in {span(seconds)}" if seconds else "now"
    return (
        f"{topic}, partition {partition}: Kafka may delete lines {when} that are not counted yet; add mappers, or "
        f"raise retention.ms of topic {topic}"
    )
