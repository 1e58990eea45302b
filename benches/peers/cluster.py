"""The broker that all systems share, the lines in it, and what is committed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benches.peers.workloads import Truth
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition

from wcsup import broker
from wcsup.config import Config
from wcsup.kafka import clients, topics

PARTITIONS = 12
HERE = Path(__file__).parent
HEAP = "1g"
Stages = tuple[tuple[str, str], ...]
"""The consumer groups of a system and the topics that they read, in the order of the flow."""


@dataclass(frozen=True, slots=True)
class Input:
    """Lines in a topic, and the file of what is truly in them."""

    name: str
    prefix: str
    truth: Truth
    totals: Path


class Cluster:
    """A broker in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "broker"
        # As brokers in production run. The embedded one does without Java's second compiler for a quick start, and
        # begins with a small heap; Kafka's own script gives all of it at once (`kafka-server-start.sh`: -Xmx1G -Xms1G).
        os.environ["KAFKA_OPTS"] = f"-XX:TieredStopAtLevel=4 -Xms{HEAP}"
        # An installed program has its bytecode; where this says not to keep any, every start would compile wcsup anew.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        running = broker.start(self._data, heap=HEAP)
        self.bootstrap, self.pid, self.version = running.bootstrap, running.pid, running.version
        self._directory = directory
        self._admin = clients.admin(Config(bootstrap_servers=self.bootstrap))

    def close(self) -> None:
        broker.stop(self._data)

    def config(self, prefix: str, name: str) -> Config:
        """Return wcsup's configuration; its topics are those of every system."""
        return Config(
            bootstrap_servers=self.bootstrap,
            app_id=name,
            topic_prefix=prefix,
            state_dir=self._directory / name,
            partitions=PARTITIONS,
        )

    def feed(self, name: str, batches: Iterable[list[bytes]]) -> Input:
        """Write lines to a new topic, spread evenly over its partitions."""
        given = Input(name, f"{name}.", Truth(), self._directory / f"{name}.totals")
        given.totals.unlink(missing_ok=True)  # an earlier topic of that name, dropped since
        topics.ensure(self.config(given.prefix, name))
        self.add(given, batches)
        return given

    def add(self, given: Input, batches: Iterable[list[bytes]]) -> Truth:
        """Write more lines to the topic, and return what is in them alone; the input's truth is that of all lines."""
        before = replace(given.truth)
        lines = producer(self.bootstrap, linger=20)
        for batch in given.truth.save(iter(batches), given.totals):
            write(lines, f"{given.prefix}lines", batch)
        if lines.flush(60):
            raise RuntimeError(f"the lines of {given.name} could not be written")
        now = given.truth
        return Truth(now.lines - before.lines, now.size - before.size, now.words - before.words)

    def renew(self, prefix: str) -> None:
        """Have empty output topics; the lines stay, and what systems made for themselves goes."""
        there = self._admin.list_topics(timeout=10).topics
        own = [name for name in there if name.startswith(prefix) and name != f"{prefix}lines"]
        self._delete({*own, *(name for name in there if "run-" in name)})
        topics.ensure(self.config(prefix, "bench"))

    def drop(self, prefix: str) -> None:
        self._delete({name for name in self._admin.list_topics(timeout=10).topics if name.startswith(prefix)})

    def _delete(self, names: set[str]) -> None:
        """Delete topics; a set, for librdkafka 2.16 crashes on a name that is given twice."""
        if names:
            for future in self._admin.delete_topics(list(names)).values():
                future.result()
        while names & set(self._admin.list_topics(timeout=10).topics):
            time.sleep(0.05)

    def watch(self, given: Input, stages: Stages) -> "Watch":
        return Watch(self, given, stages)

    def exact(self, given: Input) -> bool:
        """Tell whether a read_committed reader finds exactly the true totals in `counts`."""
        halves = [range(0, PARTITIONS, 2), range(1, PARTITIONS, 2)]
        command = [sys.executable, str(HERE / "exact.py"), self.bootstrap, f"{given.prefix}counts", str(given.totals)]
        readers = [subprocess.Popen([*command, *map(str, half)], stdout=subprocess.PIPE, text=True) for half in halves]
        found: list[list[int]] = [json.loads(reader.communicate()[0] or "[0, 0, -1]") for reader in readers]
        distinct, words, wrong = (sum(numbers) for numbers in zip(*found, strict=True))
        right: bool = wrong == 0 and distinct == given.truth.distinct and words == given.truth.words
        if not right:
            wanted = f"{given.truth.distinct} words, {given.truth.words} in all"
            print(f"  NOT EXACT: {distinct} words, {words} in all, {wrong} wrong; true are {wanted}", file=sys.stderr)
        return right


