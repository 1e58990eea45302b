"""The six topics: made when missing, refused when they do not fit, deleted with the application."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource, ConfigSource
from confluent_kafka.admin._listoffsets import ListOffsetsResultInfo, OffsetSpec
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients, failures, refusals, replication, rights
from wcsup.kafka.refusals import About
from wcsup.kafka.requests import Brokers, Topic
from wcsup.kafka.rights import Right

log = logging.getLogger("wcsup.topics")

Answer = TypeVar("Answer")
TopicSettings = Mapping[str, str]

NAMES = ("lines", "words", "counts", "top", "dead-letters", "positions")

MOVING = "moving"
"""A seventh topic, which exists only while the application is moved to new topics: see `wcsup.kafka.moving`."""

_BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}
"""For topics that workers write. With the producer's time, a broker refuses records of a host whose clock is an hour
ahead, and retention deletes records of a host whose clock is days behind before they are read."""

KEPT = {"retention.ms": "-1", "retention.bytes": "-1"}
"""For `words`: it has the only copy of uncounted words, so records are not deleted by age or size. Reducers delete
counted records (`wcsup.pipeline.trim`). Kafka Streams does the same with its repartition topics."""

CONFIGS: dict[str, dict[str, str]] = {
    # With a record's overhead, a line of 1 MiB is larger than the default allows.
    "lines": {"max.message.bytes": "2097152"},
    "words": {"cleanup.policy": "delete", "segment.bytes": "52428800", **KEPT, **_BROKERS_TIME},
    "counts": {"cleanup.policy": "compact", **_BROKERS_TIME},
    "top": {"cleanup.policy": "compact", **_BROKERS_TIME},
    # A dead letter has headers: it may be larger than the record of `lines` that it is made of.
    "dead-letters": {"cleanup.policy": "delete", "max.message.bytes": "3145728", **_BROKERS_TIME},
    # Each commit replaces a dozen short records. Small segments and an eager cleaner keep the topic at some megabytes;
    # control records stay for `delete.retention.ms`, a day by default, which is longer than any reader takes.
    "positions": {
        "cleanup.policy": "compact",
        "segment.bytes": "2097152",
        "min.cleanable.dirty.ratio": "0.1",
        "delete.retention.ms": "300000",
        **_BROKERS_TIME,
    },
    MOVING: {"cleanup.policy": "delete", **KEPT, **_BROKERS_TIME},
}
"""Settings of each topic by plain name."""

_HOSTS = {
    "cleanup.policy": "compact,delete",
    "retention.ms": "86400000",
    "segment.bytes": "2097152",
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "delete.retention.ms": "60000",
    **_BROKERS_TIME,
}
"""For the hosts' topic: the last word of each host, which is forgotten after a day."""

NEEDED_RECORD_BYTES = 1_001_024
"""A word of `_core.MAX_WORD_BYTES` with its value and the batch's overhead."""
NEEDING_BYTES = ("words", "counts")
"""Topics that have to take a record of `NEEDED_RECORD_BYTES`."""


_OF_THE_TOPIC = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
"""The source of a setting that was given to a topic, and is not the brokers'."""
_APPEAR_SECONDS = 30.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Identity:
    """Ids that tell a topic from another of the same name, and a cluster from another at the same address."""

    cluster: str
    topics: dict[str, str]
    """Topic id by plain name (`lines`, `words`, …)."""


def ensure(
    config: Config, *, fixed: bool = False, needed: Sequence[Right] = (), own: Mapping[str, TopicSettings] | None = None
) -> list[str]:
    """Make missing topics; return the plain names of the topics that this call made.

    `fixed`: the application's number of partitions can't change any more. `needed` are the rights that the caller
    needs. `own` are settings for topics that are made, by plain name, which go before wcsup's own. Logs a warning for
    topics with fewer copies than they could have. Raises `ConfigurationError` for a topic that does not fit or can't
    have the wanted copies, and for missing rights.
    """
    admin = clients.admin(config)
    existing = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS))
    missing = [name for name in NAMES if config.topic(name) not in existing.topics]
    live = len(existing.brokers)
    wanted = [*needed, *rights.checked(config, NAMES)]
    made: list[str] = []
    if missing:
        made = _create(admin, config, missing, replication.for_new(config, live), wanted=wanted, own=own or {})
    if (refused := refusals.lacking(config, wanted)) is not None:
        raise refused
    _check(admin, config, fixed=fixed)
    there = {name: existing.topics[config.topic(name)] for name in NAMES if name not in missing}
    for remark in replication.remarks(config, live, missing, there):
        log.warning(remark)
    return made


