"""The dead letters of a stage, none of them larger than the topic takes."""

import logging
from concurrent.futures import Future

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from wcsup.config import Config
from wcsup.kafka import clients, failures
from wcsup.pipeline.records import LETTER_BYTES, Letter, Refused

log = logging.getLogger("wcsup.letters")

_MOST = "max.message.bytes"
_BATCH_BYTES = 61
"""Bytes of a record batch's header: `max.message.bytes` limits the whole batch."""


class Letters:
    """Makes dead letters of records that can't be processed."""

    def __init__(self, admin: AdminClient, config: Config, input_topic: str) -> None:
        """Ask for the topic's limit. Only the first letter waits for the answer."""
        self._topic, self._input = config.topic("dead-letters"), input_topic
        self._admin = admin
        self._answer = self._ask()
        self._limit: int | None = None

    def _ask(self) -> "Future[dict[str, ConfigEntry]]":
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        return self._admin.describe_configs([resource], request_timeout=clients.REACH_SECONDS)[resource]

    @property
    def limit(self) -> int:
        """The most bytes of one letter, or of all letters in one record batch."""
        if self._limit is None:
            try:
                most = int(self._answer.result()[_MOST].value or 0) - _BATCH_BYTES
            except KafkaException as failed:
                log.info("%s of %s can't be read, and is taken for 3 MiB: %s", _MOST, self._topic, failed)
                if failures.meaning(failures.of(failed)).passes:
                    self._answer = self._ask()  # for the next letter
                    return LETTER_BYTES
                most = LETTER_BYTES  # without the right to read the setting, assume the topic as wcsup makes it
            self._limit = min(most, LETTER_BYTES)
        return self._limit

    @property
    def apart(self) -> bool:
        """Whether letters are sent one by one, since the topic's limit is below the producer's batch size."""
        return self.limit < clients.BATCH_BYTES

    def of(self, refused: Refused) -> Letter:
        """Return the dead letter of a record that a batch refused: key and value as they were, the rest in headers."""
        partition, offset, key, value, why = refused
        return self.at((partition, offset), why, key, value)

    def at(self, place: tuple[int, int], error: str, key: bytes | None, value: bytes | None) -> Letter:
        """Return a dead letter of the input at `place`, or up to there. A place is a partition and an offset."""
        return Letter.at((self._input, *place), error, key, value, self.limit)
