"""`wcsup positions`: the recorded positions of counting, beside the offsets of the groups."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus

if TYPE_CHECKING:
    from wcsup.audit.positions import Accepted, Place


@define(
    "positions",
    section=Section.LOOK,
    offered=(*SHARED, "words"),
    example="""
    wcsup positions                      where counting goes on, and whether workers refuse to
    wcsup positions --accept recorded    undo what somebody did to the offsets of the groups
    wcsup positions --accept group       go on at offsets that were set on purpose
    """,
)
@click.option(
    "--accept",
    type=click.Choice(["recorded", "group"]),
    help="Where the offsets differ, resume at the recorded one or at the group's.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each partition, in a list.")
def command(config: Config, accept: "Accepted | None", as_json: bool) -> ExitStatus:
    """Show up to which offset each partition is counted, and the offset of its consumer group.

    Both offsets are committed in one transaction, so they differ only if somebody set the group's offset
    (kafka-consumer-groups.sh --reset-offsets). Workers refuse to resume there: lines would be counted twice or not at
    all. --accept chooses one of the two offsets, while no worker runs. With --accept group, lines that are counted
    already are counted again if the group's offset is lower, and lines are skipped if it is higher.

    If Kafka has deleted the group's offset, because no worker ran for offsets.retention.minutes, counting resumes at
    the recorded offset by itself. Exit status 1 if any offsets differ.
    """
    from wcsup.audit.positions import Positions

    quiet_clients()
    found = Positions(connect(config, start=False))
    if accept is not None:
        changed = found.accept(accept)
        click.echo(f"{len(changed)} partitions go on at the offset that is accepted", err=True)
    places = found.places()
    if as_json:
        print_json([asdict(place) for place in places])
    else:
        click.echo(_table(places))
    return ExitStatus.CHECK_FAILED if any(place.differs for place in places) else ExitStatus.DONE


def _table(places: "list[Place]") -> str:
    from wcsup.observe.figures import columns

    rows: list[tuple[object, ...]] = [("topic", "partition", "counted to", "group at", "")]
    for place in places:
        recorded = "" if place.recorded is None else place.recorded
        group = "" if place.group is None else place.group
        rows.append((place.topic, place.partition, recorded, group, place.note))
    return columns(rows, "<>>><")
