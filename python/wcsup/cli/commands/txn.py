"""`wcsup txn`: transactions of the application, and their end."""

from dataclasses import replace
from typing import Literal

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.config import Config


class TransactionGroup(click.Group):
    """The commands about transactions."""

    section = Section.AROUND


command = TransactionGroup(
    "txn",
    help="""End transactions that hold the application up.

    Those that are open end by themselves, at the latest by --transaction-timeout; wcsup doctor lists both kinds.""",
    short_help="End transactions that hold the application up.",
)


@define(
    "settle",
    example="""
    wcsup txn settle
    wcsup txn settle --bootstrap-servers kafka:9092 --kafka-config admin.properties
    wcsup txn settle --as abort
    """,
)
@click.option(
    "--as",
    "outcome",
    type=click.Choice(["commit", "abort"]),
    help="What to do where Kafka has forgotten how a transaction was decided; a wrong guess loses or doubles counts.",
)
def settle(config: Config, outcome: Literal["commit", "abort"] | None) -> None:
    """Finish hanging transactions: commit or abort each of them as Kafka had decided.

    When the broker with the only copy of a partition is killed, Kafka can lose the marker that ends a transaction
    there. Workers finish hanging transactions of their own names at their start, and abandoned ones after a while. This
    command finishes them at once, also if workers lack the rights: it needs READ on __transaction_state and
    __consumer_offsets and ALTER on the cluster. A worker that runs under the name of such a transaction is replaced by
    a new process.
    """
    from contextlib import closing

    from wcsup.kafka.hanging import Examination, told

    quiet_clients()
    with closing(Examination(connect(config, start=False))) as examination:
        found = examination.find()
        for name in {one.name for one in found if one.name and not one.replaced}:
            examination.replace(name)
        if any(not one.replaced for one in found):
            found = examination.find()
        if outcome is not None:
            found = [one if one.commit is not None else replace(one, commit=outcome == "commit") for one in found]
        examination.end(found)
    for sentence in told(found):
        click.echo(f"ended: {sentence}")
    if not found:
        click.echo("nothing hangs")


command.add_command(settle)
