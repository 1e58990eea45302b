"""How soon a lost host's words are counted again: with a standby on the other host, and without.

Two hosts with a reducer each have counted lines of 10 words, uniform out of `WCSUP_STANDBY_WORDS` (5 million). One is
killed with all its processes while lines keep coming. The time is from the kill to the first new commit of every
partition that it had: the session time-out (6 s), the rebalance, and the opening of the stores.
"""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from application import WAIT_SECONDS, Application, prose, wait_for
from benches.peers.workloads import spelled
from benches.recorded import Ratios
from benches.sampler import counted
from shell import Shell

WORDS = int(os.environ.get("WCSUP_STANDBY_WORDS", "5000000"))
WORDS_A_LINE = 10
CHUNK = 50_000
RUN = "run --mappers 1 --reducers 1 --plain"


def feed(application: Application) -> None:
    """Write every word once."""
    numbers = list(range(WORDS))
    random.Random(1).shuffle(numbers)
    for start in range(0, WORDS, CHUNK * WORDS_A_LINE):
        some = numbers[start : start + CHUNK * WORDS_A_LINE]
        application.feed(
            [b" ".join(map(spelled, some[at : at + WORDS_A_LINE])) for at in range(0, len(some), WORDS_A_LINE)]
        )


class Pair:
    """Two hosts of one application, with stores of their own."""

    def __init__(self, wcsup: Shell, place: Path, standby: int) -> None:
        self._wcsup, self._standby = wcsup, standby
        self._places = [place / f"{standby}-{name}" for name in ("first", "second")]
        self._runs = [
            wcsup.start(f"{RUN} --standby {standby} --state-dir {one} --log-file {one}.log") for one in self._places
        ]
        wait_for("both are ready", lambda: all(self.status(number).get("ready") for number in range(2)))

    def status(self, host: int) -> Any:
        return self._wcsup(f"status --json --state-dir {self._places[host]}").json

    def partitions(self, host: int) -> list[int]:
        workers = self.status(host)["workers"]
        return next((worker["partitions"] for worker in workers if worker["role"] == "reduce"), [])

    def settled(self) -> bool:
        """Whether the standby's stores are up to date."""
        workers = [worker for number in range(2) for worker in self.status(number)["workers"]]
        return not any(worker["restoring"] for worker in workers)

    def lose(self) -> float:
        """Kill everything of the first host; return when."""
        run = psutil.Process(self._runs[0].pid)
        processes = [run, *run.children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGKILL)
        return time.monotonic()

    def end(self) -> None:
        assert self._wcsup(f"drain --wait --state-dir {self._places[1]}").status == 0


@pytest.mark.timeout(3600)
def test_a_lost_host_with_a_standby_and_without(
    make_application: Callable[[], Application],
    tmp_path: Path,
    benchmark: Any,
    ratios: Ratios,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found: dict[int, float] = {}
    for standby in (1, 0):
        application = make_application()
        wcsup = Shell(application.config, tmp_path)
        try:
            pair = Pair(wcsup, tmp_path, standby)
            feed(application)
            application.wait_counted(600)
            wait_for("the standby is up to date", pair.settled, 600)
            time.sleep(5)
            gone = pair.partitions(0)
            ended = threading.Event()

            def load(application: Application = application, ended: threading.Event = ended) -> None:
                while not ended.is_set():
                    application.feed(prose(200, seed=7))
                    time.sleep(0.2)

            thread = threading.Thread(target=load)
            thread.start()
            time.sleep(2)
            killed = pair.lose()
            time.sleep(1)  # what it had committed is known by now
            before = counted(application.config)
            waiting = set(gone)
            while waiting:
                now = counted(application.config)
                waiting -= {partition for partition in waiting if now[partition] > before[partition]}
                time.sleep(0.02)
            found[standby] = time.monotonic() - killed
            ended.set()
            thread.join()
            application.wait_counted(WAIT_SECONDS)
            pair.end()
        finally:
            wcsup.stop()
    benchmark.extra_info["seconds"] = {f"standby {standby}": round(seconds, 2) for standby, seconds in found.items()}
    ratios["standby: time to the first commit without one by that with one"] = found[0] / found[1]
    with capsys.disabled():
        print(f"\nlost host, {WORDS:,} words:", json.dumps(benchmark.extra_info))
    benchmark.pedantic(lambda: None)
