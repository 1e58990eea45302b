"""An embedded cluster: three nodes on this machine, each broker and controller, one of which may be lost.

It is for trials and tests, on a machine that is lost as a whole. Every partition has three copies, and a commit is
acknowledged by two, as on a cluster that was set up with care.

Each node has a directory of its own below the data directory, with the files of a single embedded broker. What they
have in common stands in `nodes.json`: the cluster's identity and all ports, which stay as they are, since each node
knows the others by them.
"""

import json
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wcsup.broker import jars, java, pinned, ports, process, settings, wire
from wcsup.broker.process import Kafka
from wcsup.broker.readiness import await_ready, await_step
from wcsup.broker.record import Record
from wcsup.broker.security import Security
from wcsup.errors import BrokerUnreachableError, ConfigurationError
from wcsup.process.files import write_through

if TYPE_CHECKING:
    import ssl

COUNT = 3
DEFAULT_HEAP = "256m"
_FILE = "nodes.json"
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the embedded cluster."""

    number: int
    port: int
    pid: int | None
    """None where it does not run."""
    data: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """What the nodes of a data directory have in common."""

    cluster: str
    """The cluster's id."""
    ports: list[int]
    controller_ports: list[int]

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the plan of `data`; None where no cluster was made there."""
        try:
            return cls(**json.loads((data / _FILE).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    @classmethod
    def make(cls, data: Path) -> Self:
        """Choose the identity and the ports of a new cluster."""
        chosen: list[int] = []
        while len(chosen) < 2 * COUNT:
            chosen += {ports.find_free()} - set(chosen)
        plan = cls(process.new_cluster(), chosen[:COUNT], chosen[COUNT:])
        new = data / f"{_FILE}.new"
        write_through(new, json.dumps(asdict(plan)))  # an empty plan would leave nodes that fit no other one
        new.replace(data / _FILE)
        return plan

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes."""
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def member(self, number: int) -> str:
        """Return what a node is told beside the settings of a single one."""
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(self.controller_ports, 1))
        return settings.member(number, voters)


def find(data: Path, plan: Plan) -> list[Node]:
    """Return all nodes of a data directory, those that do not run as well."""
    found = []
    for number, port in enumerate(plan.ports, 1):
        own = _directory(data, number)
        record = Record.read(own)
        pid = record.pid if record is not None and record.alive(own) else None
        found.append(Node(number, port, pid, own))
    return found


def start(data: Path, plan: Plan, security: Security | None, *, heap: str, quiet: bool) -> None:
    """Start the nodes that do not run; return when all serve. `security` is that of a secured cluster.

    Raises ConfigurationError where somebody else has a node's port, and BrokerUnreachableError where a node ended.
    """
    runtime, class_path = java.find(), jars.fetch(quiet=quiet)
    for node in find(data, plan):
        if node.pid is None:
            _start(Kafka(node.data, runtime, class_path), node, plan, security, heap)
    deadline = time.monotonic() + _START_SECONDS
    asked, tls = (security.tls_ports, security.context()) if security else (plan.ports, None)
    all_live = partial(_all_live, asked, tls)
    running = partial(_all_present, data)
    # A coordinator's topic is to have a copy on each node: so all are waited for before the first one is asked for.
    served = await_step(all_live, deadline=deadline, running=running) and all(
        await_ready(port, deadline=deadline, running=running, tls=tls) for port in asked
    )
    if not served:
        raise _failed(data, plan)
    process.make_archive(Kafka(_directory(data, 1), runtime, class_path))


def stop(data: Path, plan: Plan, only: int | None = None) -> bool:
    """Stop all nodes, or one; wait until they have ended; return whether any ran."""
    nodes = [node for node in find(data, plan) if node.pid is not None and only in {None, node.number}]
    # All at once: the last ones could not say goodbye to a quorum that is gone.
    for node in nodes:
        process.ask_to_end(node.pid or 0)
    for node in nodes:
        record = Record.read(node.data)
        if record is not None and record.pid is not None:
            process.end(record.pid, partial(record.present, node.data), patience=_STOP_SECONDS)
            record.stopped().write(node.data)
    return bool(nodes)


def _directory(data: Path, number: int) -> Path:
    return data / f"node-{number}"


def _start(kafka: Kafka, node: Node, plan: Plan, security: Security | None, heap: str) -> None:
    controller_port = plan.controller_ports[node.number - 1]
    tls_ports = [security.tls_ports[node.number - 1]] if security else []
    for port in (node.port, controller_port, *tls_ports):
        if not ports.comes_free(port):
            raise ConfigurationError(
                f"port {port}, which node {node.number} of the embedded Kafka has, is taken{ports.owner(port)}: end "
                "what has it, or choose another --data-dir"
            )
    node.data.mkdir(exist_ok=True)
    more = plan.member(node.number)
    process.prepare(kafka, more=more, cluster=plan.cluster)
    options: list[str] = []
    if security:
        more += security.server(node.data, node.number, port=node.port, controller_port=controller_port)
        options = security.java_options()
    pid = process.spawn(kafka, port=node.port, controller_port=controller_port, heap=heap, more=more, options=options)
    Record(port=node.port, version=pinned.KAFKA_VERSION, started=time.time(), pid=pid).write(node.data)


def _all_live(asked: list[int], tls: "ssl.SSLContext | None") -> bool:
    return all(wire.brokers(port, tls) == COUNT for port in asked)


def _all_present(data: Path) -> bool:
    records = [(Record.read(own), own) for number in range(1, COUNT + 1) for own in [_directory(data, number)]]
    return all(record is not None and record.present(own) for record, own in records)


def _failed(data: Path, plan: Plan) -> BrokerUnreachableError:
    for node in find(data, plan):
        if node.pid is None:
            reason, file = process.reason_of_end(node.data)
            if (record := Record.read(node.data)) is not None:
                record.stopped().write(node.data)
            return BrokerUnreachableError(f"node {node.number} of the embedded Kafka ended: {reason}; see {file}")
    return BrokerUnreachableError(
        f"the nodes of the embedded Kafka do not serve after {_START_SECONDS:.0f} s: see "
        f"{_directory(data, 1) / settings.LOG_FILE}; `wcsup broker stop` ends them"
    )
