"""How long after a killed broker's return both groups commit again, under load.

The real `wcsup run` with 2 mappers and 2 reducers counts 1,000 lines a second on a broker of its own, which is killed
with SIGKILL and started again at the same address. The time runs from when the broker accepts connections again until
the committed offsets of `lines` and of `words` have both moved. `WCSUP_BROKER_KILLS` sets how often (5).
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from application import WAIT_SECONDS, Application, prose, wait_for
from brokers import TestBroker
from confluent_kafka import KafkaException
from fixtures import configuration
from reference import recount

from wcsup.kafka import groups

KILLS = int(os.environ.get("WCSUP_BROKER_KILLS", "5"))
RATE = 1000


@pytest.fixture
def application(mortal: TestBroker, tmp_path: Path) -> Iterator[Application]:
    under_test = Application(configuration(mortal.address, tmp_path / "state"))
    under_test.make_topics()
    yield under_test
    under_test.stop()


@pytest.fixture
def run(application: Application) -> Iterator[subprocess.Popen[bytes]]:
    config = application.config
    command = [
        *(sys.executable, "-m", "wcsup.cli", "run", "--mappers", "2", "--reducers", "2"),
        *("--bootstrap-servers", str(config.bootstrap_servers), "--app-id", config.app_id),
        *("--topic-prefix", config.topic_prefix, "--state-dir", str(config.state)),
        *("--partitions", str(config.partitions)),
    ]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield running
    running.terminate()
    running.wait(60)


def committed(application: Application) -> list[int]:
    """Return the sums of the groups' committed offsets, as soon as the broker tells them."""
    config = application.config
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return [
                sum(groups.committed(config, group, config.topic(topic), config.partitions).values())
                for group, topic in ((config.map_group, "lines"), (config.reduce_group, "words"))
            ]
        except KafkaException:
            assert time.monotonic() < deadline, "the broker does not tell committed offsets"


def accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 0.2).close()
    except OSError:
        return False
    return True


def refuses(address: str) -> bool:
    return not accepts(address)


def both_move(application: Application, before: list[int]) -> bool:
    return all(now > then for now, then in zip(committed(application), before, strict=True))


@pytest.mark.timeout(900)
def test_both_groups_commit_after_the_brokers_return(
    application: Application, mortal: TestBroker, run: subprocess.Popen[bytes], benchmark: Any, capsys: Any
) -> None:
    """Within 5 s, by itself."""
    seconds = []
    over = threading.Event()
    fed: list[bytes] = []

    def feed() -> None:
        # A second's lines at a time, so that the load lasts as long as the rounds do.
        while not over.is_set():
            fed.extend(lines := prose(RATE, seed=len(fed)))
            application.feed(lines, rate=RATE)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        wait_for("both groups commit", partial(both_move, application, [0, 0]))
        for _ in range(KILLS):
            before = committed(application)
            wait_for("there is progress", partial(both_move, application, before))
            address = mortal.address
            mortal.kill()
            wait_for("it is gone", partial(refuses, address))
            start = threading.Thread(target=mortal.start)
            start.start()
            wait_for("it accepts connections", partial(accepts, address))
            back = time.monotonic()
            start.join()
            before = committed(application)  # of after its return: what is measured is a bit too long, never too short
            wait_for("both groups go on", partial(both_move, application, before))
            seconds.append(time.monotonic() - back)
    finally:
        over.set()
        feeder.join()
    application.wait_counted()
    assert application.counts() == recount(fed)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0
    benchmark.extra_info.update(
        kills=len(seconds), median_s=round(statistics.median(seconds), 3), worst_s=round(max(seconds), 3)
    )
    with capsys.disabled():
        print("\nthe broker's return:", json.dumps(benchmark.extra_info), [round(s, 2) for s in seconds])
    benchmark.pedantic(lambda: None)
