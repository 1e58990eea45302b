"""`wcsup restore`: make an application of a backup."""

from functools import partial
from pathlib import Path

import click

from wcsup.cli.auditbar import AuditBar
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import TOPICS
from wcsup.cli.steer import refuse_running
from wcsup.config import Config


@define(
    "restore",
    section=Section.AROUND,
    offered=(*TOPICS, "session_timeout"),
    example="""
    wcsup restore /backups/monday --bootstrap-servers new-kafka:9092
    wcsup restore /backups/monday --instead    go back to what was counted then
    """,
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--instead", is_flag=True, help="Replace the totals of an application that exists.")
def command(config: Config, directory: Path, instead: bool) -> None:
    """Make an application with the totals of a backup, in a cluster that does not have it.

    The backup is checked before anything is written. The number of partitions may differ from the backup's. If topic
    lines is the one that the backup counts, counting goes on where it stopped. Otherwise all lines in the topic are
    counted from its start, on top of the totals: lines that the backup does not count have to be written to it.

    A restore that is interrupted goes on when it is run again; wcsup run refuses to count before that.
    """
    from wcsup.moving.backup import Backup
    from wcsup.moving.restore import restore

    quiet_clients()
    backup = Backup(directory)
    refuse_running(config)
    config = connect(config)
    with AuditBar() as bar:
        done = restore(config, backup, instead=instead, on_wait=partial(click.echo, err=True), on_progress=bar.show)
    manifest = backup.manifest
    click.echo(
        f"restored in {done.seconds:.1f} s: {manifest.distinct:,} words, {manifest.total:,} in total, in "
        f"{done.partitions} partitions"
    )
    lines = config.topic("lines")
    if done.resumes:
        click.echo(f"topic {lines} is the one that was counted: counting goes on there, with {done.waiting:,} lines")
    else:
        click.echo(
            f"topic {lines} is another one than the backup counts: all of it is counted, {done.waiting:,} lines now. "
            f"Lines that the backup does not count have to be written to it; {directory / 'manifest.json'} says from "
            "which offsets on"
        )
    click.echo(f"go on with wcsup run --words {manifest.words} --partitions {done.partitions}")
