"""How the keys of the screen act on a run: by the ways that the commands take."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from wcsup.config import Config
from wcsup.errors import ExitStatus, WcsupError

if TYPE_CHECKING:
    from wcsup.observe.screen.errands import Means


@contextmanager
def means_of(config: Config, connected: "Callable[[], Config]") -> Iterator["Means"]:
    """Yield the means for an application; a recount that is under way at the end is ended, since it changes nothing.

    `connected` returns the configuration with the address of a broker that answers; it is called when it is needed.
    """
    from wcsup.observe.screen.errands import Means
    from wcsup.observe.words import look_up_text
    from wcsup.supervisor import request

    recount = VerifyProcess(config)
    try:
        yield Means(partial(request, config.state), lambda text: look_up_text(connected(), text), recount)
    finally:
        recount.close()


class VerifyProcess:
    """`wcsup verify` in a process of its own: in the supervisor's it would take the supervisor's time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._running: subprocess.Popen[str] | None = None

    def __call__(self) -> tuple[bool, str]:
        """Return whether nothing disagrees, and the verdict in words; raise `WcsupError` where there is none."""
        self._running = subprocess.Popen(
            (sys.executable, "-m", "wcsup.cli", "verify"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment(self._config)},
            start_new_session=True,
        )
        said, error = self._running.communicate()
        if not said.strip():
            raise WcsupError(
                error.strip().splitlines()[-1] if error.strip() else "wcsup verify ended without a verdict"
            )
        return self._running.returncode == ExitStatus.DONE, said

    def close(self) -> None:
        """End the process, if it runs."""
        if self._running is not None and self._running.poll() is None:
            self._running.kill()


def environment(config: Config) -> dict[str, str]:
    """Return the variables by which another command takes the same configuration."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {f"WCSUP_{name.upper()}": str(value) for name, value in values.items() if value is not None}
