"""Transactions that hold readers back, and clocks that differ."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import TopicPartition

from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.kafka import clients, topics

WATCH_SECONDS = 1.0
"""How long a transaction has to be open before it is reported: transactions of commits are open for milliseconds."""
_LONG_SECONDS = 60.0
_AHEAD_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction that holds back readers of a partition."""

    topic: str
    partition: int
    offset: int
    """The offset of its first record, which is the last stable offset."""
    behind: int
    """How many offsets there are from there to the high watermark."""
    seconds: float | None
    """The seconds since its first record was written, by the record's timestamp."""


def open_transactions(cluster: Cluster) -> list[OpenTransaction]:
    """Return the transactions in the application's topics that stay open for `WATCH_SECONDS`."""
    held = _held(cluster)
    deadline = time.monotonic() + WATCH_SECONDS
    while held and time.monotonic() < deadline:
        time.sleep(0.1)
        now = _held(cluster)
        held = {where: now[where] for where, (stable, _) in held.items() if now.get(where, (-1, 0))[0] == stable}
    return [
        OpenTransaction(topic, partition, stable, end - stable, _age(cluster, topic, partition, stable))
        for (topic, partition), (stable, end) in sorted(held.items())
    ]


def transactions(cluster: Cluster, found: list[OpenTransaction]) -> Iterator[Check]:
    """Say which transactions hold readers back."""
    for one in found:
        since = "for a while" if one.seconds is None else f"for {one.seconds:,.0f} s"
        message = (
            f"open {since} at {one.topic}, partition {one.partition}, offset {one.offset}: readers lack {one.behind} "
            "offsets. It ends with its producer's transaction time-out, or by kafka-transactions.sh abort "
            f"--topic {one.topic} --partition {one.partition} --start-offset {one.offset}"
        )
        long = one.seconds is None or one.seconds > max(_LONG_SECONDS, cluster.config.transaction_timeout)
        yield (Check.failed if long else Check.warning)("transactions", message)
    if not found:
        yield Check.ok(
            "transactions", f"none stays open in {', '.join(map(cluster.config.topic, cluster.known)) or 'any topic'}"
        )


def clock(cluster: Cluster) -> Iterator[Check]:
    """Compare this host's clock with the newest record: no request tells a broker's time, and nothing is written."""
    partitions = [
        TopicPartition(cluster.config.topic(name), p)
        for name in cluster.known
        for p in cluster.listed.topics[cluster.config.topic(name)].partitions
    ]
    times = topics.newest(cluster.admin, partitions) if partitions else {}
    newest, topic = max(((at, topic) for (topic, _), at in times.items()), default=(-1, ""))
    if newest < 0:
        yield Check.ok("clock", "not compared: there is no record, and a broker tells its time with records alone")
        return
    age = time.time() - newest / 1000
    if age < -_AHEAD_SECONDS:
        yield Check.warning(
            "clock",
            f"a record of {topic} is {-age:,.0f} s ahead of this clock: one of the machines' clocks is wrong",
        )
    else:
        yield Check.ok("clock", f"no record is ahead of it; the newest is {max(0.0, age):,.0f} s old")


def _held(cluster: Cluster) -> dict[tuple[str, int], tuple[int, int]]:
    """Return the last stable offset and the high watermark of partitions where they differ."""
    partitions = [
        TopicPartition(cluster.config.topic(name), p)
        for name in cluster.known
        for p in cluster.listed.topics[cluster.config.topic(name)].partitions
    ]
    if not partitions:
        return {}
    # The high watermark first: in the other order, a commit in between would look like an open transaction.
    ends = topics.ends(cluster.admin, partitions)
    stable = topics.stable_ends(cluster.admin, partitions)
    return {where: (stable[where], end) for where, end in ends.items() if stable[where] < end}


def _age(cluster: Cluster, topic: str, partition: int, offset: int) -> float | None:
    """Return how long ago the record at an offset was written; none where it can't be read soon."""
    with closing(clients.assigned_consumer(cluster.config, "read_uncommitted")) as consumer:
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(5)
        if message is None or message.error() is not None or message.offset() != offset:
            return None
        return max(0.0, time.time() - message.timestamp()[1] / 1000)
