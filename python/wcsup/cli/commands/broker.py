"""`wcsup broker`: the embedded Kafka on its own."""

import time

import click

from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus

OFFERED = ("data_dir",)


class BrokerGroup(click.Group):
    """The commands of the embedded broker."""

    section = Section.AROUND


command = BrokerGroup(
    "broker",
    help="""Start, stop or look at the embedded Kafka.

    Commands that are given no --bootstrap-servers use it and start it when they need it: a real Apache Kafka,
    one node, reachable from this machine alone. It goes on running after them.""",
    short_help="Start, stop or look at the embedded Kafka.",
)


@define(
    "start",
    offered=OFFERED,
    example="""
    wcsup broker start
    wcsup broker start --port 9092 --data-dir /var/lib/wcsup
    KAFKA_OPTS=-XX:TieredStopAtLevel=4 wcsup broker start --heap 2g
    """,
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Port on 127.0.0.1 [default: the last one, or a free one].",
)
@click.option("--heap", default="512m", show_default=True, metavar="SIZE", help="Memory for Java's heap.")
def start(config: Config, port: int | None, heap: str) -> None:
    """Start the embedded Kafka and return when it serves.

    At the first start its files (45 MB) are fetched from Maven Central. If it runs already, its address is printed.
    KAFKA_OPTS may have further options for Java; the option in the example is for a broker with a long-lasting load.
    """
    from wcsup import broker

    running = broker.start(config.data, port=port, heap=heap)
    click.echo(f"Apache Kafka {running.version} serves at {running.bootstrap} (pid {running.pid})")


@define("stop", offered=OFFERED, example="wcsup broker stop")
def stop(config: Config) -> None:
    """Stop the embedded Kafka; its data stays."""
    from wcsup import broker

    stopped = broker.stop(config.data)
    click.echo("stopped" if stopped else f"no broker runs in {config.data}")


@define("status", offered=OFFERED, example="wcsup broker status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(config: Config, as_json: bool) -> ExitStatus:
    """Say whether the embedded Kafka runs and where; exit status 1 if it does not."""
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
            }
        )
    elif found is None:
        click.echo(f"no broker runs in {config.data}")
    else:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.started))
        click.echo(
            f"Apache Kafka {found.version} serves at {found.bootstrap} (pid {found.pid}) since {since}\n"
            f"data {found.data}, log {found.log}"
        )
    return ExitStatus.DONE if found else ExitStatus.CHECK_FAILED


for _command in (start, stop, status):
    command.add_command(_command)
