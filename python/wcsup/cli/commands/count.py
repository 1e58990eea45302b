"""`wcsup count`: the total of a word."""

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import SHARED
from wcsup.cli.show import print_json
from wcsup.config import Config


@define(
    "count",
    section=Section.LOOK,
    offered=(*SHARED, "words"),
    example="""
    wcsup count whale              how often the word was there
    wcsup count sea Ship --json    several words; upper and lower case are the same
    """,
)
@click.argument("word", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help='Print [{"word": …, "count": …}, …].')
def command(config: Config, word: tuple[str, ...], as_json: bool) -> None:
    """Show the total of each WORD; 0 for a word that was never counted.

    The totals are those that were committed before the call. A reducer that runs on this host tells it at once, and one
    of another host does where that host has --http at an address that this one reaches. For all other words counts are
    read, which takes a second for each million words of a partition. While a reducer opens its store, it counts nothing
    more of its words: that is said.
    """
    from wcsup.observe.figures import columns
    from wcsup.observe.totals import counted_as, fold
    from wcsup.observe.words import look_up

    quiet_clients()
    keys = []
    for text in word:
        key, parts = fold(config, text)
        keys.append(key)
        if len(parts) != 1:
            click.echo(f"wcsup: {text!r} is not one word; lines have it counted as {counted_as(parts)}", err=True)
    found = look_up(connect(config, start=False), keys)
    for one in found:
        if one.behind:
            click.echo(f"wcsup: {one.word!r} is behind: {one.owner} is opening its store", err=True)
    if as_json:
        print_json(
            [{"word": one.word, "count": one.count, **({"behind": True} if one.behind else {})} for one in found]
        )
    else:
        click.echo(columns([(one.word, one.count) for one in found], "<>"))
