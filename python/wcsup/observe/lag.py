"""The lag of the consumer groups. A thread asks Kafka for it, so the supervisor's loop never waits."""

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Self

from confluent_kafka import KafkaException

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, WcsupError
from wcsup.kafka import clients
from wcsup.kafka.peek import Place
from wcsup.kafka.progress import of_stage
from wcsup.observe.oldest import Oldest, uncounted
from wcsup.supervisor import LagView

log = logging.getLogger("wcsup.lag")

INTERVAL_SECONDS = 0.5
PATIENCE_SECONDS = 20.0
KNOWN_SECONDS = 5.0
"""How old an answer may be; after that the lag is shown as unknown."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer of Kafka."""

    asked: float
    """When the request was made, in seconds of `time.monotonic`: the answer is no older."""
    lag: LagView
    lines: int
    """How many lines the mappers have counted since the beginning of the topic."""


class LagWatch:
    """Asks twice a second, in a thread that ends with the `with` block or the process."""

    def __init__(self, config: Config) -> None:
        self.last: Sample | None = None
        self._config = config
        self._admin = clients.admin(config)
        self._oldest = Oldest(config)
        for group in (config.map_group, config.reduce_group):
            clients.offsets_reader(config, group)  # these clients connect while the caller does something else
        self._answered = threading.Condition()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lag", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the thread."""
        self._end.set()

    def lag(self) -> LagView | None:
        """Return the latest answer; none where it is older than `KNOWN_SECONDS`."""
        fresh = self.last is not None and time.monotonic() - self.last.asked <= KNOWN_SECONDS
        return self.last.lag if self.last is not None and fresh else None

    def first(self) -> Sample:
        """Wait for an answer; raise `BrokerUnreachableError` where none comes."""
        with self._answered:
            self._answered.wait_for(lambda: self.last is not None, PATIENCE_SECONDS)
        if self.last is None:
            raise BrokerUnreachableError(f"the consumer groups' offsets could not be read for {PATIENCE_SECONDS:.0f} s")
        return self.last

    def refresh(self) -> Sample | None:
        """Wait a moment for the answer to a request that is made after this call; return the latest answer.

        Does not wait during an outage.
        """
        now = time.monotonic()
        if self.lag() is None:
            return self.last
        with self._answered:
            self._answered.wait_for(lambda: self.last is not None and self.last.asked >= now, 4 * INTERVAL_SECONDS)
        return self.last

    def _work(self) -> None:
        with closing(self._oldest):
            self._ask_on()

    def _ask_on(self) -> None:
        while not self._end.is_set():
            asked = time.monotonic()
            try:
                sample = self._sample(asked)
            except (KafkaException, WcsupError) as error:
                # Such as for a topic that was just made, or while a broker restarts: the next request follows anyway.
                log.debug("the lag is not known for now: %s", error)
            else:
                with self._answered:
                    self.last = sample
                    self._answered.notify_all()
            self._end.wait(INTERVAL_SECONDS)

    def _sample(self, asked: float) -> Sample:
        """Ask for the progress of both groups, `lines` first: if no line is left, `words` already has all records."""
        config = self._config
        progress = of_stage(self._admin, config, "lines")
        words_progress = of_stage(self._admin, config, "words")
        lines, words = ([one.lag for one in stage] for stage in (progress, words_progress))
        oldest = self._age(uncounted(progress, words_progress))
        lag = LagView(sum(lines), sum(words), dict(enumerate(lines)), dict(enumerate(words)), oldest_seconds=oldest)
        return Sample(asked, lag, sum(one.offset for one in progress))

    def _age(self, nexts: Mapping[Place, int]) -> float | None:
        """Return the age of the oldest uncounted line; none where it can't be read. The lag is known all the same."""
        try:
            return self._oldest.age(nexts)
        except KafkaException as failed:
            log.debug("the oldest line that is not counted can't be read: %s", failed)
            return None
