"""How far the stages have counted, and their lag."""

from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.kafka import groups, positions, topics


@dataclass(frozen=True, slots=True)
class Lag:
    """How many records are not yet counted."""

    lines: int
    words: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a partition is counted."""

    offset: int
    """Where counting resumes: at the first uncounted offset, or at the start of the log if that is later."""
    lag: int
    """How many offsets are not counted."""


def of_group(admin: AdminClient, config: Config, group: str, topic: str) -> list[PartitionProgress]:
    """Return for each partition of `topic` the progress of `group`, by the group's committed offsets alone."""
    return _progress(admin, config, topic, groups.committed(config, group, topic, config.partitions))


def of_stage(admin: AdminClient, config: Config, stage: str) -> list[PartitionProgress]:
    """Return the progress of each partition of `lines` or `words`, also where Kafka has deleted the group's offsets."""
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
