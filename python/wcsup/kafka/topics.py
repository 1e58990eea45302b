"""The five topics: made when missing, refused when they do not fit, deleted with the application."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo, OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients

Answer = TypeVar("Answer")

NAMES = ("lines", "words", "counts", "top", "dead-letters")

_BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}
"""For what workers write: by default a broker refuses records of a host whose clock is an hour ahead, and retention
takes those of a clock that is days behind before they are read."""

_CONFIGS: dict[str, dict[str, str]] = {
    # A line of 1 MiB is more than the default takes once it has a record's overhead.
    "lines": {"max.message.bytes": "2097152"},
    "words": {"cleanup.policy": "delete", **_BROKERS_TIME},
    "counts": {"cleanup.policy": "compact", **_BROKERS_TIME},
    "top": {"cleanup.policy": "compact", **_BROKERS_TIME},
    # A rejected line comes with headers: it may be larger than what the broker took for `lines`.
    "dead-letters": {"cleanup.policy": "delete", "max.message.bytes": "3145728", **_BROKERS_TIME},
}

_NEEDED_RECORD_BYTES = 1_001_024
"""A word of `_core.MAX_WORD_BYTES` with its value and the batch's overhead."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a topic from another one of the same name, and a cluster from another at the same address."""

    cluster: str
    topics: dict[str, str]
    """Topic id by plain name (`lines`, `words`, …)."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Records that are not yet counted."""

    lines: int
    words: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group is in a partition."""

    offset: int
    """Where it goes on: at what it committed, or at the partition's start."""
    lag: int
    """How many offsets it has not committed."""


def ensure(config: Config) -> None:
    """Make the topics that are missing; raise `ConfigurationError` for one that does not fit."""
    admin = clients.admin(config)
    existing = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS))
    missing = [name for name in NAMES if config.topic(name) not in existing.topics]
    replicas = min(3, len(existing.brokers))
    _create(admin, config, missing, replicas)
    _check(admin, config)


def _create(admin: AdminClient, config: Config, names: list[str], replicas: int) -> None:
    durable = {"min.insync.replicas": "2"} if replicas == 3 else {}
    deadline = time.monotonic() + 30
    while names:
        new = [
            NewTopic(config.topic(name), config.partitions, replicas, config={**_CONFIGS[name], **durable})
            for name in names
        ]
        again = []
        for topic, future in admin.create_topics(new).items():
            try:
                future.result()
            except KafkaException as error:
                # Somebody else was faster, or a deletion of the same name has not ended: only the
                # latter leaves the topic missing, and then it is made again.
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise ConfigurationError(f"topic {topic} can't be made: {error.args[0].str()}") from error
        there = admin.list_topics(timeout=clients.REACH_SECONDS).topics
        for name in names:
            found = there.get(config.topic(name))
            if found is None or any(partition.leader < 0 for partition in found.partitions.values()):
                again.append(name)
        if again and time.monotonic() > deadline:
            raise RetryError(f"topics {', '.join(map(config.topic, again))} were made but did not come up in 30 s")
        if again:
            time.sleep(0.05)
        names = again


def _check(admin: AdminClient, config: Config) -> None:
    there = admin.list_topics(timeout=clients.REACH_SECONDS).topics
    for name, entries in configs(admin, config, NAMES).items():
        reason = misfit(config, name, len(there[config.topic(name)].partitions), entries)
        if reason:
            raise ConfigurationError(reason)


