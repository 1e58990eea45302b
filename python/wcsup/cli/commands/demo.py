"""`wcsup demo`: a demonstration on a Kafka of its own."""

import click

from wcsup.cli.command import Section, define
from wcsup.config import Config


@define(
    "demo",
    section=Section.AROUND,
    offered=(),
    example="""
    wcsup demo
    """,
)
@click.option("--plain", is_flag=True, help="No full screen on a terminal: a line for each thing that happens.")
def command(config: Config, plain: bool) -> int:  # noqa: ARG001 - every command gets it
    """Watch a real text being counted on a real Kafka while processes die, and see that every count is right.

    Five acts are told on the live view of a run: map and reduce, a worker that is added, one that is killed, two of one
    name, and an independent recount that compares every word. Keys act on the run as always.

    It takes a minute and a half on a terminal, once Kafka's jars are fetched. Elsewhere it prints lines and does not
    wait for readers. It leaves nothing behind: Kafka, topics and state are in a temporary directory. It needs the extra
    wcsup[broker].
    """
    from wcsup.demo.main import main

    return main(plain=plain)
