"""Three real Kafka nodes, each broker and controller, that can be stopped, killed and started again one by one.

A test takes the fixture `cluster`. The nodes are shared by the session; when a test begins, all three run and every
copy is in sync. A test may stop and kill nodes as it likes; afterwards the fixture brings them back.

    with cluster.without(3):                        # killed, and back when the block ends
        config = configuration(cluster.address, tmp_path)
    cluster.nodes[1].stop()                         # SIGSTOP: it holds its connections and answers nobody
    cluster.nodes[1].resume()
    cluster.nodes[2].kill(); cluster.nodes[2].start()
    cluster.wait_live(2)                            # each node that can answer counts so many live brokers
    cluster.wait_whole()                            # all nodes run, every partition is led, every copy in sync
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path

import psutil
import pytest
from application import wait_for
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from wcsup.broker import jars, java, ports, process, readiness, settings, wire
from wcsup.broker.process import Kafka, decisive
from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients
from wcsup.kafka.requests import _GROUP, _TRANSACTION, Brokers

NODES = (1, 2, 3)

_START_SECONDS = 120.0
"""How long three Java processes may take to start on the tests' machine."""
_END_SECONDS = 120.0
"""How long a node may take to hand its partitions on and end."""
_OUTPUT = "node.out"
_PROPERTIES = "node.properties"

# The last of equal keys counts in a properties file, so these lines override those of the embedded cluster.
_MORE = """
# A test waits for these; in earnest nobody does. A node that is gone loses its partitions after the session.
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
log.cleaner.backoff.ms=100
"""

# Starts a program, prints its pid, and kills it when this process closes its end of standard input, or dies: so a
# killed pytest leaves no nodes running. Background jobs of a shell have no standard input, so it is passed as
# descriptor 3.
_GUARDED = (
    'exec 3<&0; "$@" </dev/null >>"$0" 2>&1 3<&- & node=$!; echo $node; '
    "{ read -r _ <&3; kill -9 $node; } >/dev/null 2>&1 & guard=$!; wait $node; ended=$?; kill $guard; exit $ended"
)
_KILLED, _TERMINATED = 128 + signal.SIGKILL, 128 + signal.SIGTERM
"""A shell's exit status for a program's death by SIGKILL, and for Java's end after SIGTERM."""

# A serial collector's heap has less around it, and two processors are shared by all.
_JAVA = ("-XX:-UseG1GC", "-XX:+UseSerialGC", "-Xmx256m")


class Node:
    """One of the nodes; its ports and its data outlive its process."""

    def __init__(self, kafka: Kafka, number: int, port: int, text: str) -> None:
        self.number = number
        self.port = port
        self._kafka = kafka
        self._guard: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """The pid of the node's own process."""
        kafka.data.mkdir()
        (kafka.data / _PROPERTIES).write_text(text)
        (kafka.data / "log4j2.properties").write_text(settings.log4j())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether the node has a process, even a stopped one."""
        return self._guard is not None and self._guard.poll() is None

    @property
    def stopped(self) -> bool:
        """Whether the node's process is stopped (SIGSTOP)."""
        return self.runs and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def format(self, cluster_id: str) -> "subprocess.Popen[str]":
        """Start to make the node's log directory."""
        command = self._kafka.command(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "--config", _PROPERTIES
        )
        return subprocess.Popen(
            command, cwd=self._kafka.data, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wipe(self, cluster_id: str) -> "subprocess.Popen[str]":
        """Delete its log directory, and begin to make a new one."""
        shutil.rmtree(self._kafka.data / settings.LOGS)
        return self.format(cluster_id)

    def start(self) -> None:
        """Start the node's process at its ports; return at once, since a lone controller waits for the other ones."""
        assert not self.runs
        self.kill()  # lets go of the pipes of one that ended by itself
        command = self._kafka.command("kafka.Kafka", _PROPERTIES, options=_JAVA)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARDED, _OUTPUT, *command],
            cwd=self._kafka.data,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where a shell says that what it waited for was killed
            start_new_session=True,
        )
        assert self._guard.stdout is not None
        self.pid = int(self._guard.stdout.readline())

    def kill(self) -> None:
        """End the node like a crash of its host: nothing is flushed, and nobody is told."""
        if self._guard is None:
            return
        if self.runs:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self._guard.wait()
        for pipe in (self._guard.stdin, self._guard.stdout):
            assert pipe is not None
            pipe.close()

    def terminate(self) -> None:
        """End the node as an upgrade does (SIGTERM): it hands its partitions on first. Return when it has ended."""
        assert self._guard is not None and self.runs
        os.kill(self.pid, signal.SIGTERM)
        self._guard.wait(_END_SECONDS)
        self.kill()  # lets go of its pipes

    def stop(self) -> None:
        """Stop the process (SIGSTOP); return when it is stopped."""
        assert self.runs
        os.kill(self.pid, signal.SIGSTOP)
        wait_for(f"node {self.number} stands still", lambda: self.stopped)

    def resume(self) -> None:
        """Continue the process after `stop`; does nothing to a running one."""
        assert self.runs
        os.kill(self.pid, signal.SIGCONT)

    def end(self) -> str | None:
        """Why the node ended by itself; none where it runs or was killed."""
        if self._guard is None or self._guard.poll() in {None, _KILLED, _TERMINATED}:
            return None
        output = (self._kafka.data / _OUTPUT).read_text(errors="replace")
        return decisive(output) or f"status {self._guard.returncode}, see {self._kafka.data / _OUTPUT}"


