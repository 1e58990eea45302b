"""`wcsup events`: what happened in a run, and why."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from wcsup.cli.command import Section, define
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.process.printable import printable, printable_json

if TYPE_CHECKING:
    from wcsup.supervisor.events import RunEvent

_LOOK_SECONDS = 0.2


@define(
    "events",
    section=Section.STEER,
    example="""
    wcsup events                   the last 20
    wcsup events -n 1000 --json    for another program
    wcsup events --follow          as they happen, until Ctrl-C
    """,
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="How many of the last.",
)
@click.option("--follow", is_flag=True, help="Then show further ones as they happen, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help='Print {"time": …, "slot": …, "event": …, "reason": …} for each.')
def command(config: Config, limit: int, follow: bool, as_json: bool) -> None:
    """Show what happened in the wcsup run of this state directory: starts, deaths, hand-overs, and why.

    Events are kept when the run has ended, some thousands of them.
    """
    from wcsup.supervisor.events import EventsReader

    reader = EventsReader(config.state)
    found = reader.read()
    if not found and not follow:
        raise ConfigurationError(f"no wcsup run has left events in {config.state}; start one with wcsup run")
    _print(found[-limit:] if limit else [], as_json)
    try:
        while follow:
            time.sleep(_LOOK_SECONDS)
            _print(reader.read(), as_json)
    except KeyboardInterrupt:
        return  # Ctrl-C is the way to end it


def _print(events: "Iterable[RunEvent]", as_json: bool) -> None:
    for event in events:
        text = f"{event.time}  {event.slot or 'run':12}  {event.event:12}  {event.reason}"
        click.echo(printable_json(event.line()) if as_json else printable(text))
