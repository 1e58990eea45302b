"""Which application the topics belong to, and its number of partitions: recorded where every host sees it.

The record has the key `application` in partition 0 of `positions`, and is written before anything is counted. The first
such record in the topic is the valid one: if two applications claim the topics at the same moment, both see which was
first.

The record also says that the topic `positions` is complete: a partition without a position there was never counted. An
application that counted before there was such a record first takes its positions from the groups' offsets. If Kafka has
deleted these offsets, nobody knows where counting stopped, and the application is refused.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Self

from confluent_kafka import KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients, failures, groups, moving, positions, refusals, rights, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.positions import APPLICATION
from wcsup.kafka.reader import read_partition
from wcsup.kafka.refusals import About
from wcsup.kafka.rights import Right

log = logging.getLogger("wcsup.application")

_FORMAT = 1
_PATIENCE_SECONDS = 30.0
_SAMPLE_RECORDS = 100
"""How many words of each partition of `counts` are checked: a word in a wrong partition was counted with another number
of partitions."""
_OLD_TOTAL_BYTES = 4
"""Length of the totals of another word count program, whose topics wcsup takes over."""


@dataclass(frozen=True, slots=True)
class Application:
    """The content of the record."""

    app_id: str
    partitions: int
    format: int = _FORMAT

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the record's content for a configuration."""
        return cls(config.app_id, config.partitions)

    @classmethod
    def read(cls, value: bytes) -> Self:
        """Return the content of a record; raise `ConfigurationError` where a newer wcsup wrote it."""
        values = json.loads(value)
        if values["format"] != _FORMAT:
            raise ConfigurationError(
                f"the topics belong to application {values['app_id']} of another version of wcsup (record format "
                f"{values['format']}, and this one reads {_FORMAT}): use that version"
            )
        return cls(**values)

    @property
    def entry(self) -> tuple[bytes, bytes]:
        """Key and value of the record."""
        return APPLICATION, json.dumps(asdict(self), separators=(",", ":")).encode()

    def refuse_others(self, config: Config) -> None:
        """Raise `ConfigurationError` where the topics do not belong to the application of a configuration."""
        if self.app_id != config.app_id:
            prefix = f" with prefix {config.topic_prefix!r}" if config.topic_prefix else ""
            raise ConfigurationError(
                f"the topics{prefix} belong to application {self.app_id}, and this is {config.app_id}: both would "
                f"count the same lines into the same totals. Use --app-id {self.app_id}, or another --topic-prefix"
            )

    def refuse_changes(self, config: Config) -> None:
        """Raise `ConfigurationError` where a configuration has another application, or other partitions."""
        self.refuse_others(config)
        if self.partitions != config.partitions:
            more = config.partitions > self.partitions
            change = f"wcsup repartition {config.partitions}" if more else "wcsup backup, wcsup del and wcsup restore"
            raise ConfigurationError(
                f"application {self.app_id} counts in {self.partitions} partitions and was started with --partitions "
                f"{config.partitions}: a word's partition would be another one, and its count would begin anew there. "
                f"Use --partitions {self.partitions}, or change the number with {change}"
            )


def owner(config: Config, admin: AdminClient) -> Application | None:
    """Return the application that the topics belong to; none where no record says so.

    While its topics are made anew, the record of the move says so (`wcsup.kafka.moving`).
    """
    topic = config.topic("positions")
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    first = None
    if topic in there:
        end = topics.ends(admin, [TopicPartition(topic, 0)])[topic, 0]
        with closing(clients.assigned_consumer(config)) as consumer:
            found = (one.value() for one in read_partition(consumer, topic, 0, end) if one.key() == APPLICATION)
            first = next(found, None)
    if first is not None:
        return Application.read(first)
    move = moving.read(config, admin)
    return None if move is None else Application(move.app_id, move.partitions)


def prepare(config: Config, needed: Sequence[Right] = ()) -> None:
    """Make and check the topics, and check that they belong to this application; a first start claims them.

    Under KIP-848 it also sets the sessions of the groups.

    `needed` are the rights that the caller needs. Raises `ConfigurationError` for topics that do not fit, that belong
    to another application, that are being moved, or that were counted up to an unknown offset, and for missing rights.
    """
    admin = clients.admin(config)
    with refusals.told(config, About(rights=[*needed, *rights.checked(config, topics.NAMES)])):
        found = owner(config, admin)
        moving.refuse(config, admin)
    if found is not None:
        found.refuse_changes(config)
    made = topics.ensure(config, fixed=found is not None, needed=needed)
    if found is None:
        _claim(config, admin, new=set(made) == set(topics.NAMES))
    if config.group_protocol == "consumer":
        groups.set_sessions(admin, config)


def prepare_feed(config: Config) -> None:
    """Find the topics that lines are written to; where nothing was ever counted, make and claim all as `prepare` does.

    Who only writes lines needs no rights to the other topics of an application that is there. Raises as `prepare` does.
    """
    admin, needed = clients.admin(config), rights.of_feed(config)
    with refusals.told(config, About(rights=needed)):
        found = owner(config, admin)
        moving.refuse(config, admin)
    if found is not None:
        found.refuse_changes(config)
        if (refused := refusals.lacking(config, needed)) is not None:
            raise refused
        if config.topic("lines") in admin.list_topics(timeout=clients.REACH_SECONDS).topics:
            return
    prepare(config, needed)


