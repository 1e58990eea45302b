"""`wcsup del`: delete an application's topics, groups and local state."""

import shutil
from functools import partial
from pathlib import Path

import click

from wcsup.cli.cluster import connect, embedded_has_data, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ConfigurationError

STATE_NAMES = (
    "stores",
    "slots",
    "application.json",
    "control.sock",
    "events.jsonl",
    "events.1.jsonl",
    "supervisor.lock",
)
"""The files that wcsup makes in a state directory. No other file is deleted, whatever directory --state-dir names."""


@define(
    "del",
    section=Section.AROUND,
    offered=(*SHARED, "session_timeout"),
    example="""
    wcsup del
    wcsup del --app-id books --topic-prefix books- --bootstrap-servers kafka:9092
    """,
)
@click.option(
    "--force", is_flag=True, help="Stop a wcsup run that uses this state directory, and delete while others run."
)
def command(config: Config, force: bool) -> None:
    """Delete the application: its topics with all lines and counts, its consumer groups, its local state.

    Things that do not exist are no error. The command is refused while workers run: stop them first.
    """
    quiet_clients()
    _stop_supervisor(config, force)
    deleted = []
    if config.bootstrap_servers is not None or embedded_has_data(config):
        deleted += _delete_from_kafka(connect(config), force)
    deleted += _delete_state(config.state)
    for what in deleted:
        click.echo(f"deleted {what}")
    if not deleted:
        click.echo("nothing was there to delete")


def _stop_supervisor(config: Config, force: bool) -> None:
    """Make sure that no supervisor uses the state directory."""
    try:
        pid = ask(config, "status")["pid"]
    except ConfigurationError:
        return  # none runs
    if not force:
        raise ConfigurationError(
            f"wcsup run (pid {pid}) uses {config.state}: stop it first (wcsup drain --wait), or use --force"
        )
    click.echo(f"stopping wcsup run (pid {pid})", err=True)
    ask(config, "drain", wait=True)


def _delete_from_kafka(config: Config, force: bool) -> list[str]:
    from wcsup.kafka import application, clients, groups, refusals, rights, topics
    from wcsup.kafka.refusals import About
    from wcsup.kafka.rights import Right

    admin = clients.admin(config)
    positions = config.topic("positions")
    with refusals.told(config, About(positions, rights=[Right("topic", positions, "READ")])):
        owner = application.owner(config, admin)
    if owner is not None:
        owner.refuse_others(config)
    # Asked before anything is deleted: topics without their groups would be half an application.
    if lacking := [*rights.lacking(admin, rights.to_delete(config)), *groups.lacking(admin, config)]:
        raise refusals.forbidden(config, lacking)
    if not force:
        groups.await_no_members(admin, config, partial(click.echo, err=True), "or use --force")
    deleted = [f"topic {name}" for name in topics.delete(admin, config)]
    if force:
        # Workers end when their topics are gone; their group membership ends when the session times out.
        groups.await_no_members(admin, config, partial(click.echo, err=True), "or use --force")
    return deleted + [f"consumer group {name}" for name in groups.delete(admin, config)]


def _delete_state(state: Path) -> list[str]:
    """Delete local state, unless a supervisor is starting there right now."""
    from wcsup.supervisor.lock import locked

    if not any((state / name).exists() for name in STATE_NAMES):
        return []
    try:
        with locked(state):
            for name in STATE_NAMES:
                path = state / name
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        if not any(state.iterdir()):
            state.rmdir()
    except OSError as error:
        raise ConfigurationError(f"{state} can't be deleted: {error.strerror}") from error
    return [f"local state {state}"]
