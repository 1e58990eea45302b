"""The doctor's checks of copies: leaders, in-sync copies, `min.insync.replicas`, and how to add missing copies."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wcsup.audit.checks import Check
from wcsup.audit.cluster import KAFKAS_OWN, Cluster
from wcsup.audit.commands import configure_topics, reassign
from wcsup.config import Config
from wcsup.kafka import replication, topics

_NAME = "replication"
FILE = "copies.json"
"""The file's name in the commands that the doctor shows."""

_WHERE = ("bootstrap_servers", "app_id", "topic_prefix", "kafka_config", "replication")
"""Options that determine which topics the doctor examines, and how many copies they are to have."""


@dataclass(frozen=True, slots=True)
class Copies:
    """The copies of one topic."""

    topic: str
    count: int
    """The lowest number of copies among its partitions."""
    in_sync: int
    """The lowest number of in-sync copies among its partitions."""
    least: int | None
    """`min.insync.replicas`: how many copies must be in sync for a write; none where this user may not see it."""
    wanted: int
    leaderless: list[int]

    @classmethod
    def of(cls, cluster: Cluster, topic: str) -> "Copies":
        """Return the copies of a topic of the cluster."""
        listed = cluster.listed.topics[topic]
        partitions = listed.partitions.values()
        live = len(cluster.listed.brokers)
        least = cluster.topics.get(topic, {}).get(replication.INSYNC)
        return cls(
            topic,
            count=replication.copies(listed),
            in_sync=min(len(p.isrs) for p in partitions),
            least=None if least is None else int(least),
            # Kafka's own topics are for all applications, so this application's `--replication` is not for them.
            wanted=min(replication.MOST, live) if topic in KAFKAS_OWN else replication.wanted(cluster.config, live),
            leaderless=sorted(p.id for p in partitions if p.leader < 0),
        )


def check(cluster: Cluster) -> Iterator[Check]:
    """Check leaders and copies, also of Kafka's own topics, which have offsets and outcomes of transactions."""
    live = len(cluster.listed.brokers)
    every = _every(cluster)
    bad = False
    for copies in every:
        if found := _ill(copies):
            bad = True
            yield found
    for found in (*_few(cluster, every), *_low(cluster, every)):
        bad = True
        yield found
    asked = cluster.config.replication
    if asked and asked > live and set(topics.NAMES) - set(cluster.known):
        bad = True
        yield Check.failed(_NAME, f"--replication {asked} needs {asked} brokers and {live} answer; start the others")
    if not bad:
        count = min((copies.count for copies in every), default=replication.wanted(cluster.config, live))
        yield Check.ok(
            _NAME, f"{count} {'copies' if count > 1 else 'copy'} on {live} {'brokers' if live > 1 else 'broker'}"
        )


def reassignment(cluster: Cluster) -> list[dict[str, Any]]:
    """Return the partitions that lack copies, each with its future brokers, for kafka-reassign-partitions.sh.

    No copy is moved. New copies go to the brokers with the fewest copies, and to another rack if brokers have racks.
    """
    racks = {node.id: node.rack for node in cluster.admin.describe_cluster().result().nodes}
    brokers = {broker: racks.get(broker) for broker in cluster.listed.brokers}
    every = _every(cluster)
    load: Counter[int] = Counter(dict.fromkeys(brokers, 0))
    for copies in every:
        for partition in cluster.listed.topics[copies.topic].partitions.values():
            load.update(partition.replicas)
    return [
        {"topic": copies.topic, "partition": partition.id, "replicas": replicas}
        for copies in every
        for partition in cluster.listed.topics[copies.topic].partitions.values()
        if (replicas := complete(partition.replicas, copies.wanted, brokers, load)) != partition.replicas
    ]


def complete(replicas: list[int], wanted: int, brokers: Mapping[int, str | None], load: Counter[int]) -> list[int]:
    """Return a partition's copies with as many more as are `wanted`; `load` counts each broker's copies.

    The first copy stays the first, since it is the partition's preferred leader.
    """
    found = list(replicas)
    while len(found) < wanted and (free := brokers.keys() - found):
        taken = {brokers.get(broker) for broker in found} - {None}
        chosen = min(free, key=lambda broker: (brokers[broker] in taken, load[broker], broker))
        load[chosen] += 1
        found.append(chosen)
    return found