def check_positions(config: Config) -> None:
    """Raise `ConfigurationError` where a group's offset is not the offset at which counting stopped."""
    admin = clients.admin(config)
    for stage in positions.STAGES:
        found = groups.offsets(config, positions.group(config, stage), config.topic(stage), config.partitions)
        doubtful = [one for one in found if one.offset >= 0 and not positions.is_own(one)]
        if doubtful:
            said = positions.recorded(config, admin)
            now = positions.now(config, topics.identity(admin, config), stage)
            for one in doubtful:
                positions.judge(config, stage, now, one, said.of(stage, one.partition, now.input))


def _claim(config: Config, admin: AdminClient, *, new: bool) -> None:
    """Record the application, and before it the positions of what was already counted."""
    if not new:
        write(config, _positions_from_before(config, admin))
    record(config)
    first = owner(config, admin)
    if first is None:
        raise RetryError(f"what was written to {config.topic('positions')} can't be read")
    if first != Application.of(config):
        write(config, [first.entry])  # compaction keeps a key's last record, so the first one is written again
        first.refuse_changes(config)


def record(config: Config) -> None:
    """Record that the topics belong to this application, and that their positions are complete."""
    write(config, [Application.of(config).entry])


def write(config: Config, records: list[tuple[bytes, bytes]], partitions: range = range(1)) -> None:
    """Write records to `partitions` of `positions`, by default only to the first; return when they are acknowledged."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = clients.producer(config, delivered, linger_ms=0)
    for partition in partitions:
        for key, value in records:
            producer.produce(config.topic("positions"), value, key, partition=partition)
    left = producer.flush(_PATIENCE_SECONDS)
    if failed and failures.meaning(failed[0]) is Failure.REFUSED:
        topic = config.topic("positions")
        raise refusals.refused(config, failed[0], About(topic, rights=[Right("topic", topic, "WRITE")]))
    if left or failed:
        why = failed[0].str() if failed else f"no broker took them within {_PATIENCE_SECONDS:.0f} s"
        raise ConfigurationError(f"the application can't be recorded in {config.topic('positions')}: {why}")


def _positions_from_before(config: Config, admin: AdminClient) -> list[tuple[bytes, bytes]]:
    """Return the positions of an application that has counted without recording positions.

    Raises `ConfigurationError` where Kafka has deleted the groups' offsets.
    """
    counted = _counted(config, admin)
    identity = topics.identity(admin, config)
    records: list[tuple[bytes, bytes]] = []
    for stage in positions.STAGES:
        topic = config.topic(stage)
        found = groups.offsets(config, positions.group(config, stage), topic, config.partitions)
        now = positions.now(config, identity, stage)
        for one in found:
            if one.offset >= 0:
                start = positions.judge(config, stage, now, one, now.at(one.offset))
                text = now.text(start.offset)
                records.append((positions.key(stage, one.partition), text.encode()))
        absent = [TopicPartition(topic, one.partition) for one in found if one.offset < 0]
        unknown = [p for (_, p), end in topics.ends(admin, absent).items() if end] if absent and counted else []
        if unknown:
            raise ConfigurationError(
                f"{config.topic('counts')} has totals, and nobody knows up to where they count {topic}, partitions "
                f"{sorted(unknown)}: Kafka deleted the offsets of group {positions.group(config, stage)}, as it does "
                "when a group has been empty for offsets.retention.minutes, and they were not recorded yet. Start over "
                "with wcsup del; or, where you know the offsets, set them with kafka-consumer-groups.sh "
                "--reset-offsets and have them taken with wcsup positions --accept group"
            )
    return records


def _counted(config: Config, admin: AdminClient) -> bool:
    """Return whether wcsup has counted anything in these topics, as far as their records tell.

    Raises `ConfigurationError` where they were counted with another number of partitions.
    """
    counts, words = config.topic("counts"), config.topic("words")
    everywhere = [TopicPartition(topic, p) for topic in (counts, words) for p in range(config.partitions)]
    starts, ends = topics.starts(admin, everywhere), topics.ends(admin, everywhere)
    filled = [where for where, end in ends.items() if starts[where] < end]
    counted = False
    for topic, partition in filled:
        with closing(clients.assigned_consumer(config)) as consumer:
            for number, message in enumerate(read_partition(consumer, topic, partition, ends[topic, partition])):
                word, value = message.key(), message.value()
                own = word is not None and value is not None and len(value) != _OLD_TOTAL_BYTES
                counted |= own
                home = _core.partition(word or b"", config.partitions)
                if topic == counts and own and home != partition:
                    raise ConfigurationError(
                        f"partition {partition} of {counts} has a word that belongs in {home} with {config.partitions} "
                        "partitions: it was counted in another number of partitions. Use that number, or start over "
                        "with wcsup del"
                    )
                if topic == words or number >= _SAMPLE_RECORDS:
                    break
    return counted
