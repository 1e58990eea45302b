"""A supervisor under test, in a process of its own, with fake workers."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

from wcsup.errors import WcsupError
from wcsup.supervisor import request

HERE = Path(__file__).parent


def wait_for(condition: Callable[[], Any], what: str = "", timeout: float = 30.0) -> Any:
    """Return the condition's value as soon as it is true."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {timeout} s in vain for {what or condition}")


def gone(pid: int) -> bool:
    """Whether a process is no more, or a zombie that its parent will bury."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _take_terminal() -> None:
    """As a shell starts a program. These signals may be ignored here, as in a script's background job."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Running:
    """A running supervisor: what it says, what it prints, its end."""

    def __init__(self, state: Path, behaviour: dict[str, str] | None = None, **said: Any) -> None:
        self.state = state
        state.mkdir(exist_ok=True)
        self.behave(behaviour or {})
        self.output = state / f"output-{time.monotonic_ns()}"
        terminal = said.pop("terminal", subprocess.DEVNULL)
        shown = terminal if said.get("screen") else None
        environment = {**os.environ, "WCSUP_FAKE": str(state / "fake.json"), **said.pop("environment", {})}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", HERE / "supervised.py", json.dumps({"state": str(state), **said})],
                stdout=output if shown is None else shown,
                stderr=output if shown is None else shown,
                stdin=terminal,
                env=environment,
                start_new_session=terminal != subprocess.DEVNULL,
                preexec_fn=None if terminal == subprocess.DEVNULL else _take_terminal,  # noqa: PLW1509 - no threads here
            )

    def behave(self, behaviour: dict[str, str]) -> None:
        """Say how processes that start from now on behave."""
        draft = self.state / "fake.draft"
        draft.write_text(json.dumps(behaviour))
        draft.rename(self.state / "fake.json")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(WcsupError):
                pids = [worker["pid"] for worker in self.status()["workers"]]
                for pid in filter(None, pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def request(self, command: str, **arguments: Any) -> Any:
        return request(self.state, {"command": command, **arguments}, timeout=30)

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = self.request("status")
        return result

    def worker(self, slot: str) -> dict[str, Any]:
        return next(worker for worker in self.status()["workers"] if worker["slot"] == slot)

    def states(self) -> dict[str, str]:
        return {worker["slot"]: worker["state"] for worker in self.status()["workers"]}

    def until(self, condition: Callable[[dict[str, Any]], Any], what: str = "") -> dict[str, Any]:
        """Return the first status that the condition holds of."""

        def look() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.text
            try:
                status = self.status()
            except WcsupError:
                return None
            return status if condition(status) else None

        try:
            found: dict[str, Any] = wait_for(look, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; it printed:\n{self.text}") from error
        return found

    def until_ready(self) -> dict[str, Any]:
        return self.until(lambda status: status["ready"], "readiness")

    def until_printed(self, text: str) -> None:
        wait_for(lambda: text in self.text, f"{text!r} in {self.output}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 30.0) -> int:
        """Return the exit status once it has ended."""
        return self.process.wait(timeout)

    @property
    def text(self) -> str:
        return self.output.read_text(errors="replace")
