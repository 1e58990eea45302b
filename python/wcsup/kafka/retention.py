"""When Kafka may delete lines that are not counted yet.

A broker deletes whole segments, oldest first, once a segment's newest record is older than `retention.ms`
(`UnifiedLog.deleteRetentionMsBreachedSegments`). A segment's newest record is no older than any other record in it,
so a record's own time plus `retention.ms` is the soonest moment at which it can be deleted. The brokers' clocks decide;
they are assumed to agree with this machine's clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.kafka import topics
from wcsup.kafka.peek import Peek

PATIENCE_SECONDS = 5.0
"""How long one look reads: a line that has not arrived by then is not known."""

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
        self._peek = Peek(config)

    def close(self) -> None:
        """Close the client."""
        self._peek.close()

    def look(self, nexts: Mapping[int, int]) -> Waiting:
        """Return how soon Kafka may delete the lines at `nexts`: for each partition, the first uncounted offset.

        Nothing is known of a line that can't be read yet (its transaction is open), has no time or does not arrive
        within `PATIENCE_SECONDS`. Raises `KafkaException` where the topic's configuration can't be read.
        """
        retention = Retention.of(topics.configs(self._admin, self._config, ["lines"])["lines"])
        lines = {("lines", partition): offset for partition, offset in nexts.items()}
        times = {} if retention.deleted_at(0.0) is None else self._peek.times(lines, PATIENCE_SECONDS)
        known = {partition: retention.deleted_at(made) for (_, partition), made in times.items() if made is not None}
        return Waiting(retention, {partition: at for partition, at in known.items() if at is not None})