def configs(admin: AdminClient, config: Config, names: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Return the configuration of topics that exist, by plain name."""
    resources = {name: ConfigResource(ResourceType.TOPIC, config.topic(name)) for name in names}
    answers = admin.describe_configs(list(resources.values())) if resources else {}
    return {
        name: {key: entry.value for key, entry in answers[resource].result().items()}
        for name, resource in resources.items()
    }


def misfit(config: Config, name: str, partitions: int, entries: Mapping[str, str | None]) -> str | None:
    """Return why a topic does not fit the application and what to do about it; none where it does."""
    if reason := miscount(config, name, partitions):
        return reason
    topic = config.topic(name)
    policy = set((entries["cleanup.policy"] or "").replace(" ", "").split(","))
    if name in {"counts", "top"} and policy != {"compact"}:
        return (
            f"topic {topic} has cleanup.policy={','.join(sorted(policy))} and would forget totals; set it: "
            f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact"
        )
    if name == "words" and "compact" in policy:
        return (
            f"topic {topic} is compacted and would lose counts; set it: "
            f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete"
        )
    if name in {"words", "counts"} and int(entries["max.message.bytes"] or 0) < _NEEDED_RECORD_BYTES:
        return (
            f"topic {topic} takes records of {entries['max.message.bytes']} bytes and the longest word needs "
            f"{_NEEDED_RECORD_BYTES}; set its max.message.bytes to 1048588, Kafka's default, or more"
        )
    return None


def miscount(config: Config, name: str, partitions: int) -> str | None:
    """Return why a topic's number of partitions does not fit, and what to do about it; none where it does."""
    if partitions == config.partitions:
        return None
    return (
        f"topic {config.topic(name)} has {partitions} partitions and the application {config.partitions}; "
        f"use --partitions {partitions}, another --topic-prefix, or delete the topic"
    )


def identity(admin: AdminClient, config: Config) -> Identity:
    """Return the ids of the cluster and of the application's topics."""

    def ask() -> Identity:
        names = TopicCollection([config.topic(name) for name in NAMES])
        described = admin.describe_topics(names, request_timeout=clients.REACH_SECONDS)
        cluster = admin.describe_cluster(request_timeout=clients.REACH_SECONDS)
        ids = {name: str(described[config.topic(name)].result().topic_id) for name in NAMES}
        return Identity(cluster.result().cluster_id or "", ids)

    try:
        return clients.unreachable(config, ask)
    except KafkaException as error:
        raise ConfigurationError(
            f"a topic of {config.app_id} can't be described: {error.args[0].str()}; wcsup run makes missing ones"
        ) from error


def starts(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the first offset that is still there, by topic and partition."""
    return _offsets(admin, partitions, OffsetSpec.earliest())


def ends(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the end by topic and partition, behind committed and uncommitted records alike.

    A read_committed consumer's watermark is the last stable offset; this is the real end (KAFKA-10167).
    """
    return _offsets(admin, partitions, OffsetSpec.latest())


def stable_ends(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the last stable offset by topic and partition: the first one of the oldest open transaction."""
    return _offsets(admin, partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)


def newest(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return when each partition's newest record was made, in milliseconds since 1970; negative where it has none."""
    listed = _patiently(lambda: _list_offsets(admin, partitions, OffsetSpec.max_timestamp()))
    return {where: found.timestamp for where, found in listed.items()}


def _list_offsets(
    admin: AdminClient,
    partitions: list[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    wanted = {TopicPartition(p.topic, p.partition): spec for p in partitions}
    # The default is 60 s, and a work loop waits for the answer.
    futures: dict[TopicPartition, Future[Any]] = admin.list_offsets(
        wanted, isolation_level=isolation, request_timeout=clients.REACH_SECONDS
    )
    try:
        return {(p.topic, p.partition): future.result() for p, future in futures.items()}
    except KafkaException as error:
        if error.args[0].code() == KafkaError.FENCED_LEADER_EPOCH:
            # The client goes on sending the epoch from before a broker's restart until it learns of the new one.
            admin.list_topics(timeout=clients.REACH_SECONDS)
        raise


def _offsets(
    admin: AdminClient,
    partitions: list[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], int]:
    def ask() -> dict[tuple[str, int], int]:
        listed = _list_offsets(admin, partitions, spec, isolation)
        found = {where: partition.offset for where, partition in listed.items()}
        if any(offset < 0 for offset in found.values()):
            # Where the connection breaks under the request, librdkafka gives OFFSET_INVALID and no error. Taken for the
            # end of `counts`, it would have a store restored from nothing.
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "the connection broke under a request for offsets"))
        return found

    return _patiently(ask)


_PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError._TRANSPORT,
}
"""What brokers answer while leaders and coordinators move, or just after a topic was made; and a broken connection."""

_PASSING_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.05
"""A start asks for topics that were made a moment before, and waits for nothing else then."""


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Return what `ask` returns, asking again for a while after errors that pass by themselves."""
    deadline = time.monotonic() + _PASSING_SECONDS
    pause = _FIRST_PAUSE
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def committed(config: Config, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the offset that a group committed, by partition; negative where it committed none."""
    wanted = [TopicPartition(topic, p) for p in range(partitions)]

    def ask() -> dict[int, int]:
        found = clients.offsets_reader(config, group).committed(wanted, clients.REACH_SECONDS)
        for partition in found:
            if partition.error is not None:
                raise KafkaException(partition.error)
        return {partition.partition: partition.offset for partition in found}

    return _patiently(ask)


def group_progress(admin: AdminClient, config: Config, group: str, topic: str) -> list[Progress]:
    """Return for each partition of `topic` how far the group is."""
    wanted = [TopicPartition(topic, p) for p in range(config.partitions)]
    offsets = committed(config, group, topic, config.partitions)
    end = ends(admin, wanted)
    start = starts(admin, wanted)
    nexts = [(p, max(offset, start[topic, p])) for p, offset in sorted(offsets.items())]
    return [Progress(offset, max(0, end[topic, p] - offset)) for p, offset in nexts]


def lag(admin: AdminClient, config: Config) -> Lag:
    """Return how many records of `lines` and `words` are not yet counted."""
    lines = group_progress(admin, config, config.map_group, config.topic("lines"))
    words = group_progress(admin, config, config.reduce_group, config.topic("words"))
    return Lag(sum(one.lag for one in lines), sum(one.lag for one in words))


def delete(admin: AdminClient, config: Config) -> list[str]:
    """Delete the application's topics; return the names of those that were there, once they are gone."""
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    names = [config.topic(name) for name in NAMES if config.topic(name) in there]
    if names:
        for topic, future in admin.delete_topics(names).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise ConfigurationError(f"topic {topic} can't be deleted: {error.args[0].str()}") from error
        deadline = time.monotonic() + 30
        while set(names) & set(admin.list_topics(timeout=clients.REACH_SECONDS).topics):
            if time.monotonic() > deadline:
                raise RetryError(f"topics {', '.join(names)} are still there 30 s after their deletion")
            time.sleep(0.05)
    return names


def members(admin: AdminClient, group: str) -> int:
    """Return how many members a consumer group has; none where the group does not exist."""
    try:
        return len(admin.describe_consumer_groups([group])[group].result().members)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise


def delete_groups(admin: AdminClient, config: Config) -> list[str]:
    """Delete the application's consumer groups; return the names of those that were there.

    Raises `ConfigurationError` for a group that has members.
    """
    gone = []
    for group, future in admin.delete_consumer_groups([config.map_group, config.reduce_group]).items():
        try:
            future.result()
            gone.append(group)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP:
                raise ConfigurationError(f"group {group} has members: stop its workers first") from error
            if code != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return gone
