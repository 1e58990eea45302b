"""`wcsup doctor`: look at the surroundings before a start, or when something is odd."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.options import ALL
from wcsup.cli.show import print_json
from wcsup.config import Config
from wcsup.errors import ExitStatus

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
    """,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(config: Config, as_json: bool) -> ExitStatus:
    """Check broker, topics, replication, time-outs, directories and disk; list open transactions.

    Give it the options of wcsup run. It starts nothing and writes nothing. One line a check: ok, a warning, or
    failed with what to do about it. Exit status 1 where a check failed.
    """
    from wcsup.audit.checks import healthy, to_json
    from wcsup.audit.doctor import Doctor

    quiet_clients()
    doctor = Doctor(config)
    checks = []
    for check in doctor.examine():
        checks.append(check)
        if not as_json:
            click.echo(_line(check))
    if as_json:
        print_json({**to_json(checks), "open_transactions": [asdict(one) for one in doctor.open]})
    return ExitStatus.DONE if healthy(checks) else ExitStatus.CHECK_FAILED


def _line(check: "Check") -> str:
    return f"{click.style(f'{check.health:7}', fg=_COLORS[check.health])}  {check.name:12}  {check.message}"
