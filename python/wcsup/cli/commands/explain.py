"""`wcsup explain`: why a total is what it is."""

from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.show import print_json
from wcsup.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wcsup.audit.explain import Explanation, Given


@define(
    "explain",
    section=Section.LOOK,
    offered=(*SHARED, "words"),
    example="""
    wcsup explain whale            the last commits that changed its total
    wcsup explain whale -n 1 --json
    """,
)
@click.argument("word")
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="How many commits."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(config: Config, word: str, limit: int, as_json: bool) -> None:
    """Show the last commits that changed the total of WORD, and which records of words each of them counted.

    It reads what Kafka still has. Of counts, which is compacted, older totals may be gone; of words, the records of the
    last half minute are there. A record of words is what a mapper found in the lines of one commit: its partition and
    offset, how often the word was in them, and the time of the oldest of these lines.
    """
    from wcsup.audit.explain import explain
    from wcsup.observe.totals import one_word

    key = one_word(config, word)
    quiet_clients()
    found = explain(connect(config, start=False), key, limit)
    if as_json:
        print_json(found.to_json())
    else:
        click.echo("\n".join(_text(found)))


def _text(found: "Explanation") -> "Iterator[str]":
    from wcsup.observe.figures import columns

    yield f"{found.word}: {found.total:,} in all, in partition {found.partition} of counts"
    rows: list[tuple[object, ...]] = [("committed at", "offset", "total", "change", "records of words that it counted")]
    for change in found.changes:
        by = "" if change.change is None else f"{change.change:+,}"
        records = "gone" if change.records is None else ", ".join(map(_record, change.records))
        rows.append((change.committed_at, change.offset, change.total, by, records))
    if found.changes:
        yield columns(rows, "<>>><")
    if found.waiting:
        yield f"not counted yet: {', '.join(map(_record, found.waiting))}"


def _record(given: "Given") -> str:
    lines = "" if given.line_time is None else f", lines from {given.line_time}"
    return f"partition {given.partition} offset {given.offset} ({given.count:+,}{lines})"
