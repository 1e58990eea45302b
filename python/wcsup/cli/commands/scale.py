"""`wcsup scale`: change the number of workers."""

import click

from wcsup.cli.command import Section, define
from wcsup.cli.steer import ask, ask_and_wait, slots
from wcsup.config import Config
from wcsup.errors import UsageError

COUNT = click.IntRange(min=0)


@define(
    "scale",
    section=Section.STEER,
    example="""
    wcsup scale --mappers 6
    wcsup scale --mappers 2 --reducers 4 --wait
    """,
)
@click.option("--mappers", type=COUNT, metavar="N", help="How many mappers there are to be.")
@click.option("--reducers", type=COUNT, metavar="N", help="How many reducers there are to be.")
@click.option("--wait", is_flag=True, help="Return when they are at work.")
def command(config: Config, mappers: int | None, reducers: int | None, wait: bool) -> None:
    """Change how many workers the running wcsup run has: at most one mapper and one reducer for each partition.

    New ones take over partitions of the others; those that are too many finish what they have, commit it and leave
    their partitions to the rest, on this host and on others: it may have none of a kind.
    """
    if mappers is None and reducers is None:
        raise UsageError("say how many: --mappers N, --reducers N or both")
    click.echo(slots((ask_and_wait if wait else ask)(config, "scale", mappers=mappers, reducers=reducers)))
