"""`wcsup backup`: write all totals to a directory."""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from wcsup.cli.auditbar import AuditBar
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.steer import refuse_running
from wcsup.config import Config
from wcsup.errors import ConfigurationError


@define(
    "backup",
    section=Section.AROUND,
    offered=(*SHARED, "session_timeout"),
    example="wcsup backup /backups/monday",
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def command(config: Config, directory: Path) -> None:
    """Write all totals to a new directory, with the offsets of the lines that they count.

    No worker may run meanwhile: end them first with wcsup drain --leave --wait, on each host. Words that are mapped and
    not reduced are in the totals, too. Lines that are not mapped yet are not in them: lines are yours to keep. A backup
    that is interrupted leaves no half one; start it again.
    """
    from wcsup.kafka import application, clients, groups, moving, topics
    from wcsup.moving import backup
    from wcsup.moving.cut import Cut

    quiet_clients()
    refuse_running(config)
    config = connect(config, start=False)
    admin = clients.admin(config)
    moving.refuse(config, admin)
    owner = application.owner(config, admin)
    if owner is None:
        raise ConfigurationError("nothing was counted yet: there is nothing to back up")
    owner.refuse_others(config)
    config = replace(config, partitions=owner.partitions)
    groups.await_no_members(admin, config, partial(click.echo, err=True))
    began = time.monotonic()
    with AuditBar() as bar:
        manifest = backup.write(
            Cut(config, admin, bar.show),
            directory,
            app_id=config.app_id,
            topic_prefix=config.topic_prefix,
            partitions=config.partitions,
            cluster=topics.identity(admin, config).cluster,
        )
    click.echo(
        f"{directory}: {manifest.distinct:,} words, {manifest.total:,} in total, {manifest.bytes / 1e6:,.1f} MB, in "
        f"{time.monotonic() - began:.1f} s"
    )