def _every(cluster: Cluster) -> list[Copies]:
    names = [*map(cluster.config.topic, cluster.known), *(name for name in KAFKAS_OWN if name in cluster.listed.topics)]
    return [Copies.of(cluster, name) for name in names]


def _ill(copies: Copies) -> Check | None:
    """Return what is wrong with the copies of a topic; none where nothing is."""
    if copies.leaderless:
        return Check.failed(
            _NAME, f"{copies.topic}: partitions {copies.leaderless} have no leader; a broker that has them is down"
        )
    if copies.least is not None and copies.in_sync < min(copies.least, copies.count):
        return Check.failed(
            _NAME,
            f"{copies.topic}: {copies.in_sync} copies are in sync and min.insync.replicas is {copies.least}: nothing "
            "is taken; start the brokers that are down",
        )
    if copies.in_sync < copies.count:
        return Check.warning(
            _NAME, f"{copies.topic}: {copies.in_sync} of {copies.count} copies are in sync; a broker is down or behind"
        )
    return None


def _few(cluster: Cluster, every: list[Copies]) -> Iterator[Check]:
    """Warn of topics that have fewer copies than they could."""
    few = [copies for copies in every if copies.count < copies.wanted]
    if not few:
        return
    live, least = len(cluster.listed.brokers), min(copies.count for copies in few)
    wanted = max(copies.wanted for copies in few)
    asked = cluster.config.replication
    why = f"--replication {asked} asks for" if asked else f"{live} brokers could have"
    then = "its broker's loss loses them" if least == 1 else "more brokers lost at once lose them"
    says = f"{_names(few)}: {least} of {wanted} copies that {why}; {then}. "
    if wanted > live:
        yield Check.warning(
            _NAME, f"{says}{live} brokers are up: start {wanted}; wcsup doctor says then how to add copies"
        )
        return
    add = f"{shlex.join(_again(cluster.config))} --reassignment {FILE} && {reassign(cluster, FILE)}"
    low = [copies for copies in few if copies.wanted >= replication.MOST and _is_low(copies)]
    yield Check.warning(_NAME, f"{says}To add them: {add}{' && ' + _raise(cluster, low) if low else ''}")


def _low(cluster: Cluster, every: list[Copies]) -> Iterator[Check]:
    """Warn of topics that accept a commit with too few copies in sync, or accept none as soon as one copy is not."""
    low = [copies for copies in every if copies.count >= replication.MOST and _is_low(copies)]
    if low:
        yield Check.warning(
            _NAME,
            f"{_names(low)}: {replication.INSYNC} is below {replication.LEAST_INSYNC}, so a commit may be on one "
            f"broker alone. To raise it: {_raise(cluster, low)}",
        )
    brittle = [copies for copies in every if copies.least is not None and 1 < copies.count <= copies.least]
    if brittle:
        yield Check.warning(
            _NAME,
            f"{_names(brittle)}: {replication.INSYNC} is as many as there are copies, so nothing is taken while a "
            "broker is down; add copies, or lower it",
        )


def _is_low(copies: Copies) -> bool:
    return copies.least is not None and copies.least < replication.LEAST_INSYNC


def _names(every: list[Copies]) -> str:
    return ", ".join(copies.topic for copies in every)


def _again(config: Config) -> list[str]:
    """Return the command that runs the doctor for this application."""
    default = Config()
    values = {name: getattr(config, name) for name in _WHERE if getattr(config, name) != getattr(default, name)}
    options = [text for name, value in values.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return ["wcsup", "doctor", *options]


def _raise(cluster: Cluster, low: list[Copies]) -> str:
    """Return the command that sets `min.insync.replicas` of topics."""
    names = [copies.topic for copies in low]
    return configure_topics(cluster, names, f"{replication.INSYNC}={replication.LEAST_INSYNC}")
