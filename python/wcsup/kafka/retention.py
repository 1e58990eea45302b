"""When Kafka may delete lines that are not counted yet.

A broker deletes whole segments, oldest first, once a segment's newest record is older than `retention.ms`
(`UnifiedLog.deleteRetentionMsBreachedSegments`). A segment's newest record is no older than any other record in it,
so a record's own time plus `retention.ms` is the soonest moment at which it can be deleted. The brokers' clocks decide;
they are assumed to agree with this machine's clock.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import messages

PATIENCE_SECONDS = 5.0
"""How long one look reads: a line that has not arrived by then is not known."""

_WAIT_SECONDS = 0.2
_LEAST_WARNING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a topic's records are kept."""

    seconds: float | None
    """How long after a record's time it is kept; none where records are not deleted by age."""
    by_size: bool
    """Whether records are also deleted by the partition's size: when can't be told."""

    @classmethod
    def of(cls, entries: Mapping[str, str | None]) -> "Retention":
        """Return the retention in a topic's configuration."""
        if "delete" not in (entries["cleanup.policy"] or "").replace(" ", "").split(","):
            return cls(None, by_size=False)
        milliseconds = int(entries["retention.ms"] or -1)
        by_size = int(entries["retention.bytes"] or -1) >= 0
        return cls(milliseconds / 1000 if milliseconds >= 0 else None, by_size)

    def deleted_at(self, made: float) -> float | None:
        """Return the soonest time at which a record of time `made` is deleted; none where never or not known."""
        return None if self.seconds is None or self.by_size else made + self.seconds

    @property
    def little(self) -> float:
        """The seconds left below which to warn: an hour or a tenth of the retention, but at most half of it."""
        whole = self.seconds or 0.0
        return min(max(_LEAST_WARNING_SECONDS, whole / 10), whole / 2)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The lines that are not counted yet, as one look found them."""

    retention: Retention
    deleted_at: dict[int, float]
    """The soonest time (seconds since 1970) at which a partition's oldest uncounted line is deleted, where known."""

    def left(self, now: float) -> dict[int, float]:
        """Return the seconds until `deleted_at`, by partition; 0 where the line may have been deleted already."""
        return {partition: max(0.0, at - now) for partition, at in self.deleted_at.items()}


class Uncounted:
    """Looks at the oldest uncounted line of each partition, with one client for all looks."""

    def __init__(self, config: Config, admin: AdminClient) -> None:
        self._config, self._admin = config, admin
        self._consumer: Consumer | None = None

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()

    def look(self, nexts: Mapping[int, int]) -> Waiting:
        """Return how soon Kafka may delete the lines at `nexts`: for each partition, the first uncounted offset.

        Nothing is known of a line that can't be read yet (its transaction is open), has no time or does not arrive
        within `PATIENCE_SECONDS`. Raises `KafkaException` where the topic's configuration can't be read.
        """
        retention = Retention.of(topics.configs(self._admin, self._config, ["lines"])["lines"])
        times = {} if retention.deleted_at(0.0) is None else self._times(nexts)
        known = {partition: retention.deleted_at(made) for partition, made in times.items()}
        return Waiting(retention, {partition: at for partition, at in known.items() if at is not None})

    def _times(self, nexts: Mapping[int, int]) -> dict[int, float]:
        """Return the time of the first line at or behind an offset, by partition, in seconds since 1970."""
        times: dict[int, float] = {}
        if not nexts:
            return times
        if self._consumer is None:
            self._consumer = clients.peeking_consumer(self._config)
        topic, waiting = self._config.topic("lines"), set(nexts)
        self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in nexts.items()])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while waiting and time.monotonic() < deadline:
            for message in messages(self._consumer, len(waiting), _WAIT_SECONDS):
                partition, error = message.partition(), message.error()
                if partition not in waiting or (error is not None and error.code() != KafkaError._PARTITION_EOF):
                    continue  # a line behind the first one, or a broker that is away for a moment
                waiting.discard(partition)
                self._consumer.incremental_unassign([TopicPartition(topic, partition)])
                if error is None and (made := _time(message)) is not None:
                    times[partition] = made
        self._consumer.unassign()
        return times


def _time(message: Message) -> float | None:
    """Return a line's creation time, or its append time if the topic says so; none where it has no time."""
    kind, milliseconds = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE or milliseconds < 0 else milliseconds / 1000
