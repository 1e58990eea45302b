"""A recount (`wcsup verify --json`) that the page asks for, in a process of its own: it takes memory and time."""

import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from wcsup.errors import UsageError
from wcsup.process.times import utc

log = logging.getLogger("wcsup.http")


class AskedRecount:
    """Runs the command, one at a time, and keeps its last result."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """`environment` is added to that of this process."""
        self._command, self._environment = command, environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._told: dict[str, Any] = {"state": "never", "began_at": None, "seconds": None, "verdict": None, "why": None}

    def start(self) -> dict[str, Any]:
        """Begin, and return the state; raise `UsageError` where one is under way."""
        with self._lock:
            if self._told["state"] == "running":
                raise UsageError(f"a recount is under way since {self._told['began_at']}")
            try:
                self._process = subprocess.Popen(
                    self._command,
                    env={**os.environ, **self._environment},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="backslashreplace",
                )
            except OSError as error:
                raise UsageError(f"no recount can be started: {error.strerror}") from error
            now = utc(time.time())
            self._told = {"state": "running", "began_at": now, "seconds": None, "verdict": None, "why": None}
            threading.Thread(target=self._wait, args=[self._process], name="recount", daemon=True).start()
            return self._told

    def told(self) -> dict[str, Any]:
        """Return the state: `never`, `running`, `done` with the verdict, or `failed` with why."""
        return self._told

    def end(self) -> None:
        """End a recount that is under way."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()

    def _wait(self, process: "subprocess.Popen[str]") -> None:
        began = time.monotonic()
        out, said = process.communicate()
        try:
            verdict = json.loads(out)
            why = None
        except ValueError:
            verdict, why = None, (said.strip().splitlines() or [f"it ended with status {process.returncode}"])[-1]
        state = "failed" if verdict is None else "done"
        seconds = round(time.monotonic() - began, 3)
        self._told = {**self._told, "state": state, "seconds": seconds, "verdict": verdict, "why": why}
        log.info("a recount that was asked for over HTTP took %.1f s", seconds)
