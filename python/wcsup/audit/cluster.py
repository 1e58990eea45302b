"""The brokers' answers about themselves, and the doctor's first checks: the brokers' features, and the topics."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from wcsup.audit.checks import Check
from wcsup.config import Config
from wcsup.kafka import clients, failures, groups, refusals, topics
from wcsup.kafka.application import owner
from wcsup.kafka.failures import Failure
from wcsup.kafka.rights import Right

_NEEDED = {
    "InitProducerId": (0, "transactions", "0.11"),
    "TxnOffsetCommit": (3, "fencing by group generation (KIP-447)", "2.5"),
    "OffsetFetch": (7, "stable offsets (KIP-447)", "2.5"),
    "JoinGroup": (5, "static members (KIP-345)", "2.3"),
    "Metadata": (10, "topic ids (KIP-516)", "2.8"),
}
"""An API, its version, its purpose, and the first Kafka that has it."""

_SEE_SETTINGS = Right("cluster", "", "DESCRIBE_CONFIGS")

_API = re.compile(r"(\S+?)/\w+: +ApiKey (\w+) \(\d+\) Versions (\d+)\.\.(\d+)")


class _Features(logging.Handler):
    """Takes the APIs of each broker from librdkafka's log, since librdkafka has no call for them."""

    def __init__(self) -> None:
        super().__init__()
        self.by_broker: dict[str, dict[str, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of one API of one broker."""
        if match := _API.search(record.getMessage()):
            broker, api, _, highest = match.groups()
            self.by_broker.setdefault(broker, {})[api] = int(highest)


KAFKAS_OWN = ("__consumer_offsets", "__transaction_state")
"""Topics that hold the groups' offsets and the transactions' outcomes."""

Settings = dict[str, str | None]


@dataclass(slots=True)
class Cluster:
    """The brokers' answers about themselves."""

    config: Config
    admin: AdminClient
    listed: Any
    """Brokers and topics, as `list_topics` has them."""
    apis: Mapping[str, Mapping[str, int]]
    """Highest version of each API, by broker."""
    settings: dict[int, Settings] = field(default_factory=dict)
    """Settings by broker."""
    topics: dict[str, Settings] = field(default_factory=dict)
    """Settings of the application's topics and of Kafka's own ones that exist, by full name."""
    sessions: dict[str, int] = field(default_factory=dict)
    """Milliseconds of the session by group, where they are groups of KIP-848 and this user may see it."""
    hidden: str = ""
    """Why this user can't see the settings of the brokers, and what to do about it; empty where they are seen."""

    @property
    def known(self) -> list[str]:
        """Plain names of the application's topics that exist."""
        return [name for name in topics.NAMES if self.config.topic(name) in self.listed.topics]

    @property
    def protocol(self) -> str:
        """The groups' protocol, `classic` or `consumer`."""
        return str(clients.read_properties(self.config).get("group.protocol", self.config.group_protocol))

    def numbers(self, key: str) -> list[int]:
        """Return a numeric setting of each broker that tells it."""
        found = [settings.get(key) for settings in self.settings.values()]
        return [int(value) for value in found if value is not None]


def connect(config: Config) -> Cluster:
    """Ask every broker; if none answers, raise an error that says why."""
    clients.check_reachable(config)
    heard = _Features()
    logger = logging.Logger("features")  # a separate logger without a level: it is not part of the program's logs
    logger.addHandler(heard)
    admin = clients.admin(config, debug="feature", logger=logger)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS))
    cluster = Cluster(config, admin, listed, heard.by_broker)
    for broker in listed.brokers:
        resource = ConfigResource(ResourceType.BROKER, str(broker))
        try:
            entries = admin.describe_configs([resource])[resource].result()
        except KafkaException as failed:
            if failures.meaning(failures.of(failed)) is not Failure.REFUSED:
                raise
            cluster.hidden = str(refusals.forbidden(config, [_SEE_SETTINGS]))
            break
        cluster.settings[broker] = {key: entry.value for key, entry in entries.items()}
    cluster.topics = dict(_topics(cluster))
    if cluster.protocol == "consumer":
        cluster.sessions = groups.sessions(admin, config)
    admin.poll(0.1)  # librdkafka hands over its log lines during a poll
    return cluster


def _topics(cluster: Cluster) -> Iterable[tuple[str, Settings]]:
    """Yield topics with their settings; those that this user may not see are missing."""
    names = [*map(cluster.config.topic, cluster.known), *(name for name in KAFKAS_OWN if name in cluster.listed.topics)]
    resources = {name: ConfigResource(ResourceType.TOPIC, name) for name in names}
    answers = cluster.admin.describe_configs(list(resources.values())) if resources else {}
    for name, resource in resources.items():
        try:
            yield name, {key: entry.value for key, entry in answers[resource].result().items()}
        except KafkaException as failed:
            if name not in KAFKAS_OWN and failures.meaning(failures.of(failed)) is not Failure.REFUSED:
                raise


def brokers(cluster: Cluster) -> Iterator[Check]:
    """Say which brokers answered."""
    count = len(cluster.listed.brokers)
    yield Check.ok(
        "broker",
        f"{count} {'brokers' if count > 1 else 'broker'} at {cluster.config.bootstrap_servers}, "
        f"cluster {cluster.listed.cluster_id}",
    )
    if cluster.hidden:
        yield Check.warning("broker", f"settings can't be seen, and are not judged: {cluster.hidden}")


def features(cluster: Cluster) -> Iterator[Check]:
    """Check that every broker has the APIs that the protocol rests on."""
    needed = dict(_NEEDED)
    if cluster.protocol == "consumer":
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
    """Check that the topics fit, or can be made."""
    config, known = cluster.config, cluster.known
    if config.topic(topics.MOVING) in cluster.listed.topics:
        yield Check.warning("topics", "they are being made anew, and are not judged meanwhile")
        return
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
