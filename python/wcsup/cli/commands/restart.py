"""`wcsup restart`: replace running worker processes by new ones."""

import click

from wcsup.cli.command import Section, define
from wcsup.cli.steer import ask, slots
from wcsup.config import Config


@define(
    "restart",
    section=Section.STEER,
    example="""
    wcsup restart map-0
    wcsup restart all --wait       one after another, so that counting goes on
    """,
)
@click.argument("slot", metavar="SLOT|all")
@click.option("--wait", is_flag=True, help="Return when the new ones are at work.")
def command(config: Config, slot: str, wait: bool) -> None:
    """Restart a worker of the running wcsup run, or all of them one after another.

    SLOT is a name that wcsup status shows. The worker commits its batch before it ends.
    """
    click.echo(slots(ask(config, "restart", wait=wait, slot=slot)))
