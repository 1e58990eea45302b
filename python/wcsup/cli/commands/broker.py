"""`wcsup broker`: the embedded Kafka on its own."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus

if TYPE_CHECKING:
    from wcsup.broker.nodes import Node

OFFERED = ("data_dir",)


class BrokerGroup(click.Group):
    """The commands of the embedded broker."""

    section = Section.AROUND


command = BrokerGroup(
    "broker",
    help="""Start, stop or look at the embedded Kafka.

    Commands that are given no --bootstrap-servers use it and start it when they need it: a real Apache Kafka,
    reachable from this machine alone. It goes on running after them. It has one node, or three with
    `start --nodes 3`, of which one may be killed: every record has three copies then.""",
    short_help="Start, stop or look at the embedded Kafka.",
)


@define(
    "start",
    offered=OFFERED,
    example="""
    wcsup broker start
    wcsup broker start --port 9092 --data-dir /var/lib/wcsup
    wcsup broker start --nodes 3 --data-dir trial
    KAFKA_OPTS=-XX:TieredStopAtLevel=4 wcsup broker start --heap 2g
    """,
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Port on 127.0.0.1 [default: the last one, or a free one].",
)
@click.option(
    "--heap",
    metavar="SIZE",
    help="Memory for Java's heap [default: 512m, and 256m for each of three nodes].",
)
@click.option(
    "--nodes",
    type=click.Choice(["1", "3"]),
    help="How many brokers [default: as many as its data is of, else 1].",
)
def start(config: Config, port: int | None, heap: str | None, nodes: str | None) -> None:
    """Start it and return when it serves.

    The first time its files (45 MB) are fetched from Maven Central. Where it runs already, its address is said; nodes
    that were killed or stopped are started again. Further options for Java are taken from KAFKA_OPTS; the one in the
    example is for a broker under load for long.
    """
    from wcsup import broker

    running = broker.start(config.data, port=port, heap=heap, nodes=int(nodes) if nodes else None)
    if running.nodes:
        click.echo(f"Apache Kafka {running.version} serves at {running.bootstrap}\n{_listed(running.nodes)}")
    else:
        click.echo(f"Apache Kafka {running.version} serves at {running.bootstrap} (pid {running.pid})")


def _listed(nodes: Iterable["Node"]) -> str:
    """Return a line for each node of a cluster."""
    rows = (f"port {node.port}, " + (f"pid {node.pid}" if node.pid else "does not run") for node in nodes)
    return "\n".join(f"node {number}: {row}" for number, row in enumerate(rows, 1))


@define("stop", offered=OFFERED, example="wcsup broker stop")
@click.option("--node", type=click.IntRange(1), metavar="N", help="Stop this node of three alone.")
def stop(config: Config, node: int | None) -> None:
    """Stop it; its data stays."""
    from wcsup import broker

    stopped = broker.stop(config.data, node=node)
    click.echo("stopped" if stopped else f"no broker runs in {config.data}")


@define("status", offered=OFFERED, example="wcsup broker status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(config: Config, as_json: bool) -> ExitStatus:
    """Say whether it runs and where; exit status 1 where it does not, or where a node of three does not."""
    from wcsup import broker

    found = broker.status(config.data)
    if as_json:
        print_json(
            {
                "running": found is not None,
                "bootstrap_servers": found.bootstrap if found else None,
                "pid": found.pid if found else None,
                "version": found.version if found else None,
                "data_dir": str(config.data),
                "log": str(found.log) if found else None,
                "nodes": [{"node": n.number, "port": n.port, "pid": n.pid} for n in found.nodes] if found else [],
            }
        )
    elif found is None:
        click.echo(f"no broker runs in {config.data}")
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started))
        process = "" if found.nodes else f" (pid {found.pid})"
        click.echo(
            f"Apache Kafka {found.version} serves at {found.bootstrap}{process} since {since}\n"
            f"data {found.data}, log {found.log}"
        )
        if found.nodes:
            click.echo(_listed(found.nodes))
    whole = found is not None and all(node.pid for node in found.nodes)
    return ExitStatus.DONE if whole else ExitStatus.CHECK_FAILED


for _command in (start, stop, status):
    command.add_command(_command)
