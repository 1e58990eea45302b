"""`wcsup del`: delete an application's topics, groups and local state."""

import shutil
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import click

from wcsup.cli.cluster import connect, embedded_has_data, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus

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
    "--force",
    is_flag=True,
    help="Stop a wcsup run that uses this state directory, and delete while others run. Nothing is asked then.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Without a terminal, nothing is asked either.")
def command(config: Config, force: bool, yes: bool) -> ExitStatus:
    """Delete the application: its topics with all lines and counts, its consumer groups, its local state.

    On a terminal the command shows what it is going to delete, and asks. Things that do not exist are no error. The
    command is refused while workers run: stop them first.
    """
    quiet_clients()
    asks = sys.stdin.isatty() and sys.stderr.isatty() and not (force or yes)
    _stop_supervisor(config, force)
    in_kafka = config.bootstrap_servers is not None or embedded_has_data(config)
    if in_kafka:
        config = connect(config)
        _refuse_what_is_not_ours(config)
    if asks and not _agreed(config, in_kafka):
        click.echo("nothing was deleted", err=True)
        return ExitStatus.CHECK_FAILED
    deleted = [*(_delete_from_kafka(config, force) if in_kafka else []), *_delete_state(config.state)]
    for what in deleted:
        click.echo(f"deleted {what}")
    if not deleted:
        click.echo("nothing was there to delete")
    return ExitStatus.DONE


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


def _refuse_what_is_not_ours(config: Config) -> None:
    """Raise `ConfigurationError` where the topics are another application's, or may not be deleted by this user.

    This is asked before anything is deleted: topics without their groups would be half an application.
    """
    from wcsup.kafka import application, clients, groups, refusals, rights
    from wcsup.kafka.refusals import About
    from wcsup.kafka.rights import Right

    admin = clients.admin(config)
    positions = config.topic("positions")
    with refusals.told(config, About(positions, rights=[Right("topic", positions, "READ")])):
        owner = application.owner(config, admin)
    if owner is not None:
        owner.refuse_others(config)
    if lacking := [*rights.lacking(admin, rights.to_delete(config)), *groups.lacking(admin, config)]:
        raise refusals.forbidden(config, lacking)


def _agreed(config: Config, in_kafka: bool) -> bool:
    """Show what is going to be deleted, and return whether the user agrees; true where nothing is there."""
    from wcsup.kafka import clients, topics
    from wcsup.observe.figures import columns

    spans = topics.spans(clients.admin(config), config) if in_kafka else {}
    sizes = _sizes(config, list(spans))
    rows = [(f"topic {name}", f"{span:,} records", sizes.get(name, "size unknown")) for name, span in spans.items()]
    if spans:
        rows += [(f"consumer group {group}", "", "") for group in (config.map_group, config.reduce_group)]
    if _has_state(config.state):
        rows.append((f"local state {config.state}", "", ""))
    if not rows:
        return True
    click.echo(columns(rows, "<>>"), err=True)
    return click.confirm(f"delete all of application {config.app_id}?", err=True)


def _sizes(config: Config, names: list[str]) -> dict[str, str]:
    """Return what each topic takes on the brokers' disks, for a reader; nothing where that can't be known."""
    from confluent_kafka import KafkaException

    from wcsup.kafka.requests import Brokers
    from wcsup.observe.figures import size

    try:
        with closing(Brokers(config)) as brokers:
            found = brokers.sizes(names)
    except KafkaException:  # a login that only librdkafka supports, a broker that is gone
        return {}
    return {name: size(count) for name, count in (found or {}).items()}


def _delete_from_kafka(config: Config, force: bool) -> list[str]:
    from wcsup.kafka import clients, groups, topics

    admin = clients.admin(config)
    if not force:
        groups.await_no_members(admin, config, partial(click.echo, err=True), "or use --force")
    deleted = [f"topic {name}" for name in topics.delete(admin, config)]
    if force:
        # Workers end when their topics are gone; their group membership ends when the session times out.
        groups.await_no_members(admin, config, partial(click.echo, err=True), "or use --force")
    return deleted + [f"consumer group {name}" for name in groups.delete(admin, config)]


def _has_state(state: Path) -> bool:
    return any((state / name).exists() for name in STATE_NAMES)


def _delete_state(state: Path) -> list[str]:
    """Delete local state, unless a supervisor is starting there right now."""
    from wcsup.supervisor.lock import locked

    if not _has_state(state):
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
