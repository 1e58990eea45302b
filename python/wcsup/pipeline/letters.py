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
"""What Kafka writes before the records of a batch, whose size the topic's limit is for."""


class Letters:
    """Makes dead letters of what can't be processed."""

    def __init__(self, admin: AdminClient, config: Config, input_topic: str) -> None:
        """Ask what the topic takes; the answer is waited for where there is a first letter."""
        self._topic, self._input = config.topic("dead-letters"), input_topic
        self._admin = admin
        self._answer = self._ask()
        self._limit: int | None = None

    def _ask(self) -> "Future[dict[str, ConfigEntry]]":
        resource = ConfigResource(ResourceType.TOPIC, self._topic)
        return self._admin.describe_configs([resource], request_timeout=clients.REACH_SECONDS)[resource]

    @property
    def limit(self) -> int:
        """The most that one letter, or several of one batch, may take."""
        if self._limit is None:
            try:
                most = int(self._answer.result()[_MOST].value or 0) - _BATCH_BYTES
            except KafkaException as failed:
                log.info("%s of %s can't be read, and is taken for 3 MiB: %s", _MOST, self._topic, failed)
                if failures.meaning(failures.of(failed)).passes:
                    self._answer = self._ask()  # for the next one
                    return LETTER_BYTES
                most = LETTER_BYTES  # whoever may not read it goes by what wcsup makes
            self._limit = min(most, LETTER_BYTES)
        return self._limit

    @property
    def apart(self) -> bool:
        """Whether the topic takes no batch as large as the producer may make of several."""
        return self.limit < clients.BATCH_BYTES

    def of(self, refused: Refused) -> Letter:
        """Return the dead letter of a record that a batch refused: as it was, headers say what and where."""
        partition, offset, key, value, why = refused
        return self.at((partition, offset), why, key, value)

    def at(self, place: tuple[int, int], error: str, key: bytes | None, value: bytes | None) -> Letter:
        """Return a dead letter of what stands at a place of the input, or came up to there: partition and offset."""
        return Letter.at((self._input, *place), error, key, value, self.limit)
