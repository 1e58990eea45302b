"""`wcsup chaos` as a user has it: a real run under load, every kind of harm, exact in the end."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from application import Application, prose, wait_for
from reference import recount

from wcsup.audit.verify import verify
from wcsup.errors import ConfigurationError, ExitStatus
from wcsup.supervisor import request

COMMAND = (sys.executable, "-m", "wcsup.cli")


@pytest.fixture
def running(application: Application, tmp_path: Path) -> Iterator[Application]:
    """An application with a supervisor and four workers."""
    with wcsup(application, tmp_path / "run.log", "run", "--mappers", "2", "--reducers", "2", "--plain") as process:
        wait_for("the workers are ready", lambda: status(application).get("ready"))
        yield application
        process.terminate()
        assert process.wait(60) == ExitStatus.DONE, (tmp_path / "run.log").read_text()


@contextmanager
def wcsup(application: Application, log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    config = application.config
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *words],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=log.parent,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("WCSUP_")},
                "WCSUP_BOOTSTRAP_SERVERS": config.bootstrap_servers or "",
                "WCSUP_APP_ID": config.app_id,
                "WCSUP_TOPIC_PREFIX": config.topic_prefix,
                "WCSUP_STATE_DIR": str(config.state),
                "WCSUP_PARTITIONS": str(config.partitions),
            },
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def status(application: Application) -> dict[str, object]:
    try:
        return dict(request(application.config.state, {"command": "status"}))
    except ConfigurationError:
        return {}


@pytest.mark.timeout(300)
def test_every_kind_of_trouble_under_load_ends_exact(running: Application, tmp_path: Path, seed: int) -> None:
    lines = prose(30_000, seed)
    log = tmp_path / "chaos.log"
    with (
        running.feeding(lines, rate=1000),
        wcsup(running, log, "chaos", "--minutes", "0.5", "--seed", str(seed)) as chaos,
    ):
        assert chaos.wait(240) == ExitStatus.DONE, log.read_text()
    running.wait_counted()

    said = log.read_text()
    print(said)
    for action in ("kill", "stop", "fence", "restart"):
        assert re.search(rf"^\d\d:\d\d:\d\d  {action} +(map|reduce)-\d .*at work again after", said, re.MULTILINE), (
            action
        )
    assert f"seed {seed}" in said
    assert re.search(r"^(exact|within bounds): ", said, re.MULTILINE)
    assert running.counts() == recount(lines)
    assert verify(running.config).exact
    assert status(running)["ready"], "it left everything at work"


def test_ctrl_c_undoes_what_is_done(running: Application, tmp_path: Path) -> None:
    log = tmp_path / "chaos.log"
    with wcsup(running, log, "chaos", "--minutes", "5", "--seed", "1") as chaos:
        wait_for("somebody took a name", lambda: [child for child in children(chaos) if child.is_running()])
        chaos.send_signal(signal.SIGINT)
        assert chaos.wait(60) == 130, log.read_text()

    wait_for("all are at work", lambda: status(running).get("ready"))
    for worker in status(running)["workers"]:  # type: ignore[attr-defined]
        assert psutil.Process(worker["pid"]).status() != psutil.STATUS_STOPPED
        assert worker["state"] == "running"


def children(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_nothing_running_is_said(application: Application, tmp_path: Path) -> None:
    log = tmp_path / "chaos.log"
    with wcsup(application, log, "chaos") as chaos:
        assert chaos.wait(60) == ExitStatus.CONFIGURATION
    assert "no supervisor runs" in log.read_text()
