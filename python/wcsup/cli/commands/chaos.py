"""`wcsup chaos`: break things on purpose, then see whether the counts are right."""

import json
import secrets
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from wcsup.cli.auditbar import AuditBar
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED, Positive
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ExitStatus

if TYPE_CHECKING:
    from wcsup.audit.recovery import Event

IDLE_SECONDS = 30.0
"""How long to wait until all is counted. If input goes on after that, totals are checked against bounds."""


@define(
    "chaos",
    section=Section.STEER,
    offered=(*SHARED, "session_timeout"),
    example="""
    wcsup chaos --minutes 5
    wcsup chaos --seed 7           the same trouble as another time
    """,
)
@click.option(
    "--minutes", type=Positive(), default=1.0, show_default=True, metavar="M", help="How long to make trouble."
)
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Choose the same trouble as another time.")
def command(config: Config, minutes: float, seed: int | None) -> ExitStatus:
    """Kill, stop, fence and restart workers of the running wcsup run at random, then verify the counts.

    Write lines meanwhile, such as with wcsup gen --demo --rate 1000. Each harm is shown with its result and the time
    until the slot worked again. Only workers are harmed, and only those of the wcsup run of this state directory. At
    the end, or after Ctrl-C, all harm is undone.

    The exit status is that of wcsup verify; it is also 1 if a worker did not come back.
    """
    from wcsup.audit.chaos import ACTIONS, Chaos, await_idle
    from wcsup.audit.verify import verify
    from wcsup.kafka import clients

    quiet_clients()
    ask(config, "status")  # fails first if no wcsup run is there
    config = connect(config, start=False)
    about = json.loads((config.state / "application.json").read_text())
    listed = clients.admin(config).list_topics(timeout=clients.REACH_SECONDS).topics
    partitions = len(listed[config.topic("lines")].partitions)
    config = replace(config, words=about["words"], partitions=partitions)
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    click.echo(f"making trouble for {minutes:g} minutes, seed {seed}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM is handled like Ctrl-C
    outcome = Chaos(config, seed, _say).run(60 * minutes)
    click.echo(outcome.summary(ACTIONS))
    if not await_idle(config, IDLE_SECONDS):
        click.echo("input goes on, so totals are compared with bounds")
    with AuditBar() as bar:
        verdict = verify(config, on_progress=bar.show)
    click.echo(verdict.text())
    return ExitStatus.DONE if verdict.holds and outcome.survived else ExitStatus.CHECK_FAILED


def _say(event: "Event") -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {event.action:8} {event.slot:10} {event.what}")
