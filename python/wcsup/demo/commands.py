"""The commands of the user, as processes of their own, in the directory of the demonstration."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from wcsup.cli.means import environment
from wcsup.config import Config

_END_SECONDS = 20.0
"""How long a command may take to end in order."""


class DemoError(Exception):
    """The demonstration failed."""


class DemoCommands:
    """Runs commands for an application, whatever the environment says; Ctrl-C on the terminal does not reach them."""

    def __init__(self, config: Config, place: Path) -> None:
        self.place = place
        own = environment(config)
        others = {key: value for key, value in os.environ.items() if not key.startswith("WCSUP_")}
        self._environment = {**others, **own}

    def output(self, *arguments: str, quiet: bool = True) -> str:
        """Return the output of a command; raise `DemoError` where it fails.

        `quiet`: its standard error is not for the terminal.
        """
        with self._process(arguments, subprocess.PIPE, subprocess.PIPE if quiet else None) as process:
            try:
                out, error = process.communicate()
            except BaseException:
                _end(process, signal.SIGINT)
                raise
        if process.returncode:
            why = f": {_last_line(error)}" if error and error.strip() else ""
            raise DemoError(f"wcsup {shlex.join(arguments)} ended with status {process.returncode}{why}")
        return out.decode()

    @contextmanager
    def started(self, *arguments: str, name: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command during the `with` block, with further variables; end it by SIGTERM afterwards.

        What it prints is in the file `name`. It reads from `stdin`.
        """
        with (
            (self.place / name).open("wb") as said,
            self._process(arguments, said, said, stdin=subprocess.PIPE, **more) as process,
        ):
            try:
                yield process
            finally:
                _end(process, signal.SIGTERM)
                with suppress(BrokenPipeError):
                    if process.stdin:
                        process.stdin.close()

    def last_line(self, *names: str) -> str:
        """Return the last line of the first of these files that has one."""
        for name in names:
            with suppress(FileNotFoundError):
                if text := (self.place / name).read_bytes().strip():
                    return _last_line(text)
        return "it said nothing"

    def _process(
        self,
        arguments: tuple[str, ...],
        out: int | IO[bytes],
        error: int | IO[bytes] | None,
        stdin: int = subprocess.DEVNULL,
        **more: str,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (sys.executable, "-m", "wcsup.cli", *arguments),
            env={**self._environment, **more},
            cwd=self.place,
            stdin=stdin,
            stdout=out,
            stderr=error,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """End a process in order, or else kill it."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(said: bytes) -> str:
    return said.decode(errors="replace").strip().splitlines()[-1]
