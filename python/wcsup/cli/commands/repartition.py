"""`wcsup repartition`: take an application to more partitions."""

from functools import partial

import click

from wcsup.cli.auditbar import AuditBar
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.steer import refuse_running
from wcsup.config import Config


@define(
    "repartition",
    section=Section.AROUND,
    offered=(*SHARED, "replication", "session_timeout"),
    example="wcsup repartition 24",
)
@click.argument("number", metavar="N", type=click.IntRange(min=1))
def command(config: Config, number: int) -> None:
    """Give an application's topics N partitions, more than they have. Totals stay, and no line is lost.

    No worker may run meanwhile: end them first with wcsup drain --leave --wait, on each host. Lines can be written on.
    Later runs have --partitions N. The topics of words and totals are made anew: other programs
    that read counts have to read it from its start. wcsup prints how long counting had to rest.

    Interrupted at whatever moment, it goes on when it is run again, on any host; wcsup run refuses to count before
    that. As long as not all totals were copied, wcsup repartition with the present number gives it up.
    """
    from wcsup.moving.repartition import repartition

    quiet_clients()
    refuse_running(config)
    config = connect(config, start=False)
    with AuditBar() as bar:
        moved = repartition(config, number, partial(click.echo, err=True), bar.show)
    if moved is None:
        click.echo(f"application {config.app_id} has {number} partitions")
        return
    click.echo(
        f"application {config.app_id} has {moved.partitions} partitions now: {moved.distinct:,} words, {moved.total:,} "
        f"in total; counting had to rest for {moved.seconds:.1f} s"
    )
    click.echo(f"go on with wcsup run --partitions {moved.partitions}")
