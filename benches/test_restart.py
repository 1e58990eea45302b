"""Whether a start with kept stores counts as fast as the first one, whole: broker, mapper, reducer, stores.

Each start is a real `wcsup run --exit-when-done` with a mapper and a reducer, on lines that are there already: 10
words a line, uniform out of `WCSUP_RESTART_WORDS` (5 million). The second start follows a drain, the third a SIGKILL of
everything. `WCSUP_RESTART_LINES` sets how many lines a start has (1 million). The time is that of the whole command;
beside it stands how soon after its start the first of the new words are committed.
"""

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from application import WAIT_SECONDS, Application, wait_for
from benches.peers.workloads import spelled
from benches.recorded import Ratios
from shell import Shell

from wcsup.kafka import groups

WORDS = int(os.environ.get("WCSUP_RESTART_WORDS", "5000000"))
LINES = int(os.environ.get("WCSUP_RESTART_LINES", "1000000"))
WORDS_A_LINE = 10
CHUNK = 50_000
RUN = "run --mappers 1 --reducers 1 --plain --log-file run.log"


def feed(application: Application, seed: int) -> None:
    """Write the lines of a start."""
    chance = random.Random(seed)
    for _ in range(0, LINES, CHUNK):
        numbers = iter(chance.choices(range(WORDS), k=CHUNK * WORDS_A_LINE))
        lines: list[bytes | None] = [
            b" ".join(spelled(next(numbers)) for _ in range(WORDS_A_LINE)) for _ in range(CHUNK)
        ]
        application.feed(lines)


class Start:
    """One start: its time as a whole, and until its first commit of new words."""

    def __init__(self, wcsup: Shell) -> None:
        before = reduced(wcsup.application)
        began = time.monotonic()
        running = wcsup.start(f"{RUN} --exit-when-done")
        while reduced(wcsup.application) <= before:
            time.sleep(0.03)
        self.first = time.monotonic() - began
        assert running.wait(60 * WAIT_SECONDS) == 0
        self.seconds = time.monotonic() - began


def reduced(application: Application) -> int:
    """Return how many records of `words` are counted."""
    config = application.config
    found = groups.committed(config, config.reduce_group, config.topic("words"), config.partitions)
    return sum(max(0, offset) for offset in found.values())


def kill_everything(wcsup: Shell) -> None:
    """Start a run, and kill it and its workers when all are ready."""
    running = wcsup.start(RUN)
    pids = [worker["pid"] for worker in wcsup.wait_ready()["workers"]]
    for pid in (running.pid, *pids):
        os.kill(pid, signal.SIGKILL)
    running.wait(WAIT_SECONDS)


@pytest.mark.timeout(3600)
def test_a_start_with_kept_stores_against_the_first(
    make_application: Any, tmp_path: Path, benchmark: Any, ratios: Ratios, capsys: pytest.CaptureFixture[str]
) -> None:
    application: Application = make_application()
    wcsup = Shell(application.config, tmp_path)
    starts: list[Start] = []
    try:
        for number in range(3):
            if number == 2:
                kill_everything(wcsup)
            feed(wcsup.application, number)
            starts.append(Start(wcsup))
        out, err = wcsup.start("verify --json").communicate(timeout=60 * WAIT_SECONDS)
        assert json.loads(out)["exact"], err
    finally:
        wcsup.stop()
    benchmark.extra_info["seconds"] = [round(start.seconds, 2) for start in starts]
    benchmark.extra_info["first commit"] = [round(start.first, 2) for start in starts]
    ratios["restart: time of a first start by that of the next"] = starts[0].seconds / starts[1].seconds
    ratios["restart: time of a first start by that after kill -9"] = starts[0].seconds / starts[2].seconds
    with capsys.disabled():
        print(f"\nrestart, {WORDS:,} words, {LINES:,} lines a start:", json.dumps(benchmark.extra_info))
    wait_for("nothing is left", lambda: application.lag().words == 0)
    benchmark.pedantic(lambda: None)
