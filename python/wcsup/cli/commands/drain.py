"""`wcsup drain`: end a run in good order."""

import click

from wcsup.cli.command import Section, define
from wcsup.cli.steer import ask, slots
from wcsup.config import Config


@define(
    "drain",
    section=Section.STEER,
    example="wcsup drain --wait",
)
@click.option("--wait", is_flag=True, help="Return when every worker has ended.")
def command(config: Config, wait: bool) -> None:
    """End the running wcsup run: first the mappers commit their batches and end, then the reducers.

    Lines that are not counted stay in Kafka; the next wcsup run goes on with them.
    """
    result = ask(config, "drain", wait=wait)
    click.echo(f"drained: {slots(result)}" if wait else f"draining: {slots(result)}")
