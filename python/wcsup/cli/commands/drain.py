"""`wcsup drain`: end a run in good order."""

import click

from wcsup.cli.command import Section, define
from wcsup.cli.steer import ask, ask_and_wait, slots
from wcsup.config import Config


@define(
    "drain",
    section=Section.STEER,
    example="""
    wcsup drain --wait
    wcsup drain --leave --wait                     this host will not come back
    """,
)
@click.option("--wait", is_flag=True, help="Return when every worker has ended.")
@click.option(
    "--leave",
    is_flag=True,
    help="Hand the partitions to other hosts at once; else they are this host's until --session-timeout is over.",
)
def command(config: Config, wait: bool, leave: bool) -> None:
    """End the running wcsup run: mappers finish and commit what they have, then the reducers do.

    Lines that are not counted stay in Kafka; the next wcsup run goes on with them.
    """
    result = (ask_and_wait if wait else ask)(config, "drain", leave=leave)
    click.echo(f"drained: {slots(result)}" if wait else f"draining: {slots(result)}")
