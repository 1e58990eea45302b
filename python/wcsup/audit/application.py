"""The doctor's checks of the application: who owns the topics, and whether the groups' offsets are where it stopped."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.audit.reading import GroupProgress, TopicReader
from wcsup.errors import ConfigurationError
from wcsup.kafka import groups, moving, positions, topics
from wcsup.kafka.application import owner


def ownership(cluster: Cluster) -> Iterator[Check]:
    """Say which application the topics belong to, and how many partitions it has."""
    found = owner(cluster.config, cluster.admin)
    if found is None:
        yield Check.ok("application", "the topics are nobody's yet; the first wcsup run or wcsup gen claims them")
        return
    try:
        moving.refuse(cluster.config, cluster.admin)
        found.refuse_changes(cluster.config)
    except ConfigurationError as error:
        yield Check.failed("application", str(error))
    else:
        counts = f"{found.app_id}, which counts in {found.partitions} partitions"
        yield Check.ok("application", f"the topics belong to {counts}")


def progress(cluster: Cluster) -> Iterator[Check]:
    """Check that the groups' offsets are of these topics and are where counting stopped; count the members."""
    config = cluster.config
    if set(topics.NAMES) - set(cluster.known):
        return
    config = replace(config, partitions=len(cluster.listed.topics[config.topic("lines")].partitions))
    identity = topics.identity(cluster.admin, config)
    with closing(TopicReader(config, cluster.admin)) as reader:
        for stage in positions.STAGES:
            group = positions.group(config, stage)
            progress = reader.progress(stage, identity.topics[stage], stable=False)
            starts, ends = reader.starts(stage), reader.ends(stage)
            members = groups.members(cluster.admin, group)
            yield from _conditions(cluster, identity, group, progress)
            yield from _offsets(group, config.topic(stage), progress, starts, ends)
            if members > len(ends):
                share = f"{members} members of {group} share {len(ends)} partitions"
                yield Check.warning("groups", f"{share}: some have nothing to do")
            left = sum(max(0, ends[p] - max(offset, starts[p])) for p, offset in progress.next.items())
            forgotten = f"; Kafka has forgotten {progress.forgotten} of its offsets, and they are recorded"
            yield Check.ok(
                "groups",
                f"{group} has {members} members, and {left:,} records to take{forgotten if progress.forgotten else ''}",
            )


def _conditions(cluster: Cluster, identity: topics.Identity, group: str, progress: GroupProgress) -> Iterator[Check]:
    """Check the metadata of the committed offsets, as a worker does at its start."""
    config = cluster.config
    rules = {position.words for position in progress.positions} - {config.words}
    if rules:
        yield Check.failed("groups", f"{group} counts {rules.pop()} words, and this is --words {config.words}")
    if {position.counts for position in progress.positions} - {None, identity.topics["counts"]}:
        yield Check.failed(
            "groups",
            f"{config.topic('counts')} was deleted and made again, but {group} has offsets from before: the totals are "
            "lost; start over with wcsup del",
        )


def _offsets(
    group: str, topic: str, progress: GroupProgress, starts: dict[int, int], ends: dict[int, int]
) -> Iterator[Check]:
    lost = sum(max(0, starts[p] - offset) for p, offset in progress.next.items())
    if progress.by_others:
        sets = ", ".join(f"{p}: {offset} for {progress.next[p]}" for p, offset in sorted(progress.by_others.items()))
        yield Check.failed(
            "groups",
            f"somebody set offsets of {group} in {topic} that are not where counting stopped ({sets}): workers refuse "
            "them; see wcsup positions",
        )
    if progress.remade:
        yield Check.warning("groups", f"{topic} was made again since {group} committed: it is read from its start")
    elif any(offset > ends[p] for p, offset in progress.next.items()):
        yield Check.failed(
            "groups", f"{topic} ends before the offsets of {group}: Kafka lost records; see wcsup verify"
        )
    if lost:
        yield Check.warning("groups", f"{lost:,} records of {topic} were deleted before {group} took them: not counted")
