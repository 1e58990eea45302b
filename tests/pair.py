"""Two Kafka nodes with one copy of everything: the first coordinates transactions, the second has the partitions.

So a transaction can be decided while none of its markers reaches a partition. Clients and the first node reach the
second node through a proxy, which can delay a marker. When the second node is killed, its partitions have no leader,
and Kafka 4.4 takes them for deleted ones (see `wcsup.kafka.hanging`).
"""

import base64
import time
import uuid
from functools import cached_property, partial
from pathlib import Path

from application import wait_for
from cluster import Node
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from wcsup.audit.proxy import Proxy
from wcsup.broker import jars, java, ports, readiness, settings, wire
from wcsup.broker.process import Kafka
from wcsup.config import Config
from wcsup.kafka import clients, topics

_START_SECONDS = 120.0
_COORDINATOR = """
controller.quorum.voters=1@127.0.0.1:{control}
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=300
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"""
_PARTITIONS = """
process.roles=broker
node.id=2
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{inside}
advertised.listeners=PLAINTEXT://127.0.0.1:{outside}
broker.heartbeat.interval.ms=300
"""
_INTERNAL = {"__transaction_state": 1, "__consumer_offsets": 2}
"""The node with the only copy of each of Kafka's own topics."""


class Pair:
    """The two nodes, and the proxy before the second node."""

    def __init__(self, home: Path) -> None:
        used: list[int] = []
        while len(used) < 4:
            used += {ports.find_free()} - set(used)
        first, control, inside, outside = used
        runtime, class_path = java.find(), jars.fetch(quiet=True)
        texts = {
            1: settings.server(port=first, controller_port=control) + _COORDINATOR.format(control=control),
            2: settings.server(port=inside, controller_port=control)
            + _PARTITIONS.format(control=control, inside=inside, outside=outside),
        }
        self.coordinator, self.partitions = (
            Node(Kafka(home / f"node-{node}", runtime, class_path), node, {1: first, 2: inside}[node], text)
            for node, text in texts.items()
        )
        self.proxy = Proxy(outside, inside)

    def create(self) -> None:
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        nodes = [self.coordinator, self.partitions]
        for making in [node.format(identity) for node in nodes]:
            _, said = making.communicate()
            assert making.returncode == 0, said
        for node in nodes:
            node.start()
        wait_for("both are live", lambda: self._live() == 2, _START_SECONDS)
        made = [
            NewTopic(name, 8, replica_assignment=[[node]] * 8, config={"cleanup.policy": "compact"})
            for name, node in _INTERNAL.items()
        ]
        for future in self.admin.create_topics(made).values():
            future.result()
        deadline = time.monotonic() + _START_SECONDS
        for node in nodes:
            assert readiness.await_ready(node.port, deadline=deadline, running=partial(getattr, node, "runs"))

    def make_topics(self, config: Config) -> None:
        """Make an application's topics, with all partitions on the second node."""
        assignment = [[self.partitions.number]] * config.partitions
        configs = topics.CONFIGS
        made = [
            NewTopic(config.topic(name), config.partitions, replica_assignment=assignment, config=configs[name])
            for name in topics.NAMES
        ]
        for future in self.admin.create_topics(made).values():
            future.result()
        wait_for("both nodes know the topics", lambda: self._described(config))

    @property
    def address(self) -> str:
        return self.coordinator.address

    @cached_property
    def admin(self) -> AdminClient:
        return clients.admin(Config(bootstrap_servers=self.address))

    def revive(self) -> None:
        """Start the second node again, reachable by clients and the first node."""
        self.proxy.reopen()
        self.partitions.start()
        wait_for("both are live", lambda: self._live() == 2, _START_SECONDS)
        running = partial(getattr, self.partitions, "runs")
        assert readiness.await_ready(self.partitions.port, deadline=time.monotonic() + _START_SECONDS, running=running)

    def end(self) -> None:
        for node in (self.coordinator, self.partitions):
            node.kill()
        self.proxy.close()

    def _described(self, config: Config) -> bool:
        try:
            return len(topics.configs(self.admin, config, topics.NAMES)) == len(topics.NAMES)
        except KafkaException:
            return False

    def _live(self) -> int:
        try:
            return wire.brokers(self.coordinator.port)
        except OSError:
            return 0
