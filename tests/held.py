"""How long transactions hold readers of `counts` and `words` back while something breaks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from application import Application
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from wcsup.kafka import clients

_ASK_SECONDS = 0.2
_ANSWER_SECONDS = 2.0

Place = tuple[str, int]


class Held(threading.Thread):
    """Asks all the time where readers may read to, and where the records end.

    A partition is held back while its last stable offset stands still before its end: a transaction is open there. The
    time counts only while the partition has a leader that answers: nobody can read a partition without one. And the
    time counts only while transactions have coordinators: nobody can end a transaction without its coordinator, and
    Kafka takes its time to name another one after the death of a broker.
    """

    def __init__(self, application: Application, coordinated: Callable[[], bool] = lambda: True) -> None:
        """`coordinated` tells whether the coordinators of the application's transactions are there."""
        super().__init__(daemon=True)
        self._coordinated = coordinated
        config = application.config
        self._places = [
            TopicPartition(config.topic(name), p) for name in ("words", "counts") for p in range(config.partitions)
        ]
        self._admin = clients.admin(config)
        self._since: dict[Place, tuple[int, float]] = {}
        """For each partition that is held back: its last stable offset, and since when it is that."""
        self._over = threading.Event()
        self._counts = True
        self.longest = 0.0
        """Seconds of the longest time that a partition was held back."""
        self.excused = 0.0
        """Seconds of all times in which a partition was held back and a transaction had no coordinator."""
        self.looks = 0
        """How often the partitions were looked at."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Do not count the time of the `with` block: without a majority of brokers nobody can end a transaction."""
        self._counts = False
        try:
            yield
        finally:
            self._since = {}
            self._counts = True

    def run(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(_ASK_SECONDS):
            stable, ends = dict(self._told(stable=True)), dict(self._told(stable=False))
            held = {place: offset for place, offset in stable.items() if offset < ends.get(place, -1)}
            excused = bool(held) and not self._coordinated()
            before_this, looked = looked, time.monotonic()
            self.excused += looked - before_this if excused else 0.0
            if not self._counts:
                continue
            self.looks += bool(stable and ends)
            now = looked - self.excused
            before, self._since = self._since, {}
            for place, offset in held.items():
                last, since = before.get(place, (offset, now))
                self._since[place] = offset, since if last == offset else now
                self.longest = max(self.longest, now - self._since[place][1])

    def _told(self, *, stable: bool) -> Iterator[tuple[Place, int]]:
        """Yield the offsets that the partitions' leaders tell."""
        isolation = IsolationLevel.READ_COMMITTED if stable else IsolationLevel.READ_UNCOMMITTED
        wanted = {place: OffsetSpec.latest() for place in self._places}
        asked = self._admin.list_offsets(wanted, isolation_level=isolation, request_timeout=_ANSWER_SECONDS)
        for place, answer in asked.items():
            try:
                yield (place.topic, place.partition), answer.result().offset
            except KafkaException:
                continue  # it has no leader now
