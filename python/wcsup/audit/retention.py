"""The doctor's checks of retention: how long lines are kept, and whether Kafka may delete anything else."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.audit.commands import configure_topics
from wcsup.kafka.progress import of_stage
from wcsup.kafka.retention import Retention, Uncounted
from wcsup.observe.figures import span
from wcsup.observe.retention import warning

_NAME = "retention"


def retention(cluster: Cluster) -> Iterator[Check]:
    """Say how long each topic's records are kept, and how soon uncounted lines may be deleted."""
    told = {name: cluster.topics.get(cluster.config.topic(name)) for name in cluster.known}
    kept = {name: Retention.of(settings) for name, settings in told.items() if settings}
    if "words" in kept:
        yield from _words(cluster, kept["words"])
    if {"lines", "words"} <= set(kept):
        yield from _lines(cluster)
    if kept:
        yield Check.ok(_NAME, "; ".join(f"{cluster.config.topic(name)} {_says(one)}" for name, one in kept.items()))


def _words(cluster: Cluster, kept: Retention) -> Iterator[Check]:
    """Warn if records of `words` may be deleted before reducers have committed them: there is no other copy."""
    if kept.seconds is None and not kept.by_size:
        return
    topic = cluster.config.topic("words")
    yield Check.warning(
        _NAME,
        f"{topic} is {_says(kept)}: counts that no reducer has committed by then are lost. wcsup run sets it, or: "
        + configure_topics(cluster, [topic], "retention.ms=-1,retention.bytes=-1"),
    )


def _lines(cluster: Cluster) -> Iterator[Check]:
    """Say how soon uncounted lines may be deleted."""
    topic = cluster.config.topic("lines")
    config = replace(cluster.config, partitions=len(cluster.listed.topics[topic].partitions))
    progress = of_stage(cluster.admin, config, "lines")
    nexts = {partition: one.offset for partition, one in enumerate(progress) if one.lag}
    with closing(Uncounted(config, cluster.admin)) as uncounted:
        found = uncounted.look(nexts)
    if found.retention.by_size:
        yield _by_size(topic, nexts)
        return
    left = found.left(time.time())
    if left and min(left.values()) <= found.retention.little:
        yield Check.warning(_NAME, warning(topic, left))
    elif left:
        yield Check.ok(_NAME, f"{topic}: lines that are not counted are kept for {span(min(left.values()))} at least")
    elif nexts and found.retention.seconds is not None:
        yield Check.ok(_NAME, f"{topic}: how long its uncounted lines are kept can't be told: none can be read yet")


def _by_size(topic: str, nexts: dict[int, int]) -> Check:
    """Say that no time can be told: a client learns neither the size nor the growth of a partition."""
    says = f"{topic}: retention.bytes is set, so lines may be deleted by size before they are counted"
    if nexts:
        return Check.warning(_NAME, f"{says}, and lines wait; how soon can't be told. Add mappers, or set it to -1")
    return Check.ok(_NAME, f"{says}; none waits now")


def _says(kept: Retention) -> str:
    by_age = "kept for ever" if kept.seconds is None else f"kept for {span(kept.seconds)}"
    return f"{by_age}, and less by size" if kept.by_size else by_age
