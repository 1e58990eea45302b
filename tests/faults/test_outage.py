"""A broker that fails under a run: workers wait and are left alone, what is shown is true, an end is not held up."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from application import WAIT_SECONDS, prose, wait_for
from brokers import TestBroker
from fixtures import configuration
from invariants import hold
from shell import Shell
from website import Site

from wcsup.errors import ExitStatus

REST_SECONDS = 15.0
"""Longer than a transaction may be open."""
LINES_OF_AN_OUTAGE = 12
"""How many lines of log a worker may have of one, whatever it was about: who is not connected, what it gave up."""


@pytest.fixture
def wcsup(mortal: TestBroker, tmp_path: Path) -> Iterator[Shell]:
    place = tmp_path / "place"
    place.mkdir()
    shell = Shell(configuration(mortal.address, tmp_path / "state"), place)
    shell.application.make_topics()
    yield shell
    shell.stop()


def of_workers(log: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [line for line in lines if line["slot"].startswith(("map", "reduce"))]


@pytest.mark.parametrize(
    "busy", [pytest.param(False, id="idle"), pytest.param(True, id="busy", marks=pytest.mark.long)]
)
def test_a_run_whose_broker_is_gone_rests_and_says_so(mortal: TestBroker, wcsup: Shell, seed: int, busy: bool) -> None:
    # Given a run at work
    application = wcsup.application
    site = Site(wcsup, "--mappers 2 --reducers 2 --plain --log-format json")
    running, log = site.process, wcsup.place / "run.log"
    status = wcsup.wait_ready()
    assert status["broker"]["reachable"] is True
    lines = prose(2000, seed)
    application.feed(lines)
    application.wait_counted()
    if busy:
        lines += prose(20_000, seed + 1)
        application.feed(lines[2000:])
    before = len(of_workers(log))

    # When its broker is killed, then it is said everywhere within some seconds, and what is not known is not shown
    mortal.kill()
    wait_for("it is seen", lambda: wcsup.status()["broker"]["reachable"] is False)
    wait_for("what is left is not known", lambda: wcsup.status()["lines_lag"] is None)
    status = wcsup.status()
    assert (status["ready"], status["words_lag"]) == (False, None)
    since = status["broker"]["since"]
    assert f"no broker answers since {since}" in wcsup("status").out
    code, text = site.get("/readyz")
    assert code == 503
    assert text.startswith(f"no broker answers since {since}")
    assert site.metrics()["wcsup_broker_reachable"] == site.metrics()["wcsup_ready"] == 0

    # And workers do nothing for the time that it lasts
    processes = [psutil.Process(worker["pid"]) for worker in status["workers"]]
    used = [sum(process.cpu_times()[:2]) for process in processes]
    over = time.monotonic() + REST_SECONDS
    wait_for("some time is over", lambda: time.monotonic() > over)
    for process, earlier in zip(processes, used, strict=True):
        assert sum(process.cpu_times()[:2]) - earlier < REST_SECONDS / 10, "a tenth of a processor"
    said = of_workers(log)[before:]
    assert len(said) <= LINES_OF_AN_OUTAGE * len(processes), said
    assert wcsup.status()["restarts"] == {}

    # When it is back, then they go on
    mortal.start()
    wait_for("it is ready", lambda: wcsup.status()["ready"])
    more = prose(500, seed + 2)
    application.feed(more)
    application.wait_counted()
    assert wcsup.status()["restarts"] == {}

    # And in another outage the end of the run is not held up, for nothing is open
    mortal.kill()
    wait_for("it is seen", lambda: wcsup.status()["broker"]["reachable"] is False)
    running.send_signal(signal.SIGTERM)
    assert running.wait(WAIT_SECONDS) == ExitStatus.DONE
    assert "killed" not in log.read_text(), "each worker ended by itself"
    mortal.start()
    hold(application, lines + more)
