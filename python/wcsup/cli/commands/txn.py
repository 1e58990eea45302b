"""`wcsup txn`: transactions of the application, and their end."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.help import Context
from wcsup.cli.show import print_json
from wcsup.config import Config

if TYPE_CHECKING:
    from wcsup.kafka.requests import Transaction


class TransactionGroup(click.Group):
    """The commands about transactions."""

    section = Section.AROUND
    context_class = Context


command = TransactionGroup(
    "txn",
    help="""List and end transactions that hold the application up.

    Running transactions end by themselves, at the latest after their time-out. Hanging ones do not: Kafka has decided
    them, and lost the marker that ends them in a partition.""",
    short_help="List and end transactions that hold the application up.",
)


@define(
    "list",
    example="""
    wcsup txn list
    wcsup txn list --json
    """,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(config: Config, as_json: bool) -> None:
    """List the open transactions in the topics: whose each one is, how old, and the partitions that it holds up.

    Transactions of commits under way are among them: they are open for milliseconds. Those of other applications that
    write to these topics are listed, too.
    """
    from contextlib import closing

    from wcsup.kafka.hanging import Examination, told

    quiet_clients()
    with closing(Examination(connect(config, start=False))) as examination:
        hanging = examination.find()
        running = [*examination.going_on, *examination.strangers()]
    if as_json:
        print_json({"running": [_as_json(one) for one in running], "hanging": told(hanging)})
        return
    for one in running:
        click.echo(_line(one))
    for sentence in told(hanging):
        click.echo(f"hanging: {sentence}")
    if not running and not hanging:
        click.echo("no transaction is open")


def _as_json(one: "Transaction") -> dict[str, object]:
    return {
        "transactional_id": one.name,
        "state": one.state,
        "producer_id": one.producer,
        "producer_epoch": one.epoch,
        "since": one.since,
        "timeout": one.timeout,
        "partitions": [{"topic": topic, "partition": partition} for topic, partition in sorted(one.places)],
    }


def _line(one: "Transaction") -> str:
    from wcsup.kafka.hanging import listed
    from wcsup.observe.figures import span

    age = "" if one.since is None else f" for {span(max(0.0, time.time() - one.since))}"
    where = listed(sorted(one.places))
    return f"{one.name}: {one.state}{age}, ends after {span(one.timeout)} at the latest: {where}"


@define("abort", example="wcsup txn abort books-1f2e3d4c-map-0")
@click.argument("name", metavar="TRANSACTIONAL-ID")
def abort(config: Config, name: str) -> None:
    """End the running transaction of a name that wcsup txn list shows, before its time-out does.

    The name is fenced: what ran under it can write nothing any more, and reads its batch again if it still runs. A
    transaction that Kafka has decided to commit is committed.
    """
    from contextlib import closing

    from wcsup.kafka.hanging import Examination

    quiet_clients()
    with closing(Examination(connect(config, start=False))) as examination:
        found = examination.transaction(name)
        if found is None or found.since is None:
            click.echo(f"no transaction of {name} is open")
            return
        examination.replace(name)
    click.echo(f"{'committed' if found.state == 'PrepareCommit' else 'aborted'}: the transaction of {name}")


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


for _command in (list_, abort, settle):
    command.add_command(_command)
