"""`wcsup map` and `wcsup reduce`: one worker in the foreground."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from wcsup.cli import say
from wcsup.cli.cluster import connect
from wcsup.cli.command import Section, define
from wcsup.cli.options import ALL, Logging, Pattern
from wcsup.cli.steer import refuse_slot
from wcsup.config import Config
from wcsup.errors import ExitStatus, WcsupError

if TYPE_CHECKING:
    from wcsup.pipeline.report import Role


def worker_command(name: str, role: "Role", text: str, example: str) -> click.Command:
    """Return the command that runs a worker of a role; `text` is its help."""

    def run(config: Config, slot: str, log: Logging) -> ExitStatus:
        from wcsup.kafka import application, libraries, rights
        from wcsup.pipeline.process import end, work
        from wcsup.pipeline.report import Job

        libraries.separate_heap()
        # Logs and status call slot 0 of the mappers `map-0`.
        job = Job(role, slot.removeprefix(f"{role}-"), config)
        log.start(job.name)
        refuse_slot(config, job.name)
        config = connect(config)
        application.prepare(config, rights.of_role(config, role))
        application.check_positions(config)
        try:
            end(work(Job(job.role, job.slot, config)))
        except WcsupError as error:
            end(say(str(error), error.status))

    run.__doc__ = text
    decorate: Callable[[Any], Any] = click.argument(
        "slot", metavar="NAME", type=Pattern(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", "expected letters and digits")
    )
    return define(name, section=Section.COUNT, offered=ALL, logs=True, example=example)(decorate(run))
