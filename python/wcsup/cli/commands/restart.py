"""`wcsup restart`: replace running worker processes by new ones."""

import time
from typing import TYPE_CHECKING, Any

import click

from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.cli.steer import ask, ask_and_wait, complete_slot, slots
from wcsup.config import Config

if TYPE_CHECKING:
    from wcsup.audit.pauses import Pauses

_LOOK_SECONDS = 0.05


@define(
    "restart",
    section=Section.STEER,
    example="""
    wcsup restart map-0
    wcsup restart all --wait       one after another, so that counting goes on
    wcsup restart all --measure    after an upgrade: also how long each worker was away
    """,
)
@click.argument("slot", metavar="SLOT|all", shell_complete=complete_slot)
@click.option("--wait", is_flag=True, help="Return when the new ones are at work.")
@click.option("--measure", is_flag=True, help="Wait, and show how long each worker was away.")
@click.option("--json", "as_json", is_flag=True, help="With --measure: print one JSON object.")
def command(config: Config, slot: str, wait: bool, measure: bool, as_json: bool) -> None:
    """Restart a worker of the running wcsup run, or all of them one after another.

    SLOT is a name that wcsup status shows. The worker commits its batch before it ends. The new process runs the wcsup
    that is installed now: so an upgrade without a stop is an installation and a restart of all.
    """
    if not measure:
        click.echo(slots((ask_and_wait if wait else ask)(config, "restart", slot=slot)))
        return
    pauses = _measure(config, slot)
    if as_json:
        print_json(pauses.to_json())
    else:
        click.echo(pauses.text())


def _measure(config: Config, slot: str) -> "Pauses":
    """Restart, and look at the workers until each of them is at work again."""
    from wcsup.audit.pauses import Pauses

    def workers() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(config, "status")["workers"]
        return found

    before = workers()
    pauses = Pauses([worker for worker in before if slot in {"all", worker["slot"]}], time.monotonic())
    ask(config, "restart", slot=slot)
    while not pauses.over:
        time.sleep(_LOOK_SECONDS)
        pauses.look(workers(), time.monotonic())
    return pauses
