"""The demonstration from its beginning to its end, after which nothing of it is left."""

import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType

from wcsup import broker
from wcsup.cli.cluster import quiet_clients
from wcsup.cli.means import means_of
from wcsup.config import Config
from wcsup.demo.acts import Acts
from wcsup.demo.audience import Audience, Listeners, Onlookers, say
from wcsup.demo.commands import DemoCommands, DemoError
from wcsup.demo.cues import Left
from wcsup.demo.text import DemoText, standard_library
from wcsup.errors import INTERRUPTED, ExitStatus
from wcsup.observe.screen import terminal

_NAME = "demo"
_NEXT = (
    ("run", "count your own lines; ? lists the keys"),
    ("gen book.txt", "in another terminal: write a file's lines"),
    ("top --watch", "see the most frequent words"),
    ("verify", "recount all lines, compare every total"),
    ("chaos --minutes 1", "kill workers at random, then recount"),
)


def main(*, plain: bool) -> int:
    """Play the demonstration; return 0 where all counts are right, 1 where something failed.

    `plain`: no full screen, on a terminal either.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    place = Path(tempfile.mkdtemp(prefix="wcsup-demo-"))
    config = Config(app_id=_NAME, host=_NAME, state_dir=place / "state", data_dir=place / "kafka")
    try:
        try:
            _play(config, DemoCommands(config, place), plain=plain)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # what follows is short, and has to be done
            with suppress(DemoError):
                DemoCommands(config, place).output("broker", "stop")
            shutil.rmtree(place, ignore_errors=True)
    except DemoError as error:
        say(f"demo: {error}")
        return ExitStatus.CHECK_FAILED
    except KeyboardInterrupt as interrupt:
        why = "left" if isinstance(interrupt, Left) else "interrupted"
        with suppress(OSError):  # the terminal may be gone
            say(f"demo: {why} before its end; what it had started is stopped, and its files are gone")
        return INTERRUPTED
    say(_ending())
    return ExitStatus.DONE


def _play(config: Config, commands: DemoCommands, *, plain: bool) -> None:
    """Start a broker, and play the acts with it."""
    text = DemoText.read(standard_library())
    say(f"The text is {text}.\n\n$ wcsup broker start")
    say(commands.output("broker", "start", quiet=False).rstrip())
    started = broker.status(config.data)
    if started is None:
        raise DemoError("wcsup broker start has started, but no broker runs")
    config = replace(config, bootstrap_servers=started.bootstrap)
    quiet_clients()
    with ExitStack() as during:
        if not plain and terminal.usable():
            means = during.enter_context(means_of(config, lambda: config))
            audience: Audience = Onlookers(f"{_NAME} on {started.bootstrap}", means)
        else:
            audience = Listeners()
        Acts(config, DemoCommands(config, commands.place), text, during.enter_context(audience)).play()


def _ending() -> str:
    """Return what to try next, with commands as they can be typed here."""
    program = _program()
    width = max(len(command) for command, _ in _NEXT) + len(program) + 3
    tries = "\n".join(f"  {f'{program} {command}':{width}}{what}" for command, what in _NEXT)
    return f"\nThe demo's Kafka and files are gone. Try next:\n\n{tries}"


def _program() -> str:
    """Return how the program is called here: by its name where the shell finds it, else by its path."""
    beside = Path(sys.executable).with_name("wcsup")
    found = shutil.which("wcsup")
    if found is not None and Path(found).resolve() == beside.resolve():
        return "wcsup"
    relative = os.path.relpath(beside)
    return relative if not relative.startswith("..") else str(beside)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End in order; ignore a second signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
