"""The doctor's look at the brokers: what they can do, the topics, the copies, the time-outs."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from wcsup.audit.checks import Check
from wcsup.config import Config
from wcsup.kafka import clients, topics
from wcsup.kafka.application import owner

_NEEDED = {
    "InitProducerId": (0, "transactions", "0.11"),
    "TxnOffsetCommit": (3, "fencing by group generation (KIP-447)", "2.5"),
    "OffsetFetch": (7, "stable offsets (KIP-447)", "2.5"),
    "JoinGroup": (5, "static members (KIP-345)", "2.3"),
    "Metadata": (10, "topic ids (KIP-516)", "2.8"),
}
"""API, its version, what it is for, and the first Kafka that has it."""

_API = re.compile(r"(\S+?)/\w+: +ApiKey (\w+) \(\d+\) Versions (\d+)\.\.(\d+)")


class _Features(logging.Handler):
    """Hears what librdkafka logs of the APIs of each broker: it has no call that tells."""

    def __init__(self) -> None:
        super().__init__()
        self.by_broker: dict[str, dict[str, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one API of one broker."""
        if match := _API.search(record.getMessage()):
            broker, api, _, highest = match.groups()
            self.by_broker.setdefault(broker, {})[api] = int(highest)


@dataclass(slots=True)
class Cluster:
    """What the brokers said of themselves."""

    config: Config
    admin: AdminClient
    listed: Any
    """Brokers and topics, as `list_topics` has them."""
    apis: Mapping[str, Mapping[str, int]]
    """Highest version of each API, by broker."""
    settings: dict[int, dict[str, str | None]] = field(default_factory=dict)
    """Settings by broker."""

    @property
    def known(self) -> list[str]:
        """Plain names of the application's topics that exist."""
        return [name for name in topics.NAMES if self.config.topic(name) in self.listed.topics]


def connect(config: Config) -> Cluster:
    """Ask every broker; raise `BrokerUnreachableError` where none answers."""
    heard = _Features()
    logger = logging.Logger("features")  # its own, at no level: it is no part of the program's logs
    logger.addHandler(heard)
    admin = clients.admin(config, debug="feature", logger=logger)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS))
    cluster = Cluster(config, admin, listed, heard.by_broker)
    for broker in listed.brokers:
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        entries = admin.describe_configs([resource])[resource].result()
        cluster.settings[broker] = {key: entry.value for key, entry in entries.items()}
    admin.poll(0.1)  # which is when librdkafka's log lines are handed over
    return cluster


def brokers(cluster: Cluster) -> Iterator[Check]:
    """Say who answered."""
    count = len(cluster.listed.brokers)
    yield Check.ok(
        "broker",
        f"{count} {'brokers' if count > 1 else 'broker'} at {cluster.config.bootstrap_servers}, "
        f"cluster {cluster.listed.cluster_id}",
    )


def features(cluster: Cluster) -> Iterator[Check]:
    """Check that every broker has what the protocol rests on."""
    needed = dict(_NEEDED)
    if _protocol(cluster.config) == "consumer":
        needed["ConsumerGroupHeartbeat"] = (0, "the consumer group protocol (KIP-848)", "4.0")
    if not cluster.apis:
        yield Check.warning(
            "features", "librdkafka did not say which APIs the brokers have; Kafka 2.8 or newer is needed"
        )
        return
    lacking = [
        f"{broker} lacks {what}: Kafka {since} or newer is needed"
        for broker, apis in cluster.apis.items()
        for api, (version, what, since) in needed.items()
        if apis.get(api, -1) < version
    ]
    if lacking:
        yield Check.failed("features", "; ".join(lacking))
    else:
        yield Check.ok("features", ", ".join(what for _, what, _ in needed.values()))


def topics_fit(cluster: Cluster) -> Iterator[Check]:
    """Check that topics fit, or that they can be made."""
    config, known = cluster.config, cluster.known
    if (found := owner(config, cluster.admin)) is not None:
        config = replace(config, partitions=found.partitions)
    bad = False
    for name, entries in topics.configs(cluster.admin, config, known).items():
        partitions = len(cluster.listed.topics[config.topic(name)].partitions)
        if reason := topics.misfit(config, name, partitions, entries, fixed=found is not None):
            bad = True
            yield Check.failed("topics", reason)
    missing = [config.topic(name) for name in topics.NAMES if name not in known]
    if not known:
        yield Check.ok("topics", f"none yet; wcsup run makes {', '.join(missing)}")
    elif missing:
        yield Check.warning("topics", f"{', '.join(missing)} are missing; wcsup run makes them")
    elif not bad:
        yield Check.ok("topics", f"{', '.join(map(config.topic, known))} with {config.partitions} partitions")


