"""Deletes counted records from `words`: the topic's retention is unlimited, so it would grow for ever."""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

log = logging.getLogger("wcsup.trim")

TRIM_SECONDS = 30.0
"""How often records are deleted; Kafka Streams does so as often (`repartition.purge.interval.ms`)."""
_LAST_SECONDS = 2.0
"""How long a draining worker waits for its last request."""


class Trim:
    """Deletes a reducer's counted input now and then, without holding up its work loop."""

    def __init__(self, admin: AdminClient, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin, self._topic, self._clock = admin, topic, clock
        self._due = clock() + TRIM_SECONDS
        self._trimmed: dict[int, int] = {}
        self._asked: dict[TopicPartition, Future[object]] = {}
        self._refused = ""

    def look(self, counted: Mapping[int, int]) -> None:
        """Have records below each partition's offset in `counted` deleted, where it is time. Never waits."""
        self._hear()
        if self._clock() >= self._due and not self._asked:
            self._due = self._clock() + TRIM_SECONDS
            self._ask(counted)

    def finish(self, counted: Mapping[int, int]) -> None:
        """Have the rest deleted, and wait a moment for the answer: a short run would delete nothing otherwise."""
        wait(self._asked.values(), _LAST_SECONDS)
        self._hear()
        self._ask(counted)
        wait(self._asked.values(), _LAST_SECONDS)
        self._hear()

    def _ask(self, counted: Mapping[int, int]) -> None:
        new = {p: offset for p, offset in counted.items() if offset > self._trimmed.get(p, 0)}
        if new:
            wanted = [TopicPartition(self._topic, p, offset) for p, offset in new.items()]
            self._asked = self._admin.delete_records(wanted)

    def _hear(self) -> None:
        """Take note of answers. A refusal is logged once, and the request repeated: the right may be given later."""
        for partition in [partition for partition, answer in self._asked.items() if answer.done()]:
            try:
                self._asked.pop(partition).result()
            except KafkaException as failed:
                error = failed.args[0]
                if error.name() != self._refused and not error.retriable():
                    self._refused = error.name()
                    log.warning(
                        "what is counted can't be deleted from %s, which grows: %s; a reducer needs the right to "
                        "DELETE it",
                        self._topic,
                        error.str(),
                    )
            else:
                self._trimmed[partition.partition] = partition.offset
