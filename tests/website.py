"""What `wcsup run --http` serves."""

import json
import re
import subprocess
import urllib.error
import urllib.request
from typing import Any

from application import wait_for
from prometheus_client.parser import text_string_to_metric_families
from shell import Shell


class Pages:
    """What is served at an address."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310 - its own
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @property
    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def metrics(self) -> dict[str, float]:
        """Values by name and labels, as they are written."""
        return {
            sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
        }

    def word(self, word: str) -> Any:
        return json.loads(self.get(f"/counts/{word}")[1])

    def status(self) -> Any:
        return self.json("/status.json")

    def json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def order(self, command: str, token: str, **what: Any) -> tuple[int, str]:
        """Ask for control; returns the status and the answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/control/{command}", json.dumps(what).encode(), headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - its own
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


class Site(Pages):
    """The HTTP side of a run."""

    def __init__(self, shell: Shell, line: str) -> None:
        self.process: subprocess.Popen[bytes] = shell.start(f"run --http 127.0.0.1:0 --log-file run.log {line}")
        log = shell.place / "run.log"
        wait_for("its address is said", lambda: log.exists() and "http://127.0.0.1:" in log.read_text())
        match = re.search(r"the dashboard is at (http://127\.0\.0\.1:\d+)/", log.read_text())
        assert match
        super().__init__(match[1])