def _create(
    admin: AdminClient,
    config: Config,
    names: list[str],
    replicas: int,
    *,
    wanted: Sequence[Right],
    own: Mapping[str, TopicSettings],
) -> list[str]:
    """Make topics that the broker does not list; return those that did not exist.

    A topic may exist all the same: the broker's metadata is out of date, or the user may not see the topic.
    """
    durable = replication.settings(replicas)
    made: set[str] = set()
    deadline = time.monotonic() + _APPEAR_SECONDS
    while names:
        new = [
            NewTopic(
                config.topic(name),
                config.partitions,
                replicas,
                config={**CONFIGS[name], **durable, **own.get(name, {})},
            )
            for name in names
        ]
        again = []
        futures = admin.create_topics(new)
        for name in names:
            topic = config.topic(name)
            try:
                futures[topic].result()
                made.add(name)
            except KafkaException as failed:
                _judge_making(config, topic, failures.of(failed), names, wanted)
        there = admin.list_topics(timeout=clients.REACH_SECONDS).topics
        for name in names:
            found = there.get(config.topic(name))
            if found is None or any(partition.leader < 0 for partition in found.partitions.values()):
                again.append(name)
        if again and time.monotonic() > deadline:
            raise RetryError(
                f"topics {', '.join(map(config.topic, again))} were made but did not come up in {_APPEAR_SECONDS:.0f} s"
            )
        if again:
            time.sleep(0.05)
        names = again
    return [name for name in NAMES if name in made]


def make_hosts(config: Config) -> None:
    """Make the topic in which hosts tell of themselves, if it does not exist.

    Raises `KafkaException` where it can't be made.
    """
    admin, topic = clients.admin(config), config.hosts_topic
    listed = admin.list_topics(timeout=clients.REACH_SECONDS)
    if topic in listed.topics:
        return
    replicas = replication.wanted(config, len(listed.brokers))
    new = NewTopic(topic, 1, replicas, config={**_HOSTS, **replication.settings(replicas)})
    try:
        admin.create_topics([new])[topic].result()
    except KafkaException as failed:
        if failures.of(failed).code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def _judge_making(config: Config, topic: str, error: KafkaError, names: Sequence[str], wanted: Sequence[Right]) -> None:
    """Raise the error of a topic that was not made, unless it may exist already, or the next try may succeed."""
    forbidden = error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
    if forbidden or error.code() == KafkaError.TOPIC_ALREADY_EXISTS:
        # Another process has made the topic, or its deletion has not ended, or the topic exists and the user may not
        # see it. Only in the second case it stays missing, and the next try makes it.
        lacking = rights.lacking(clients.admin(config), wanted)
        hidden = {right.name for right in lacking}
        if forbidden and (len(names) == len(NAMES) or not {config.topic(name) for name in names} <= hidden):
            lacking = [*rights.to_make(config, names), *lacking]
        if lacking:
            raise refusals.forbidden(config, lacking)
    elif not failures.meaning(error).passes:
        raise ConfigurationError(f"topic {topic} can't be made: {error.str()}")


def _check(admin: AdminClient, config: Config, *, fixed: bool) -> None:
    # With several brokers, the metadata of the broker that answers now may be out of date.
    counts = patiently(lambda: _partitions(admin, config))
    found = patiently(lambda: configs(admin, config, NAMES))
    for name, entries in found.items():
        reason = misfit(config, name, counts[name], entries, fixed=fixed)
        if reason:
            raise ConfigurationError(reason)
    if not KEPT.items() <= found["words"].items():
        _keep(admin, config, found["words"])


