"""`wcsup top`: the most frequent words."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json, totals_json
from wcsup.config import Config
from wcsup.errors import UsageError

if TYPE_CHECKING:
    from wcsup.observe.changes import Ranked
    from wcsup.observe.totals import Top, Total

WATCH_SECONDS = 1.0


@define(
    "top",
    section=Section.LOOK,
    example="""
    wcsup top                      the 20 most frequent words
    wcsup top -n 1000 --json       the first thousand, for another program
    wcsup top --watch              the first 20 as they change, and how fast
    """,
)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many words."
)
@click.option("--watch", is_flag=True, help="Show them as they change, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help='Print [{"word": …, "count": …}, …].')
def command(config: Config, limit: int, watch: bool, as_json: bool) -> None:
    """Show the most frequent words with their totals.

    The highest total comes first; words with equal totals are in alphabetical order. The totals are committed ones,
    and at most a second old. With --watch each word has by how much its total rises in a second, and how its place
    changed in the last ten. More than 100 words take longer, since all counts are read for them.
    """
    from wcsup.observe.totals import KEPT_WORDS, Top

    if watch and limit > KEPT_WORDS:
        raise UsageError(f"--watch shows {KEPT_WORDS} words at most")
    quiet_clients()
    with closing(Top(connect(config, start=False), limit)) as top:
        if watch:
            _watch(top, as_json)
        elif as_json:
            print_json(totals_json(top.words()))
        else:
            click.echo(_table(top.words()))


def _table(words: "Sequence[Total]") -> str:
    from wcsup.observe.figures import columns

    return columns([(rank, word, total) for rank, (word, total) in enumerate(words, 1)], "><>")


def _changes(words: "Sequence[Ranked]") -> str:
    from wcsup.observe.figures import columns

    rows = [
        (one.rank, one.word, one.total, "" if one.rate is None else f"+{one.rate:,.0f}/s", one.change) for one in words
    ]
    return columns(rows, "><>><")


def _watch(top: "Top", as_json: bool) -> None:
    """Show the words whenever they have changed, once a second at most: in place on a terminal."""
    from wcsup.observe.changes import Changes

    shown: object = None
    due = 0.0
    changes = Changes()
    in_place = sys.stdout.isatty() and not as_json
    try:
        while True:
            top.refresh()
            now = time.monotonic()
            if now < due:
                continue
            due = now + WATCH_SECONDS
            words = top.words()
            changed = changes.take(now, words)
            if (words if as_json else changed) == shown:
                continue
            shown = words if as_json else changed
            if in_place:
                click.clear()
            if as_json:
                print_json(totals_json(words))
            else:
                click.echo(_changes(changed))
    except KeyboardInterrupt:
        return  # Ctrl-C is the way to end it
