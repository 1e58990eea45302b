"""`wcsup doctor`: check cluster and host before a start, or when something is odd."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import ALL
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus

if TYPE_CHECKING:
    from wcsup.audit.checks import Check

_COLORS = {"ok": "green", "warning": "yellow", "failed": "red"}


@define(
    "doctor",
    section=Section.AROUND,
    offered=ALL,
    example="""
    wcsup doctor
    wcsup doctor --bootstrap-servers kafka:9092 --kafka-config client.properties
    wcsup doctor --reassignment copies.json
    wcsup doctor --acls --kafka-config client.properties
    """,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--reassignment",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Check nothing: write the FILE by which kafka-reassign-partitions.sh adds the copies that topics lack.",
)
@click.option(
    "--acls",
    is_flag=True,
    help="Check nothing: print the kafka-acls.sh commands that give the user of --kafka-config the least it needs.",
)
def command(config: Config, as_json: bool, reassignment: Path | None, acls: bool) -> ExitStatus:
    """Check brokers and their settings, topics, replication, directories and disk; list transactions in the way.

    Give it the options of wcsup run. It starts nothing and changes nothing. It prints one line for each check: ok, a
    warning, or failed with what to do. Exit status 1 if a check failed.
    """
    from wcsup.audit.checks import healthy, to_json
    from wcsup.audit.doctor import Doctor
    from wcsup.audit.stuck import as_json as as_json_of

    quiet_clients()
    if acls:
        return _list_acls(config, as_json=as_json)
    if reassignment:
        return _reassign(config, reassignment)
    doctor = Doctor(config)
    checks = []
    for check in doctor.examine():
        checks.append(check)
        if not as_json:
            click.echo(_line(check))
    if as_json:
        print_json(
            {
                **to_json(checks),
                "open_transactions": [asdict(one) for one in doctor.open],
                "hanging_transactions": [as_json_of(one) for one in doctor.hanging],
            }
        )
    return ExitStatus.DONE if healthy(checks) else ExitStatus.CHECK_FAILED


def _list_acls(config: Config, *, as_json: bool) -> ExitStatus:
    """Print what a cluster with an authorizer has to allow; nobody is asked anything."""
    from wcsup.kafka import clients, rights

    address = config.bootstrap_servers or "127.0.0.1:9092"
    user = clients.user(config) or "wcsup"
    purposes = rights.by_purpose(config)
    if as_json:
        print_json({purpose: [asdict(right) for right in needed] for purpose, needed in purposes.items()})
        return ExitStatus.DONE
    for purpose, needed in purposes.items():
        click.echo(f"# {purpose}")
        for line in rights.command_lines(address, user, needed):
            click.echo(line)
    return ExitStatus.DONE


def _reassign(config: Config, file: Path) -> ExitStatus:
    """Write the file, unless no copy is missing."""
    from wcsup.audit import cluster, copies

    partitions = copies.reassignment(cluster.connect(connect(config, start=False)))
    if not partitions:
        raise ConfigurationError(
            "every topic has its copies, or there is no other broker for more: nothing to reassign"
        )
    try:
        file.write_text(json.dumps({"version": 1, "partitions": partitions}))
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
    click.echo(f"{file} gives more copies to {len(partitions)} partitions")
    return ExitStatus.DONE


def _line(check: "Check") -> str:
    return f"{click.style(f'{check.health:7}', fg=_COLORS[check.health])}  {check.name:12}  {check.message}"
