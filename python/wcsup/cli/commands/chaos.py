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
from wcsup.errors import ExitStatus, UsageError

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
    wcsup chaos --late-commit      what a late commit does to other programs
    """,
)
@click.option("--minutes", type=Positive(), metavar="M", help="How long to make trouble [default: 1].")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Choose the same trouble as another time.")
@click.option(
    "--late-commit",
    is_flag=True,
    help="Harm no run. Have a commit request arrive late, on topics made for it: show what a loop of the textbooks "
    "then writes, and that wcsup stays exact.",
)
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="Rounds of --late-commit [default: 4].")
def command(
    config: Config, minutes: float | None, seed: int | None, late_commit: bool, rounds: int | None
) -> ExitStatus:
    """Kill, stop, fence and restart workers of the running wcsup run at random, then verify the counts.

    Write lines meanwhile, such as with wcsup gen --demo --rate 1000. Each harm is shown with its result and the time
    until the slot worked again. Only workers are harmed, and only those of the wcsup run of this state directory. At
    the end, or after Ctrl-C, all harm is undone.

    The exit status is that of wcsup verify; it is also 1 if a worker did not come back.

    With --late-commit no wcsup run is needed, and none is touched. A proxy before a Kafka on this machine, the embedded
    one by default, holds the request back. Exit status 1 if wcsup was not exact.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM is handled like Ctrl-C
    if late_commit:
        if minutes is not None or seed is not None:
            raise UsageError("--minutes and --seed are for trouble by chance: leave them or --late-commit out")
        return _show_late_commit(config, rounds)
    if rounds is not None:
        raise UsageError("--rounds are those of --late-commit: name it, too, or leave them out")
    return _make_trouble(config, 1.0 if minutes is None else minutes, seed)


def _make_trouble(config: Config, minutes: float, seed: int | None) -> ExitStatus:
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


def _show_late_commit(config: Config, rounds: int | None) -> ExitStatus:
    from wcsup.audit.latecommit import ROUNDS, LateCommit
    from wcsup.broker import pinned
    from wcsup.kafka import libraries

    quiet_clients()
    kafka = "Kafka" if config.bootstrap_servers else f"Apache Kafka {pinned.KAFKA_VERSION}"
    config = connect(config)
    click.echo(f"librdkafka {libraries.librdkafka()}, {kafka} at {config.bootstrap_servers}")
    report = LateCommit(config, click.echo).run(rounds or ROUNDS)
    click.echo(report.text())
    return ExitStatus.CHECK_FAILED if report.wcsup_wrong else ExitStatus.DONE
