"""The times of the first uncounted lines, looked up one by one."""

import time
from collections.abc import Mapping

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message, TopicPartition

from wcsup.config import Config
from wcsup.kafka import clients
from wcsup.kafka.reader import messages

LINE_TIME = "line-time"
"""The header of `words` records with the time of their oldest line (`rust/wire/line_time.rs`)."""

Place = tuple[str, int]
"""`lines` or `words`, and a partition."""

_WAIT_SECONDS = 0.1


class Peek:
    """Reads single records with one client, which is made when it is needed first."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._consumer: Consumer | None = None

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()

    def times(self, offsets: Mapping[Place, int], patience: float) -> dict[Place, float | None]:
        """Return the time of the line of the first record at or behind an offset, in seconds since 1970, by place.

        It is none where no record is there: what is behind the offset is control records, or of an open transaction. A
        place is missing whose record has no time, or does not arrive within `patience` seconds.
        """
        found: dict[Place, float | None] = {}
        if not offsets:
            return found
        if self._consumer is None:
            self._consumer = clients.peeking_consumer(self._config)
        names = {self._config.topic(stage): stage for stage, _ in offsets}
        wanted = [
            TopicPartition(self._config.topic(stage), partition, at) for (stage, partition), at in offsets.items()
        ]
        waiting = set(offsets)
        self._consumer.assign(wanted)
        deadline = time.monotonic() + patience
        while waiting and time.monotonic() < deadline:
            for message in messages(self._consumer, len(waiting), _WAIT_SECONDS):
                topic, error = message.topic(), message.error()
                place = names[topic or ""], message.partition() or 0
                if place not in waiting or (error is not None and error.code() != KafkaError._PARTITION_EOF):
                    continue  # a record behind the first one, or a broker that is away for a moment
                waiting.discard(place)
                self._consumer.incremental_unassign([TopicPartition(topic or "", place[1])])
                if error is not None:
                    found[place] = None
                elif (made := line_time(place[0], message)) is not None:
                    found[place] = made
        self._consumer.unassign()
        return found


def line_time(stage: str, message: Message) -> float | None:
    """Return the time of a line, or of the oldest line whose words a record of `words` has; none where not known."""
    if stage == "words":
        value = dict(message.headers() or ()).get(LINE_TIME)
        return int.from_bytes(value, "big") / 1000 if isinstance(value, bytes) and len(value) == 8 else None
    kind, milliseconds = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE or milliseconds < 0 else milliseconds / 1000
