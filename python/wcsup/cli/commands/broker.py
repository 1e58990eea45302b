"""`wcsup broker`: the embedded Kafka on its own."""

import shlex
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from wcsup.cli.command import Section, define
from wcsup.cli.help import Context
from wcsup.cli.options import Pattern
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from wcsup.broker import Broker
    from wcsup.broker.nodes import Node

OFFERED = ("data_dir",)


class BrokerGroup(click.Group):
    """The commands of the embedded broker."""

    section = Section.AROUND
    context_class = Context


command = BrokerGroup(
    "broker",
    help="""Start, stop or look at the embedded Kafka.

    Commands that are given no --bootstrap-servers use it and start it when they need it: a real Apache Kafka,
    reachable from this machine alone. It goes on running after them. It has one node, or three with
    `start --nodes 3`, of which one may be killed: every record has three copies then. It lets in everybody who can
    reach it, or users alone with `start --secure`.""",
    short_help="Start, stop or look at the embedded Kafka.",
)


@define(
    "start",
    offered=(*OFFERED, "app_id", "topic_prefix"),
    example="""
    wcsup broker start
    wcsup broker start --port 9092 --data-dir /var/lib/wcsup
    wcsup broker start --nodes 3 --data-dir trial
    wcsup broker start --secure --data-dir locked --app-id books --topic-prefix books-
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
@click.option(
    "--secure",
    is_flag=True,
    help="Encrypt all connections, and let in users alone, who may do what their application needs. Makes the user of "
    "--app-id, and the file for its --kafka-config. Data stays secured, or open, as it was made.",
)
@click.option(
    "--oauth-keys",
    type=Pattern(r"(https?|file)://\S+", "expected a URL, https://… or file:///…"),
    metavar="URL",
    help="With --secure: also take OAuth tokens (OAUTHBEARER) that a key of URL (a JWKS) has signed; the subject of a "
    "token is its user.",
)
@click.option("--oauth-issuer", metavar="TEXT", help="With --oauth-keys: who has to have made a token (its iss).")
@click.option(
    "--oauth-audience",
    default="kafka",
    show_default=True,
    metavar="TEXT",
    help="With --oauth-keys: whom a token has to be for (its aud).",
)
def start(
    *,
    config: Config,
    port: int | None,
    heap: str | None,
    nodes: str | None,
    secure: bool,
    oauth_keys: str | None,
    oauth_issuer: str | None,
    oauth_audience: str,
) -> None:
    """Start it and return when it serves.

    The first time its files (45 MB) are fetched from Maven Central. Where it runs already, its address is said; nodes
    that were killed or stopped are started again. Further options for Java are taken from KAFKA_OPTS; the one in the
    example is for a broker under load for long.
    """
    from wcsup import broker

    oauth = None
    if oauth_keys or oauth_issuer:
        if not (secure and oauth_keys and oauth_issuer):
            raise UsageError("--oauth-keys, --oauth-issuer and --secure go together: give all, or neither of the first")
        oauth = broker.OAuth(oauth_keys, oauth_issuer, oauth_audience)
    running = broker.start(
        config.data,
        port=port,
        heap=heap,
        nodes=int(nodes) if nodes else None,
        secure=config if secure else None,
        oauth=oauth,
    )
    if running.nodes:
        click.echo(f"Apache Kafka {running.version} serves at {running.bootstrap}\n{_listed(running.nodes)}")
    else:
        click.echo(f"Apache Kafka {running.version} serves at {running.bootstrap} (pid {running.pid})")
    click.echo(_secured(running, config), nl=False)


def _secured(running: "Broker", config: Config) -> str:
    """Return how clients come in at a secured broker, as whole lines; nothing for an open one."""
    from wcsup import broker
    from wcsup.broker.security import ADMIN

    if (security := running.security) is None:
        return ""
    if config.app_id not in security.users:
        return f"{broker.locked_out(config)}\n"
    named = f" --app-id {config.app_id}" if config.app_id != Config().app_id else ""
    prefixed = f" --topic-prefix {config.topic_prefix}" if config.topic_prefix else ""
    file = shlex.quote(str(security.client_file(config.app_id)))
    return (
        f"It is secured, and takes logins by {', '.join(security.mechanisms)}, or certificates. To count there:\n"
        f"  wcsup run{named}{prefixed} --kafka-config {file}\n"
        f"With a certificate: {security.client_file(config.app_id, certificate=True)}\n"
        f"With all rights: {security.client_file(ADMIN)}\n"
    )


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
                "secured": found is not None and found.security is not None,
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
        if found.security is not None:
            click.echo(f"secured; the settings of its users are in {found.data / 'users'}")
    whole = found is not None and all(node.pid for node in found.nodes)
    return ExitStatus.DONE if whole else ExitStatus.CHECK_FAILED


for _command in (start, stop, status):
    command.add_command(_command)
