"""A thread that checks now and then how soon Kafka may delete lines that are not counted yet."""

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
"""How often it warns when lines may be deleted already."""


class RetentionWatch:
    """Checks every half minute, in a thread that ends with the `with` block or the process, and warns in time."""

    def __init__(self, config: Config, seconds: float = LOOK_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.last: Waiting | None = None
        """The result of the last successful check."""
        self._config = config
        self._seconds = seconds
        self._clock = clock
        self._alarm = Alarm()
        self._admin = clients.admin(config)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the thread, and give it a moment to close its client."""
        self._end.set()
        self._thread.join(_END_SECONDS)

    def added(self, lag: LagView | None) -> LagView | None:
        """Return the lag with the seconds until uncounted lines may be deleted, where known."""
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
                    # The last result stays valid: the oldest line is the same, or a newer one, which is kept longer.
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
    """When to warn: as soon as little time is left, and again whenever half of the remaining time is over."""

    def __init__(self) -> None:
        self._again = 0.0

    def due(self, left: float | None, little: float, now: float) -> bool:
        """Tell whether to warn at the time `now`, with `left` seconds left; `left` is none where it is not known."""
        if left is None or left > little:
            self._again = 0.0
            return False
        if now < self._again:
            return False
        self._again = now + (left / 2 or _OVERDUE_SECONDS)
        return True


def warning(topic: str, left: dict[int, float]) -> str:
    """Return the warning about lines that Kafka may delete before they are counted: partition, time and what to do."""
    partition, seconds = min(left.items(), key=lambda item: item[1])
    when = f"in {span(seconds)}" if seconds else "now"
    return (
        f"{topic}, partition {partition}: Kafka may delete lines {when} that are not counted yet; add mappers, or "
        f"raise retention.ms of topic {topic}"
    )
