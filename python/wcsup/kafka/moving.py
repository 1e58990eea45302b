"""The topic `moving`: totals on their way into new topics, and how far they have come.

It exists while `wcsup repartition` or `wcsup restore` is at work, or was interrupted; workers are refused meanwhile.
Its last partition has the records of the move, of which the last one is valid. Each of its other partitions has the
totals that the partition of `counts` with the same number gets.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Self

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config, WordRule
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import read_partition
from wcsup.kafka.topics import MOVING

_FORMAT = 1
_KEY = b"move"


@dataclass(frozen=True, slots=True)
class CountedLines:
    """Up to where the lines are counted."""

    topic_id: str
    next: dict[int, int]
    """The first uncounted offset of each partition that has one."""

    def at(self, partition: int, topic_id: str) -> int:
        """Return the first uncounted offset of a partition in the topic of that id; 0 in another topic."""
        return self.next.get(partition, 0) if topic_id == self.topic_id else 0

    @classmethod
    def from_json(cls, values: dict[str, object]) -> Self:
        """Return what `asdict` and JSON made of it: JSON has texts for the partitions."""
        found = values["next"]
        assert isinstance(found, dict)  # noqa: S101 - as it is written
        return cls(str(values["topic_id"]), {int(partition): int(offset) for partition, offset in found.items()})


@dataclass(frozen=True, slots=True)
class Move:
    """The record of a move."""

    app_id: str
    partitions: int
    """The number of partitions that the application gets."""
    backup: str | None
    """The SHA-256 of the backup that is restored; none where topics get more partitions."""
    words: WordRule
    """The word rule that the application counts by."""
    distinct: int = 0
    """How many words the topic has, once it has all."""
    total: int = 0
    """The sum of their totals."""
    lines: CountedLines = field(default_factory=lambda: CountedLines("", {}))
    """Up to where these totals count the lines."""
    settings: Mapping[str, topics.TopicSettings] = field(default_factory=dict)
    """Settings of the topics that are made anew, by plain name."""
    copied: bool = False
    """Whether the topic has all totals: only then the old topics may be deleted, and the move can only go on."""
    format: int = _FORMAT

    @property
    def entry(self) -> tuple[int, bytes, bytes]:
        """Partition, key and value of the record."""
        return self.partitions, _KEY, json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, value: bytes) -> Self:
        """Return the content of a record; raise `ConfigurationError` where a newer wcsup wrote it."""
        values = json.loads(value)
        if values["format"] != _FORMAT:
            raise ConfigurationError(
                f"application {values['app_id']} is being moved by another version of wcsup (record format "
                f"{values['format']}, and this one reads {_FORMAT}): use that version"
            )
        return cls(**{**values, "lines": CountedLines.from_json(values["lines"])})

    @property
    def again(self) -> str:
        """The command that goes on with the move."""
        return f"wcsup repartition {self.partitions}" if self.backup is None else "wcsup restore, with the same backup,"


def read(config: Config, admin: AdminClient) -> Move | None:
    """Return the record of the move that is under way; none where there is no move, or it has written no record yet."""
    topic = config.topic(MOVING)
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    if topic not in there:
        return None
    last = len(there[topic].partitions) - 1
    end = topics.ends(admin, [TopicPartition(topic, last)])[topic, last]
    with closing(clients.assigned_consumer(config)) as consumer:
        found = [message.value() for message in read_partition(consumer, topic, last, end)]
    return Move.from_json(found[-1]) if found and found[-1] else None


def refuse(config: Config, admin: AdminClient) -> None:
    """Raise `ConfigurationError` while the application's topics are being made anew."""
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    if config.topic(MOVING) not in there:
        return
    try:
        move = read(config, admin)
    except KafkaException:  # workers need no right to read the topic
        move = None
    again = "the wcsup repartition or wcsup restore that began" if move is None else move.again
    raise ConfigurationError(
        f"application {config.app_id} is being moved to new topics, or that was interrupted (topic "
        f"{config.topic(MOVING)} exists): wait for its end, or run {again} again, which goes on; nothing is lost"
    )
