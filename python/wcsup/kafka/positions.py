"""Positions: up to which offset each partition of `lines` and `words` is counted, kept for as long as the totals are.

Kafka deletes a group's offsets when the group has been empty for `offsets.retention.minutes`, a week by default
(KIP-211). A group without offsets begins at the start of its topic, and every line would be counted a second time. So
each commit also writes its offsets to the compacted topic `positions`, in the same transaction:

| key | value |
|---|---|
| `lines-3` | how far the mappers are in partition 3 of `lines` |
| `words-3` | how far the reducers are in partition 3 of `words` |
| `application` | whose topics these are (see `wcsup.kafka.application`) |

A value is a `Position` as JSON. The metadata of the group's offset is the same text, with the offset in it. So a worker
sees whether its own application committed an offset, and reads the topic only where the group has no offset, or one
that somebody else set. Fencing still rests on the group's offsets: Kafka refuses offsets from a member of an earlier
generation.

A worker writes all of its positions to one partition of the topic, since each partition of a transaction costs a
request and a marker. So several partitions of the topic may have a position of the same key; the highest offset is the
newest.
"""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from typing import Self

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import messages, reads_on
from wcsup.kafka.topic_guard import COUNTS_LOST

log = logging.getLogger("wcsup.positions")

STAGES = ("lines", "words")
"""Plain names of the topics that have positions: the mappers' input and the reducers'."""

APPLICATION = b"application"
"""Key of the record that says whose topics these are."""

_BATCH_RECORDS = 10_000
_TURN_SECONDS = 0.02
"""How long one `step` waits for records."""
_PATIENCE_SECONDS = 20.0
"""How long the topic may be unreadable, on top of the time that a transaction may be open."""


@dataclass(frozen=True, slots=True)
class Position:
    """Up to which offset a partition is counted, and for which topics and word rule that holds."""

    words: str
    """The word rule that the application counts by."""
    input: str
    """Topic id of the input topic."""
    counts: str | None = None
    """Reducers: topic id of `counts`, which has the totals of all records below the offset."""
    offset: int | None = None
    """The first uncounted offset; none in metadata that an older wcsup wrote, before the topic `positions` existed."""

    def at(self, offset: int) -> Self:
        """Return the same position at an offset."""
        return replace(self, offset=offset)

    def text(self, offset: int) -> str:
        """Return the position at an offset as it is written: some 200 characters, with the offset last."""
        return f"{_head(self.words, self.input, self.counts)}{offset}}}"

    @classmethod
    def read(cls, text: str | bytes) -> Self | None:
        """Return the position in a text; none where wcsup did not write the text."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None


@cache
def _head(words: str, input_id: str, counts: str | None) -> str:
    fields = {"words": words, "input": input_id, "counts": counts}
    return json.dumps(fields, separators=(",", ":"))[:-1] + ',"offset":'


def key(stage: str, partition: int) -> bytes:
    """Return the key of a partition's position; `stage` is the plain name of the topic."""
    return f"{stage}-{partition}".encode()


def group(config: Config, stage: str) -> str:
    """Return the group that reads a stage's topic."""
    return config.map_group if stage == "lines" else config.reduce_group


def now(config: Config, identity: topics.Identity, stage: str) -> Position:
    """Return a stage's position for the topics and word rule of now, without an offset."""
    counts = identity.topics["counts"] if stage == "words" else None
    return Position(config.words, identity.topics[stage], counts)


class Recorded:
    """The content of the topic."""

    def __init__(self, *, complete: bool = False) -> None:
        self.complete = complete
        """Whether a partition without a position was never counted; true if there is a record of the application."""
        self._last: dict[bytes, dict[int, Position]] = {}
        """By key, the last position in each partition of the topic."""

    def __len__(self) -> int:
        return len(self._last)

    def take(self, partition: int, name: bytes | None, value: bytes | None) -> None:
        """Add a record of a partition of the topic; call it in the order of the partition."""
        if name == APPLICATION:
            self.complete = True
        elif name is not None and value is not None and (position := Position.read(value)):
            self._last.setdefault(name, {})[partition] = position

    def of(self, stage: str, partition: int, input_id: str) -> Position | None:
        """Return a partition's newest position in the input of that topic id, else in an earlier topic of its name."""
        found = self._last.get(key(stage, partition), {}).values()
        same = [position for position in found if position.input == input_id]
        return max(same or found, key=lambda position: position.offset or 0, default=None)

    def offset(self, stage: str, partition: int, input_id: str) -> int:
        """Return the first uncounted offset in the input of that topic id; 0 where nothing was counted."""
        position = self.of(stage, partition, input_id)
        return (position.offset or 0) if position is not None and position.input == input_id else 0