def replication(cluster: Cluster) -> Iterator[Check]:
    """Check leaders, copies and how many of them a commit waits for; Kafka's own topics hold offsets and outcomes."""
    name, config = "replication", cluster.config
    brokers = len(cluster.listed.brokers)
    insync = {
        config.topic(topic): int(entries["min.insync.replicas"] or 1)
        for topic, entries in topics.configs(cluster.admin, config, cluster.known).items()
    }
    wanted = min(3, brokers)
    bad = False
    for topic in [
        *insync,
        *(own for own in ("__consumer_offsets", "__transaction_state") if own in cluster.listed.topics),
    ]:
        partitions = cluster.listed.topics[topic].partitions.values()
        least = insync.get(topic, 1)
        copies = min(len(p.replicas) for p in partitions)
        in_sync = min(len(p.isrs) for p in partitions)
        leaderless = sorted(p.id for p in partitions if p.leader < 0)
        if leaderless:
            found = Check.failed(
                name, f"{topic}: partitions {leaderless} have no leader; a broker that has them is down"
            )
        elif in_sync < least:
            found = Check.failed(
                name, f"{topic}: {in_sync} copies are in sync and min.insync.replicas is {least}: nothing is taken"
            )
        elif in_sync < copies:
            found = Check.warning(name, f"{topic}: {in_sync} of {copies} copies are in sync")
        elif copies < wanted:
            found = Check.warning(
                name,
                f"{topic}: {copies} of {wanted} copies that {brokers} brokers could have; a broker's loss loses it",
            )
        elif copies >= 3 and least < 2 and topic in insync:
            found = Check.warning(
                name, f"{topic}: min.insync.replicas is {least}: a commit may be on one broker alone; set it to 2"
            )
        else:
            continue
        bad = True
        yield found
    if not bad:
        yield Check.ok(
            name, f"{wanted} {'copies' if wanted > 1 else 'copy'} on {brokers} {'brokers' if brokers > 1 else 'broker'}"
        )


def timeouts(cluster: Cluster) -> Iterator[Check]:
    """Check that the brokers allow the time-outs that workers ask for."""
    config, name = cluster.config, "timeouts"
    given = clients.read_properties(config)
    transaction = int(given.get("transaction.timeout.ms", config.transaction_timeout * 1000))
    session = int(given.get("session.timeout.ms", config.session_timeout * 1000))
    longest = _limit(cluster, "transaction.max.timeout.ms", min)
    bad = False
    if longest is not None and transaction > longest:
        bad = True
        yield Check.failed(
            name,
            f"--transaction-timeout is {transaction} ms, transaction.max.timeout.ms of the brokers {longest}: lower it",
        )
    if _protocol(config) == "classic":
        low, high = (
            _limit(cluster, "group.min.session.timeout.ms", max),
            _limit(cluster, "group.max.session.timeout.ms", min),
        )
        if (low is not None and session < low) or (high is not None and session > high):
            bad = True
            yield Check.failed(
                name,
                f"--session-timeout is {session} ms and the brokers allow {low} to {high}: "
                "choose one within, or change group.min.session.timeout.ms or group.max.session.timeout.ms",
            )
        says = f"sessions of {session} ms"
    else:
        says = f"sessions of {_limit(cluster, 'group.consumer.session.timeout.ms', max)} ms, which brokers alone decide"
    if not bad:
        yield Check.ok(name, f"transactions of {transaction} ms, {says}")


def retention(cluster: Cluster) -> Iterator[Check]:
    """Say how long lines are kept, and check that words outlive a pause of the reducers."""
    if not {"lines", "words"} <= set(cluster.known):
        return
    entries = topics.configs(cluster.admin, cluster.config, ["lines", "words"])
    kept = {name: int(entries[name]["retention.ms"] or -1) for name in entries}
    hours = {name: "for ever" if ms < 0 else f"{ms / 3_600_000:,.0f} h" for name, ms in kept.items()}
    if 0 <= kept["words"] < 3_600_000:
        yield Check.warning(
            "retention",
            f"{cluster.config.topic('words')} keeps records for {kept['words'] // 1000} s: when reducers are down for "
            "longer, counts are lost; raise its retention.ms",
        )
    else:
        yield Check.ok(
            "retention",
            f"lines are kept {hours['lines']} (after that wcsup verify can't decide), words {hours['words']}",
        )


def _protocol(config: Config) -> str:
    return str(clients.read_properties(config).get("group.protocol", config.group_protocol))


def _limit(cluster: Cluster, key: str, choose: Any) -> int | None:
    """Return a setting of the brokers, the strictest where they differ; none where they do not tell."""
    values = [int(settings[key] or 0) for settings in cluster.settings.values() if key in settings]
    return choose(values) if values else None