def producer(bootstrap: str, linger: float) -> Producer:
    """Return what writes lines; `linger` is in milliseconds."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": linger,
            "batch.size": 1_000_000,
            "message.max.bytes": 1_100_000,
        }
    )


def write(lines: Producer, topic: str, batch: list[bytes]) -> None:
    """Hand lines to the producer, spread evenly over the partitions; wait where its queue is full."""
    for partition in range(PARTITIONS):
        left = [{"value": line} for line in batch[partition::PARTITIONS]]
        while left:
            left = left[lines.produce_batch(topic, left, partition=partition) :]
            lines.poll(0.01 if left else 0)


class Watch:
    """What a system has committed; made before it starts, so that little is asked while it runs."""

    def __init__(self, cluster: Cluster, given: Input, stages: Stages) -> None:
        self._admin = clients.admin(cluster.config(given.prefix, "bench"))
        self.stages = stages
        self._ends: dict[tuple[str, int], int] = topics.ends(self._admin, _partitions(stages[0][1]))
        self._counts = _partitions(f"{given.prefix}counts")
        self.before = self.committed()
        """What an earlier start of the system has committed."""
        self._done = 0
        """Stages that have reached their end: it can't move any more."""

    def committed(self) -> int:
        """Return up to where, over all partitions, a read_committed reader can read `counts`."""
        return sum(topics.stable_ends(self._admin, self._counts).values())

    def is_complete(self) -> bool:
        """Tell whether output for the whole input is committed.

        A later stage's input ends with a transaction's control record, which not every consumer's committed
        offset passes. It is the last record for certain where nothing of the topic is pending.
        """
        try:
            while self._done < len(self.stages):
                group, topic = self.stages[self._done]
                if self._done:
                    self._ends = topics.ends(self._admin, _partitions(topic))
                    if self._ends != topics.stable_ends(self._admin, _partitions(topic)):
                        return False
                if not self._at_end(group, topic, behind=min(self._done, 1)):
                    return False
                self._done += 1
            return topics.ends(self._admin, self._counts) == topics.stable_ends(self._admin, self._counts)
        except KafkaException:  # a topic or group that the system has still to make
            return False

    def progress(self) -> list[tuple[int, int]]:
        """Return, of each stage's topic, how many records were written and how many the stage has committed."""
        found = []
        for group, topic in self.stages:
            committed = sum(self._offsets(group, topic).values())  # before the ends, so that it is never beyond them
            found.append((sum(topics.ends(self._admin, _partitions(topic)).values()), committed))
        return found

    def _at_end(self, group: str, topic: str, behind: int) -> bool:
        committed = self._offsets(group, topic)
        return all(committed.get(p, 0) >= end - behind for (_, p), end in self._ends.items())

    def _offsets(self, group: str, topic: str) -> dict[int, int]:
        request = ConsumerGroupTopicPartitions(group, _partitions(topic))
        answer = self._admin.list_consumer_group_offsets([request])[group].result().topic_partitions or []
        return {partition.partition: max(0, partition.offset) for partition in answer}


def _partitions(topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
