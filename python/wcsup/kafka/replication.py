"""How many copies of each topic the cluster keeps, and when a start warns of too few.

Kafka places a topic's copies when the topic is made: a broker that is added or comes back later gets none by itself.
"""

from collections.abc import Collection, Mapping

from confluent_kafka.admin._metadata import TopicMetadata

from wcsup.config import Config
from wcsup.errors import ConfigurationError

MOST = 3
"""Copies by default, where there are enough brokers: one can be down for maintenance while another one is lost."""

INSYNC = "min.insync.replicas"
LEAST_INSYNC = 2
"""Copies that a commit waits for where there are three. With one, the loss of its broker could undo the commit."""


def wanted(config: Config, live: int) -> int:
    """Return how many copies topics are to have on a cluster with `live` running brokers."""
    return config.replication or min(MOST, live)


def for_new(config: Config, live: int) -> int:
    """Return how many copies new topics get; raise `ConfigurationError` where there are not that many brokers."""
    copies = wanted(config, live)
    if copies > live:
        raise ConfigurationError(
            f"--replication {copies} needs {copies} brokers and {live} {'is' if live == 1 else 'are'} up: start the "
            "missing ones, or ask for fewer copies, which the topics then have for good"
        )
    return copies


def settings(copies: int) -> dict[str, str]:
    """Return the settings of a topic with so many copies; with two copies the cluster's own setting stands.

    A single copy needs 1: with a higher number Kafka before 3.7 accepts no record at all.
    """
    if copies == 1:
        return {INSYNC: "1"}
    return {INSYNC: str(LEAST_INSYNC)} if copies >= MOST else {}


def copies(topic: TopicMetadata) -> int:
    """Return how many copies a topic has: the lowest number among its partitions."""
    return min(len(partition.replicas) for partition in topic.partitions.values())


def remarks(config: Config, live: int, made: Collection[str], there: Mapping[str, TopicMetadata]) -> list[str]:
    """Return the warnings of a start about copies: of topics that it `made`, and of topics that were `there` before.

    Topics go by their plain names; `live` is the number of brokers that are up.
    """
    found = []
    if made and config.replication is None and live == MOST - 1:
        found.append(
            f"{_list(config, made)}: made with {live} copies, since {live} brokers are up, and will not get a third "
            f"one by themselves. To have {MOST}, start over (wcsup del) when three brokers are up, or add them then: "
            "wcsup doctor says how"
        )
    short = fewer(there, wanted(config, live))
    if short:
        least = min(short.values())
        why = f"--replication asks for {config.replication}" if config.replication else f"{live} brokers are up"
        found.append(
            f"{_list(config, short)}: {least} {'copy' if least == 1 else 'copies'} where {why}; wcsup doctor says how "
            "to add more"
        )
    return found


def fewer(there: Mapping[str, TopicMetadata], than: int) -> dict[str, int]:
    """Return the topics that have fewer copies `than` a number, with the number of their copies."""
    return {name: count for name, topic in there.items() if (count := copies(topic)) < than}


def _list(config: Config, names: Collection[str]) -> str:
    return ("topic " if len(names) == 1 else "topics ") + ", ".join(map(config.topic, names))