class Cluster:
    """The three nodes."""

    def __init__(self, home: Path) -> None:
        used: list[int] = []
        while len(used) < 2 * len(NODES):
            used += {ports.find_free()} - set(used)
        listen, control = dict(zip(NODES, used[::2], strict=True)), dict(zip(NODES, used[1::2], strict=True))
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in control.items())
        runtime, class_path = java.find(), jars.fetch(quiet=True)
        self._identity = process.new_cluster()
        self.nodes: dict[int, Node] = {}
        for node in NODES:
            text = settings.server(port=listen[node], controller_port=control[node])
            kafka = Kafka(home / f"node-{node}", runtime, class_path)
            self.nodes[node] = Node(kafka, node, listen[node], text + settings.member(node, voters) + _MORE)

    def create(self) -> None:
        """Make the log directories, start all nodes, and return when they serve groups and transactions."""
        for making in [node.format(self._identity) for node in self.nodes.values()]:
            _, said = making.communicate()
            assert making.returncode == 0, said
        for node in self.nodes.values():
            node.start()
        self.wait_live(len(NODES))
        deadline = time.monotonic() + _START_SECONDS
        # Makes both coordinators' topics now: later, with a node down, Kafka would refuse three copies.
        for node in self.nodes.values():
            assert readiness.await_ready(node.port, deadline=deadline, running=partial(getattr, node, "runs"))
        self.wait_whole()

    @property
    def address(self) -> str:
        """The addresses of all nodes, for --bootstrap-servers."""
        return ",".join(node.address for node in self.nodes.values())

    @cached_property
    def admin(self) -> AdminClient:
        return clients.admin(Config(bootstrap_servers=self.address))

    @contextmanager
    def without(self, number: int) -> Iterator[None]:
        """Kill a node, and wait until the other nodes know it; start it again when the `with` block ends."""
        self.nodes[number].kill()
        self.wait_live(len(NODES) - 1)
        try:
            yield
        finally:
            self.heal()

    def restart(self) -> None:
        """Restart each node in turn, as an upgrade does: the next one when every copy is in sync again."""
        for node in self.nodes.values():
            node.terminate()
            self.heal()

    def lose_disk(self, number: int) -> None:
        """Kill a node and leave nothing of its data: when it is started again it copies all from its brothers."""
        node = self.nodes[number]
        node.kill()
        making = node.wipe(self._identity)
        _, said = making.communicate()
        assert making.returncode == 0, said

    def coordinators(self, groups: Collection[str], names: Collection[str]) -> set[int]:
        """Return the nodes that coordinate these groups and the transactions of these `transactional.id`s."""
        with closing(Brokers(Config(bootstrap_servers=self.address))) as brokers:
            kinds = ((groups, _GROUP), (names, _TRANSACTION))
            return {brokers._coordinator(name, kind) for wanted, kind in kinds for name in wanted}

    def coordinated(self, names: Collection[str]) -> bool:
        """Tell whether the coordinators of these `transactional.id`s are there, and know of their transactions."""
        try:
            nodes = [self.nodes[number] for number in self.coordinators((), names)]
            if not all(node.runs and not node.stopped for node in nodes):
                return False
            with closing(Brokers(Config(bootstrap_servers=self.address))) as brokers:
                layout = brokers.layout(())
                for name in names:
                    brokers.transaction(layout, name)  # an error where the coordinator has not read its log yet
        except (KafkaException, WcsupError, KeyError):
            return False
        return True

    def wait_live(self, count: int) -> None:
        """Wait until each running node that is not stopped has `count` brokers in its metadata."""
        wait_for(f"{count} brokers are live", lambda: self._live() == {count}, _START_SECONDS)

    def wait_whole(self) -> None:
        """Wait until all nodes run, every partition is led and every copy is in sync."""
        self.wait_live(len(NODES))
        wait_for("every copy is in sync", self._in_sync, _START_SECONDS)

    def heal(self) -> None:
        """Bring back stopped and killed nodes, and wait until every copy is in sync."""
        for node in self.nodes.values():
            if node.runs:
                node.resume()
            else:
                node.start()
        self.wait_whole()

    def end(self) -> None:
        for node in self.nodes.values():
            node.kill()

    def _live(self) -> set[int]:
        ended = {node.number: why for node in self.nodes.values() if (why := node.end())}
        assert not ended, ended
        found = set()
        for node in self.nodes.values():
            if node.runs and not node.stopped:
                try:
                    found.add(wire.brokers(node.port))
                except OSError:
                    found.add(0)  # it is starting
        return found

    def _in_sync(self) -> bool:
        try:
            listed = self.admin.list_topics(timeout=5)
        except KafkaException:
            return False
        partitions = [p for topic in listed.topics.values() for p in topic.partitions.values()]
        return all(p.leader >= 0 and set(p.isrs) == set(p.replicas) for p in partitions)


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all tests of a process share; started by the first that asks."""
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.create()
        yield made
    finally:
        made.end()


@pytest.fixture
def cluster(nodes: Cluster) -> Iterator[Cluster]:
    """Three brokers with all copies in sync, whatever the test before did and this one does."""
    yield nodes
    nodes.heal()
