"""`wcsup verify`: recount in plain Python, and compare."""

import click

from wcsup.cli.auditbar import AuditBar
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus


@define(
    "verify",
    section=Section.LOOK,
    example="""
    wcsup verify                   whether all totals are right, and which are not
    wcsup verify --history         each transaction as well, as far as Kafka still has it
    wcsup verify --json            for another program
    """,
)
@click.option(
    "--most",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    metavar="N",
    help="Show N disagreements at most.",
)
@click.option("--history", is_flag=True, help="Look at the history of transactions, too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(config: Config, most: int, history: bool, as_json: bool) -> ExitStatus:
    """Recount the committed lines in plain Python and compare with the counts, word by word.

    Stores of this machine that no worker has open are compared with the counts. The command changes nothing, and the
    application may go on: then each total is proven to be at least what was mapped and reduced before, and at most
    what is mapped by the end. If nothing moves, totals are proven to be exact.

    With --history, the logs of all transactions that Kafka still has are looked at for aborted reads, lost writes,
    duplicates, offsets that go back or differ, totals that fall, write cycles and transactions that never end. Each is
    named with its transaction. The result says how much of the history was there.

    Exit status 0 if nothing disagrees; 1 if something does, or if it can't be decided because lines are deleted. In
    --json `exact` is true if every total was proven to be exact, and `holds` if the status is 0.
    """
    from wcsup.audit.verify import verify

    quiet_clients()
    config = connect(config, start=False)
    with AuditBar() as bar:
        verdict = verify(config, shown=most, history=history, on_progress=bar.show)
    if as_json:
        print_json(verdict.to_json())
    else:
        click.echo(verdict.text())
    return ExitStatus.DONE if verdict.holds else ExitStatus.CHECK_FAILED
