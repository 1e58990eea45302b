"""Requests to the supervisor of a state directory, for `status`, `scale`, `restart` and `drain`."""

import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self

import click

from wcsup.cli import options
from wcsup.config import Config
from wcsup.errors import ConfigurationError, WcsupError

_ANSWER_SECONDS = 10.0
_WAIT_SECONDS = 24 * 3600.0
_LOOK_SECONDS = 0.5
_CLEAR = "\r\x1b[K"
"""Goes to the beginning of a terminal's line and empties it."""


def ask(config: Config, command: str, *, wait: bool = False, **arguments: Any) -> Any:
    """Send a command to the supervisor and return its result; with `wait`, once the command has taken effect.

    Raises `ConfigurationError` where no supervisor runs there, `UsageError` where it refuses.
    """
    from wcsup.supervisor.control import request

    timeout = _WAIT_SECONDS if wait else _ANSWER_SECONDS
    return request(config.state, {"command": command, "wait": wait, **arguments}, timeout)


def ask_and_wait(config: Config, command: str, **arguments: Any) -> Any:
    """Send a command and return its result once it has taken effect; on a terminal show meanwhile what is awaited."""
    if not sys.stderr.isatty():
        return ask(config, command, wait=True, **arguments)
    answer: Future[Any] = Future()

    def wait() -> None:
        try:
            answer.set_result(ask(config, command, wait=True, **arguments))
        except BaseException as failed:  # noqa: BLE001 - for the thread that waits
            answer.set_exception(failed)

    # A thread that Ctrl-C does not wait for.
    threading.Thread(target=wait, name="wait", daemon=True).start()
    with WaitLine() as line:
        while not futures.wait([answer], _LOOK_SECONDS).done:
            line.show(config)
    return answer.result()


class WaitLine:
    """One line on a terminal's standard error that is written anew: the slots that are not at work, and since when."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._written = False

    def __enter__(self) -> Self:
        """Start; nothing is shown yet."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Remove the line."""
        if self._written:
            click.echo(_CLEAR, err=True, nl=False)

    def show(self, config: Config) -> None:
        """Write what the supervisor tells now."""
        with suppress(WcsupError):  # at the end of a drain nobody answers any more
            self._write(waiting(ask(config, "status")["workers"]))

    def _write(self, what: str) -> None:
        from wcsup.observe.figures import span

        width = shutil.get_terminal_size().columns - 1
        line = f"{span(time.monotonic() - self._began)}: {what}"
        click.echo(f"{_CLEAR}{line[:width]}", err=True, nl=False)
        self._written = True


def waiting(workers: Sequence[Mapping[str, Any]]) -> str:
    """Return how many workers are at work, and the state of each of the others."""
    from wcsup.cli.status_text import state

    others = [f"{one['slot']} {state(one)}" for one in workers if not one["ready"] or one["state"] == "draining"]
    return ", ".join([f"{len(workers) - len(others)} of {len(workers)} workers are at work", *others])


def refuse_running(config: Config) -> None:
    """Raise `ConfigurationError` where a supervisor uses the state directory: its workers count."""
    try:
        pid = ask(config, "status")["pid"]
    except ConfigurationError:
        return  # none runs
    raise ConfigurationError(
        f"wcsup run (pid {pid}) uses {config.state}: stop it first, with wcsup drain --leave --wait"
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