def _keep(admin: AdminClient, config: Config, entries: Mapping[str, str | None]) -> None:
    """Set the retention of `words` to unlimited, so that its records are kept until they are counted."""
    topic = config.topic("words")
    was = ", ".join(f"{key}={entries[key]}" for key in KEPT)
    change = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in KEPT.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=change)
    try:
        admin.incremental_alter_configs([resource])[resource].result()
    except KafkaException as error:
        raise ConfigurationError(
            f"topic {topic} has {was} and would lose what reducers have not counted by then, and Kafka refuses the "
            f"change, which needs ALTER_CONFIGS of the topic ({error.args[0].str()}). Set it: kafka-configs.sh --alter "
            f"--topic {topic} --add-config " + ",".join(f"{key}={value}" for key, value in KEPT.items())
        ) from error
    log.warning("topic %s had %s: it now keeps records until they are counted, whatever their age or size", topic, was)


def _partitions(admin: AdminClient, config: Config) -> dict[str, int]:
    """Return how many partitions each topic has; raise `KafkaException` where one is missing."""
    listed = admin.list_topics(timeout=clients.REACH_SECONDS).topics
    for topic in map(config.topic, NAMES):
        if topic not in listed:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"topic {topic} is not there"))
    return {name: len(listed[config.topic(name)].partitions) for name in NAMES}