class Reading:
    """Reads the topic up to its end as of the beginning, a part in each call."""

    def __init__(self, config: Config, admin: AdminClient) -> None:
        """Ask for the high watermark: a group may already have the offsets of a transaction that is open here."""
        self._config = config
        wanted = [TopicPartition(config.topic("positions"), p) for p in range(config.partitions)]
        self._left = {p: end for (_, p), end in topics.ends(admin, wanted).items() if end}
        alone = self._left == {0: 1}  # the application's record: nothing was counted yet
        self._recorded = Recorded(complete=alone)
        if alone:
            self._left = {}
        self._deadline = time.monotonic() + _PATIENCE_SECONDS + config.transaction_timeout
        self._consumer = clients.assigned_consumer(config) if self._left else None
        if self._consumer is not None:
            self._consumer.assign([TopicPartition(config.topic("positions"), p, 0) for p in self._left])

    def step(self) -> Recorded | None:
        """Read for a moment; return the topic's content once all of it is read, none before.

        Raises `RetryError` where that takes longer than a transaction may be open.
        """
        if self._consumer is not None and self._left:
            for message in messages(self._consumer, _BATCH_RECORDS, _TURN_SECONDS):
                partition, error = message.partition() or 0, message.error()
                if error is None:
                    self._recorded.take(partition, message.key(), message.value())
                elif error.code() != KafkaError._PARTITION_EOF:
                    if not reads_on(error):
                        raise KafkaException(error)
                elif (message.offset() or 0) >= self._left.get(partition, 0):
                    self._left.pop(partition, None)
        if self._left and time.monotonic() > self._deadline:
            raise RetryError(
                f"partitions {sorted(self._left)} of {self._config.topic('positions')} can't be read to their end: a "
                "transaction stays open; wcsup doctor lists it"
            )
        return None if self._left else self._recorded

    def close(self) -> None:
        """Close the client."""
        if self._consumer is not None:
            self._consumer.close()


def recorded(config: Config, admin: AdminClient) -> Recorded:
    """Return the topic's content. Waits for open transactions; raises `RetryError` where one does not end."""
    with closing(Reading(config, admin)) as reading:
        while (found := reading.step()) is None:
            pass
        return found


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition resumes."""

    offset: int
    owed: bool = False
    """Whether the offset is missing in the group or in the topic `positions`."""


def is_own(found: TopicPartition) -> bool:
    """Return whether wcsup committed this group's offset, and nobody has set it since."""
    if found.offset < 0 or not found.metadata:
        return False
    then = Position.read(found.metadata)
    return then is not None and then.offset in {None, found.offset}


def judge(config: Config, stage: str, now: Position, found: TopicPartition, said: Position | None) -> Start:
    """Return where a partition resumes.

    `found` is the group's offset with its metadata, negative where the group has none. `said` is the partition's
    position in the topic `positions`; it matters only where the application did not commit the group's offset.

    Raises `ConfigurationError` where counting on would be wrong: with another word rule, with lost totals, or at an
    offset at which counting did not stop.
    """
    own = Position.read(found.metadata) if is_own(found) and found.metadata else None
    if own is None and found.offset >= 0 and said is None:
        raise ConfigurationError(_set_by_hand(config, stage, found, None))
    then = own or said
    if then is None:
        return Start(0)  # nothing of the partition was ever counted
    if then.words != now.words:
        raise ConfigurationError(
            f"this application counts {then.words} words and was started with --words {now.words}; "
            "use the same rule, another --app-id with another --topic-prefix, or start over with wcsup del"
        )
    if then.counts != now.counts:
        raise ConfigurationError(COUNTS_LOST)
    if then.input != now.input:
        log.warning("topic %s was made again: partition %d is read from its start", found.topic, found.partition)
        return Start(0)
    if own is not None:
        return Start(found.offset, owed=own.offset is None)
    offset = then.offset or 0
    if found.offset >= 0 and found.offset != offset:
        raise ConfigurationError(_set_by_hand(config, stage, found, offset))
    return Start(offset, owed=True)


def _set_by_hand(config: Config, stage: str, found: TopicPartition, said: int | None) -> str:
    counted = "nothing of it was counted" if said is None else f"it is counted up to offset {said}"
    return (
        f"the offset of group {group(config, stage)} for {found.topic}, partition {found.partition}, was set to "
        f"{found.offset} by somebody else, and {counted}: going on there would count lines twice or not at all. "
        "wcsup positions shows both; wcsup positions --accept recorded goes on where counting stopped, "
        "--accept group where the group was set to"
    )


def resolve(config: Config, admin: AdminClient, stage: str, found: list[TopicPartition]) -> Mapping[int, int]:
    """Return the first uncounted offset of each partition of a stage's topic; 0 where nothing was counted.

    `found` are the group's offsets. Where Kafka has deleted one, the recorded position is used.
    """
    topic = config.topic(stage)
    absent = [TopicPartition(topic, p.partition) for p in found if p.offset < 0]
    if not absent or not any(topics.ends(admin, absent).values()):
        return {p.partition: max(0, p.offset) for p in found}
    said = recorded(config, admin)
    input_id = topics.identity(admin, config).topics[stage] if len(said) else ""
    return {p.partition: p.offset if p.offset >= 0 else said.offset(stage, p.partition, input_id) for p in found}
