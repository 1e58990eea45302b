"""How far the stages are, and how much is left."""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.kafka import groups, positions, topics


@dataclass(frozen=True, slots=True)
class Lag:
    """Records that are not yet counted."""

    lines: int
    words: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a partition is counted."""

    offset: int
    """Where counting goes on: at the first offset that is not counted, or at the partition's start."""
    lag: int
    """How many offsets are not counted."""


def of_group(admin: AdminClient, config: Config, group: str, topic: str) -> list[PartitionProgress]:
    """Return for each partition of `topic` how far any group is by its offsets alone."""
    return _progress(admin, config, topic, groups.committed(config, group, topic, config.partitions))


def of_stage(admin: AdminClient, config: Config, stage: str) -> list[PartitionProgress]:
    """Return for each partition of `lines` or `words` how far it is counted, also where Kafka forgot the offsets."""
    topic = config.topic(stage)
    found = groups.offsets(config, positions.group(config, stage), topic, config.partitions)
    return _progress(admin, config, topic, positions.resolve(config, admin, stage, found))


def _progress(admin: AdminClient, config: Config, topic: str, offsets: Mapping[int, int]) -> list[PartitionProgress]:
    wanted = [TopicPartition(topic, p) for p in range(config.partitions)]
    end = topics.ends(admin, wanted)
    start = topics.starts(admin, wanted)
    nexts = [(p, max(offset, start[topic, p])) for p, offset in sorted(offsets.items())]
    return [PartitionProgress(offset, max(0, end[topic, p] - offset)) for p, offset in nexts]


def lag(admin: AdminClient, config: Config) -> Lag:
    """Return how many records of `lines` and `words` are not yet counted."""
    lines, words = (of_stage(admin, config, stage) for stage in positions.STAGES)
    return Lag(sum(one.lag for one in lines), sum(one.lag for one in words))
