"""Requests to the supervisor of a state directory, for `status`, `scale`, `restart` and `drain`."""

from typing import Any

import click

from wcsup.cli import options
from wcsup.config import Config
from wcsup.errors import ConfigurationError, WcsupError

_ANSWER_SECONDS = 10.0
_WAIT_SECONDS = 24 * 3600.0


def ask(config: Config, command: str, *, wait: bool = False, **arguments: Any) -> Any:
    """Send a command to the supervisor and return its result; with `wait`, once the command has taken effect.

    Raises `ConfigurationError` where no supervisor runs there, `UsageError` where it refuses.
    """
    from wcsup.supervisor.control import request

    timeout = _WAIT_SECONDS if wait else _ANSWER_SECONDS
    return request(config.state, {"command": command, "wait": wait, **arguments}, timeout)


def refuse_running(config: Config) -> None:
    """Raise `ConfigurationError` where a supervisor uses the state directory: its workers count."""
    try:
        pid = ask(config, "status")["pid"]
    except ConfigurationError:
        return  # none runs
    raise ConfigurationError(
        f"wcsup run (pid {pid}) uses {config.state}: stop it first, with wcsup drain --leave --wait"
    )


def refuse_slot(config: Config, name: str) -> None:
    """Raise `ConfigurationError` where a supervisor of the state directory runs a slot of that name.

    A worker of the same name would fence the supervisor's, which is not restarted then.
    """
    try:
        status = ask(config, "status")
    except ConfigurationError:
        return  # none runs
    if any(worker["slot"] == name and worker["failed"] is None for worker in status["workers"]):
        raise ConfigurationError(
            f"wcsup run (pid {status['pid']}) on this host runs {name}: take another name, or have it run more "
            "workers, with wcsup scale"
        )


def slots(result: dict[str, Any]) -> str:
    """Return the slots of a reply with their states, in one line."""
    found = sorted(result["slots"].items(), key=lambda item: (item[0].partition("-")[0], len(item[0]), item[0]))
    return ", ".join(f"{slot} {state}" for slot, state in found) or "no workers are left"


def complete_slot(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the slots of the running wcsup run that begin so, for a shell that completes a command line."""
    try:
        workers = ask(options.take_config(dict(ctx.params)), "status")["workers"]
    except WcsupError:
        return []
    return [name for name in (*(worker["slot"] for worker in workers), "all") if name.startswith(incomplete)]
