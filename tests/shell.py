"""`wcsup` as a user calls it: real processes, in a directory of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from application import WAIT_SECONDS, Application, wait_for

from wcsup.config import Config


@dataclass(frozen=True, slots=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        return json.loads(self.out)


class Shell:
    """Calls `wcsup` for one application, in a directory of its own."""

    def __init__(self, config: Config, place: Path, within: Sequence[str] = ()) -> None:
        """`within` is the command that calls a command elsewhere, such as `ip netns exec NAME`."""
        self.config = config
        self._within = within
        self.place = place
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WCSUP_")}
        values = {name: getattr(config, name) for name in ("bootstrap_servers", "app_id", "topic_prefix")}
        self._environment = {
            **environment,
            **{f"WCSUP_{name.upper()}": str(value) for name, value in values.items()},
            "WCSUP_STATE_DIR": str(config.state),
            "WCSUP_PARTITIONS": str(config.partitions),
            "WCSUP_GROUP_PROTOCOL": config.group_protocol,
            "WCSUP_DATA_DIR": str(place / "no-embedded-broker"),
            **({"WCSUP_KAFKA_CONFIG": str(config.kafka_config)} if config.kafka_config else {}),
        }

    @cached_property
    def application(self) -> Application:
        """The application, as the test's own clients see it."""
        return Application(self.config)

    def __call__(self, line: str, stdin: bytes = b"", *, crash: str | None = None) -> Done:
        """Call a command and wait for its end; `crash` is the crash point at which it dies."""
        process = self.start(line, crash=crash)
        out, err = process.communicate(stdin, WAIT_SECONDS)
        return Done(process.returncode, out.decode(), err.decode())

    def start(
        self,
        line: str,
        *,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        crash: str | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start a command; `crash` is the crash point at which it dies."""
        command = [*self._within, sys.executable, "-m", "wcsup.cli", *line.split()]
        process = subprocess.Popen(
            command,
            env={**self._environment, **({"WCSUP_CRASH": crash} if crash else {})},
            cwd=self.place,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
        )
        self._started.append((line, process))
        return process

    @property
    def running(self) -> "list[subprocess.Popen[bytes]]":
        """The started commands that have not ended."""
        return [process for _, process in self._started if process.poll() is None]

    def file(self, name: str, text: bytes) -> str:
        (self.place / name).write_bytes(text)
        return name

    def lines(self) -> list[tuple[int, bytes | None]]:
        """What is in the topic `lines`: partition and line."""
        return [(partition, value) for partition, _, value, _ in self.application.read("lines")]

    def status(self) -> Any:
        return self("status --json").json

    def wait_ready(self) -> Any:
        wait_for("the run is ready", lambda: self.status().get("ready"))
        return self.status()

    def stop(self) -> None:
        """End what still runs, and workers of the application itself; a killed supervisor takes its workers with it.

        What they and their log files say is printed: pytest shows it where the test failed.
        """
        if "application" in self.__dict__:
            self.application.stop()
        for line, process in self._started:
            if process.poll() is None:
                process.kill()
            _, err = process.communicate(timeout=WAIT_SECONDS)
            print(f"wcsup {line}: status {process.returncode}", (err or b"").decode(), sep="\n")
        for log in self.place.glob("*.log"):
            print(log.name, log.read_text(), sep="\n")
