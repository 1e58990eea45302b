"""The costs that the model of docs/scale.md rests on, measured: `python -m benches.scale_costs`.

One embedded broker on this machine keeps a single copy of each partition. For each operation it prints the wall time,
and the broker's processor time.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from confluent_kafka import Producer
from confluent_kafka.cimpl import NewTopic

from wcsup import broker
from wcsup.config import Config
from wcsup.kafka import clients
from wcsup.kafka.requests import Brokers

PARTITIONS = 1000
TOPICS = ("lines", "words")
SECONDS = 8.0
WORDS = bytes(64)
"""A small record: what is measured is the cost of a partition, whatever is written to it."""


class Costs:
    """Measures what operations cost the broker."""

    def __init__(self, pid: int) -> None:
        self._broker = psutil.Process(pid)

    def _used(self) -> float:
        times = self._broker.cpu_times()
        return times.user + times.system

    def of(self, name: str, operation: Callable[[], object]) -> None:
        """Repeat an operation for some seconds, after two seconds of warming up the broker's JVM."""
        self._repeat(operation, 2)
        used, began = self._used(), time.monotonic()
        times = self._repeat(operation, SECONDS)
        self.told(name, (time.monotonic() - began) / times, (self._used() - used) / times)

    def once(self, name: str, operation: Callable[[], object]) -> None:
        """Measure an operation that is done once."""
        used, began = self._used(), time.monotonic()
        operation()
        self.told(name, time.monotonic() - began, self._used() - used)

    @staticmethod
    def told(name: str, wall: float, used: float) -> None:
        print(f"{name:44} {1e3 * wall:9.2f} ms, {1e3 * used:9.2f} ms of the broker's processors", flush=True)

    @staticmethod
    def _repeat(operation: Callable[[], object], seconds: float) -> int:
        began, times = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            operation()
            times += 1
        return times


def make(config: Config) -> None:
    """Make the topics, and wait until each partition has a leader that takes records."""
    admin = clients.admin(config)
    wanted = [NewTopic(config.topic(name), PARTITIONS, 1) for name in TOPICS]
    for made in admin.create_topics(wanted).values():
        made.result()
    producer = Producer(clients.settings(config))
    for topic in wanted:
        for partition in range(PARTITIONS):
            producer.produce(topic.topic, WORDS, partition=partition)
    assert producer.flush(120) == 0


def transactions(config: Config, costs: Costs) -> None:
    """Measure transactions that write a record to each of so many partitions."""
    own = {"transactional.id": "scale", "linger.ms": 0, "compression.type": "lz4", "retry.backoff.ms": 20}
    producer = Producer({**clients.settings(config), **own})
    producer.init_transactions()

    def commit(partitions: int) -> None:
        producer.begin_transaction()
        for partition in range(partitions):
            producer.produce(config.topic("words"), WORDS, partition=partition)
        producer.commit_transaction()

    for partitions in (1, 12, 100, 300, PARTITIONS):
        costs.of(f"transaction, partitions: {partitions}", lambda: commit(partitions))  # noqa: B023 - called here


def looks(config: Config, costs: Costs) -> None:
    """Measure what a supervisor asks for once a second about topics."""
    asked = Brokers(config, [str(config.bootstrap_servers)], 10)
    costs.of("two topics, for a lookout", lambda: asked.topics([config.topic(name) for name in TOPICS]))
    asked.close()


def main() -> None:
    """Start a broker, measure, and end it."""
    with tempfile.TemporaryDirectory() as place:
        running = broker.start(Path(place), quiet=True)
        try:
            config = Config(bootstrap_servers=running.bootstrap, partitions=PARTITIONS, replication=1, app_id="scale")
            costs = Costs(running.pid)
            costs.once("two topics are made", lambda: make(config))
            transactions(config, costs)
            looks(config, costs)
        finally:
            psutil.Process(running.pid).kill()


if __name__ == "__main__":
    main()