def configs(admin: AdminClient, config: Config, names: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Return the configuration of topics that exist, by plain name."""
    resources = {name: ConfigResource(ResourceType.TOPIC, config.topic(name)) for name in names}

    def ask() -> dict[str, dict[str, str | None]]:
        answers = admin.describe_configs(list(resources.values())) if resources else {}
        return {
            name: {key: entry.value for key, entry in answers[resource].result().items()}
            for name, resource in resources.items()
        }

    with refusals.told(config, About(rights=rights.checked(config, resources))):
        return patiently(ask)


def own_settings(admin: AdminClient, config: Config, names: Iterable[str]) -> dict[str, TopicSettings]:
    """Return the settings that topics have of their own, by plain name; a topic that does not exist has none.

    `min.insync.replicas` is left out, since it depends on the copies.
    """
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    resources = {
        name: ConfigResource(ResourceType.TOPIC, topic) for name in names if (topic := config.topic(name)) in there
    }
    answers = admin.describe_configs(list(resources.values())) if resources else {}
    found: dict[str, TopicSettings] = {}
    with refusals.told(config, About(rights=rights.checked(config, resources))):
        for name, resource in resources.items():
            entries = [one for one in answers[resource].result().values() if one.source == _OF_THE_TOPIC]
            found[name] = {one.name: one.value for one in entries if one.name != replication.INSYNC}
    return found


def misfit(config: Config, name: str, partitions: int, entries: Mapping[str, str | None], *, fixed: bool) -> str | None:
    """Return why a topic does not fit the application and what to do about it; none where it does.

    `fixed`: the application's number of partitions can't change any more.
    """
    if reason := miscount(config, name, partitions, fixed=fixed):
        return reason
    topic = config.topic(name)
    policy = set((entries["cleanup.policy"] or "").replace(" ", "").split(","))
    if name in {"counts", "top", "positions"} and policy != {"compact"}:
        lost = "positions" if name == "positions" else "totals"
        return (
            f"topic {topic} has cleanup.policy={','.join(sorted(policy))} and would forget {lost}; set it: "
            f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=compact"
        )
    if name == "words" and "compact" in policy:
        return (
            f"topic {topic} is compacted and would lose counts; set it: "
            f"kafka-configs.sh --alter --topic {topic} --add-config cleanup.policy=delete"
        )
    if name in NEEDING_BYTES and int(entries["max.message.bytes"] or 0) < NEEDED_RECORD_BYTES:
        return (
            f"topic {topic} takes records of {entries['max.message.bytes']} bytes and the longest word needs "
            f"{NEEDED_RECORD_BYTES}; set its max.message.bytes to 1048588, Kafka's default, or more"
        )
    return None


def miscount(config: Config, name: str, partitions: int, *, fixed: bool) -> str | None:
    """Return why a topic's number of partitions does not fit, and what to do about it; none where it does.

    `fixed`: words were counted in `config.partitions` partitions already, and another number would count them anew
    elsewhere.
    """
    if partitions == config.partitions:
        return None
    topic = config.topic(name)
    what = f"topic {topic} has {partitions} partitions and the application {config.partitions}"
    if not fixed:
        return f"{what}; use --partitions {partitions}, another --topic-prefix, or delete the topic"
    what += ", for good, since each word is counted in one of them"
    if name in {"counts", "positions"}:
        return f"{what}: start over with wcsup del"
    lost = {
        "lines": ", once all of it is counted (wcsup status)",
        "words": ", once all of it is counted (wcsup status)",
        "top": "",
        "dead-letters": ", once nobody needs what is in it",
    }[name]
    return (
        f"{what}. Delete this topic alone{lost} (kafka-topics.sh --delete --topic {topic}): wcsup run makes it again, "
        "and totals stay. Or start over with wcsup del"
    )


def identity(admin: AdminClient, config: Config) -> Identity:
    """Return the ids of the cluster and of the application's topics.

    Raises `ConfigurationError` for a topic that does not exist, or may not be seen.
    """
    known_by = time.monotonic() + _PASSING_SECONDS

    def ask() -> Identity:
        names = TopicCollection([config.topic(name) for name in NAMES])
        described = admin.describe_topics(names, request_timeout=clients.REACH_SECONDS)
        cluster = admin.describe_cluster(request_timeout=clients.REACH_SECONDS)
        ids: dict[str, str] = {}
        for name in NAMES:
            try:
                ids[name] = str(described[config.topic(name)].result().topic_id)
            except KafkaException as failed:
                if failures.of(failed).code() in failures.NO_SUCH_TOPIC and time.monotonic() > known_by:
                    raise ConfigurationError(
                        f"topic {config.topic(name)} does not exist; wcsup run makes missing ones"
                    ) from failed
                raise
        return Identity(cluster.result().cluster_id or "", ids)

    with refusals.told(config, About(rights=rights.of_run(config))):
        return clients.unreachable(config, lambda: patiently(ask))


def starts(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the start of the log, by topic and partition."""
    return _offsets(admin, partitions, OffsetSpec.earliest())


def ends(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the high watermark, by topic and partition: it is behind records of open transactions, too.

    The end that a read_committed consumer is told is the last stable offset instead (KAFKA-10167).
    """
    return _offsets(admin, partitions, OffsetSpec.latest())


def stable_ends(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the last stable offset, by topic and partition: where the oldest open transaction begins, or the end."""
    return _offsets(admin, partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)


def newest(admin: AdminClient, partitions: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return when each partition's newest record was made, in milliseconds since 1970; negative where it has none."""
    listed = patiently(lambda: _list_offsets(admin, partitions, OffsetSpec.max_timestamp()))
    return {where: found.timestamp for where, found in listed.items()}


def _list_offsets(
    admin: AdminClient,
    partitions: list[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    seconds: float = clients.REACH_SECONDS,
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    wanted = {TopicPartition(p.topic, p.partition): spec for p in partitions}
    # The default time-out is 60 s, and a work loop waits for the answer.
    futures: dict[TopicPartition, Future[Any]] = admin.list_offsets(
        wanted, isolation_level=isolation, request_timeout=seconds
    )
    found: dict[tuple[str, int], ListOffsetsResultInfo] = {}
    for p, future in futures.items():
        try:
            found[p.topic, p.partition] = future.result()
        except KafkaException as failed:
            error = failures.of(failed)
            if failures.meaning(error).passes:
                _refresh(admin)
            where = f"partition {p.partition} of {p.topic}"
            raise KafkaException(KafkaError(error.code(), f"{where}: {error.str()}")) from failed
    return found


def _refresh(admin: AdminClient) -> None:
    """Have a client learn who leads partitions now: until then it asks the old leaders, by their old epochs."""
    admin.list_topics(timeout=_LEADER_SECONDS)


def _offsets(
    admin: AdminClient,
    partitions: list[TopicPartition],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], int]:
    def ask() -> dict[tuple[str, int], int]:
        listed = _list_offsets(admin, partitions, spec, isolation, _LEADER_SECONDS)
        found = {where: partition.offset for where, partition in listed.items()}
        if any(offset < 0 for offset in found.values()):
            # If the connection breaks during the request, librdkafka returns OFFSET_INVALID and no error. Taken for the
            # end of `counts`, it would make a restore read nothing.
            _refresh(admin)
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, "the connection broke under a request for offsets"))
        return found

    return patiently(ask, clients.REACH_SECONDS)


_LEADER_SECONDS = 3.0
"""How long a partition's leader may take to tell an offset. One that is gone does not answer at all, and another broker
may lead the partition in the meantime: so the request is made anew."""
_PASSING_SECONDS = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.05
"""The pauses are short since a start waits for nothing but the metadata of topics that it has just made."""


def patiently(ask: Callable[[], Answer], seconds: float = _PASSING_SECONDS) -> Answer:
    """Return what `ask` returns; retry for some seconds after errors that pass by themselves."""
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            return ask()
        except KafkaException as error:
            if not failures.meaning(failures.of(error)).passes or time.monotonic() > deadline:
                raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def make(admin: AdminClient, config: Config, name: str, partitions: int, wanted: Sequence[Right]) -> None:
    """Make one topic with its own number of partitions; `wanted` are the rights that this needs."""
    live = len(clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).brokers)
    own = replace(config, partitions=partitions)
    _create(admin, own, [name], replication.for_new(own, live), wanted=wanted, own={})


def grow(config: Config, names: Iterable[str]) -> None:
    """Give existing topics as many partitions as the application has, where they have fewer."""
    few = [topic for topic, there in found(config, names).items() if there.partitions < config.partitions]
    if few:
        new = [NewPartitions(topic, config.partitions) for topic in few]
        for topic, future in clients.admin(config).create_partitions(new).items():
            with refusals.told(config, About(topic, rights=[Right("topic", topic, "ALTER")])):
                future.result()

        def grown(seen: Mapping[str, Topic | None]) -> bool:
            return all(there is not None and there.partitions >= config.partitions for there in seen.values())

        _await_everywhere(config, few, grown)


def found(config: Config, names: Iterable[str]) -> dict[str, Topic]:
    """Return the topics that exist, by full name.

    Raises `RefusedError` for a topic that the user may not see.
    """
    wanted = [config.topic(name) for name in names]
    with closing(Brokers(config)) as brokers:
        seen, hidden = patiently(lambda: brokers.topics(wanted))
    if hidden:
        raise refusals.forbidden(config, [Right("topic", topic, "DESCRIBE") for topic in hidden])
    return {topic: there for topic, there in seen.items() if there is not None}


def remove(config: Config, doomed: Mapping[str, Topic]) -> None:
    """Delete topics that `found` returned; return when all brokers know it.

    A topic that was made anew under one of the names stays.
    """
    if doomed:
        with closing(Brokers(config)) as brokers:
            brokers.delete(doomed)
        _await_everywhere(config, doomed, lambda seen: all(seen.get(name) != topic for name, topic in doomed.items()))


def _await_everywhere(
    config: Config, names: Collection[str], holds: Callable[[Mapping[str, Topic | None]], bool]
) -> None:
    """Wait until a condition holds for the topics as each broker knows them."""
    deadline = time.monotonic() + _APPEAR_SECONDS
    with closing(Brokers(config)) as brokers:
        brokers.topics([])
        addresses = brokers.addresses
    for address in addresses:
        with closing(Brokers(config, [address])) as broker:
            while not holds(broker.topics(names)[0]):
                if time.monotonic() > deadline:
                    raise RetryError(
                        f"the broker {address} did not hear of a change of {', '.join(names)}: run it again"
                    )
                time.sleep(_LOOK_SECONDS)


def spans(admin: AdminClient, config: Config) -> dict[str, int]:
    """Return for each topic of the application that exists how many offsets it has, by full name.

    That is the number of its records with those that compaction has taken away, and the markers of transactions.
    """
    there = _existing(admin, config)
    wanted = [TopicPartition(name, partition) for name, count in there.items() for partition in range(count)]
    first, end = starts(admin, wanted), ends(admin, wanted)
    found = dict.fromkeys(there, 0)
    for where, offset in end.items():
        found[where[0]] += offset - first[where]
    return found


def _existing(admin: AdminClient, config: Config) -> dict[str, int]:
    """Return the number of partitions of the application's topics that exist, by full name."""
    there = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    names = [*map(config.topic, (*NAMES, MOVING)), config.hosts_topic]
    return {name: len(there[name].partitions) for name in names if name in there}


def delete(admin: AdminClient, config: Config) -> list[str]:
    """Delete the application's topics; once they are gone, return the names of those that existed."""
    names = list(_existing(admin, config))
    if names:
        for topic, future in admin.delete_topics(names).items():
            try:
                with refusals.told(config, About(topic, rights=[Right("topic", topic, "DELETE")])):
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
