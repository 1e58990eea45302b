"""How long counting pauses while one broker of three fails over, beside a plain transactional producer.

Three brokers, three copies of everything, two have to be in sync. The real `wcsup run` with a mapper and a reducer
counts 200 lines a second, and beside it a producer with librdkafka's own settings writes a record to each partition of
a topic in each transaction. Every broker in turn is killed, and then every one in turn stands still (SIGSTOP), for
`DOWN_SECONDS`. The pause is the longest time without a commit from then on until the broker is back and all copies are
in sync; of wcsup the longer one of its two stages. `WCSUP_FAILOVERS` sets how many brokers are taken (3).
"""

import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from application import WAIT_SECONDS, wait_for
from benches.sampler import longest_pause
from cluster import NODES, Cluster, Node, cluster, nodes
from confluent_kafka import KafkaException, Producer
from confluent_kafka.cimpl import NewTopic
from feeding import fed
from fixtures import configuration
from reference import recount
from shell import Shell

from wcsup.errors import WcsupError
from wcsup.supervisor import request

__all__ = ["cluster", "nodes"]

FAILOVERS = int(os.environ.get("WCSUP_FAILOVERS", str(len(NODES))))
RATE = 200
DOWN_SECONDS = 20.0
PARTITIONS = 4


class Commits(threading.Thread):
    """Notes when commits are seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.at: list[float] = []
        self.over = False

    def pause(self, begin: float, end: float) -> float:
        """Return the longest time without one."""
        return longest_pause(self.at, begin, end)


class Plain(Commits):
    """A producer as one writes it first: it follows the flags of librdkafka's errors, and nothing else."""

    def __init__(self, address: str, topic: str) -> None:
        super().__init__()
        self._address, self._topic = address, topic

    def run(self) -> None:
        while not self.over:
            with suppress(KafkaException):
                self._produce(Producer({"bootstrap.servers": self._address, "transactional.id": self._topic}))

    def _produce(self, producer: Producer) -> None:
        self._call(producer.init_transactions)
        while not self.over:
            producer.begin_transaction()
            try:
                for partition in range(PARTITIONS):
                    producer.produce(self._topic, b"value", partition=partition)
                self._call(producer.commit_transaction)
            except KafkaException as failed:
                if not failed.args[0].txn_requires_abort():
                    raise
                self._call(producer.abort_transaction)
            else:
                self.at.append(time.monotonic())
            time.sleep(0.02)

    def _call(self, call: Any) -> None:
        while True:
            try:
                call()
            except KafkaException as failed:
                if not failed.args[0].retriable():
                    raise
                time.sleep(0.1)
            else:
                return


class Stage(Commits):
    """Asks the supervisor how often a stage has committed: it hears twice a second."""

    def __init__(self, state: Path, role: str) -> None:
        super().__init__()
        self._state, self._role = state, role

    def run(self) -> None:
        last = 0
        while not self.over:
            with suppress(WcsupError):
                now = request(self._state, {"command": "status"})["totals"][self._role]["commits"]
                if now > last:
                    self.at.append(time.monotonic())
                last = now
            time.sleep(0.1)


@contextmanager
def noting(*commits: Commits) -> Iterator[None]:
    for one in commits:
        one.start()
    try:
        yield
    finally:
        for one in commits:
            one.over = True
        for one in commits:
            one.join()


def fail(cluster: Cluster, node: Node, how: str) -> tuple[float, float]:
    """Have a node fail for a while; return from when until when."""
    begin = time.monotonic()
    node.kill() if how == "kill" else node.stop()
    over = begin + DOWN_SECONDS
    wait_for("it has been away for long", lambda: time.monotonic() > over)
    cluster.heal()
    return begin, time.monotonic()


@pytest.mark.timeout(1800)
def test_counting_pauses_no_longer_than_a_plain_producer(
    cluster: Cluster, tmp_path: Path, benchmark: Any, ratios: Any, capsys: Any
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    wcsup = Shell(configuration(cluster.address, tmp_path / "state"), place)
    application, state = wcsup.application, wcsup.config.state
    application.make_topics()
    cluster.admin.create_topics([NewTopic("plain", PARTITIONS, 3)])["plain"].result()
    plain, stages = Plain(cluster.address, "plain"), [Stage(state, "map"), Stage(state, "reduce")]
    pauses: dict[str, list[tuple[float, float]]] = {"kill": [], "stop": []}
    run = wcsup.start("run --mappers 1 --reducers 1 --plain --log-file run.log --session-timeout 30")
    try:
        wcsup.wait_ready()
        with noting(plain, *stages), fed(application, 1, RATE) as lines:
            wait_for("all commit", lambda: all(len(one.at) > 5 for one in (plain, *stages)))
            for how, number in itertools.product(pauses, NODES[:FAILOVERS]):
                begin, end = fail(cluster, cluster.nodes[number], how)
                pauses[how].append((max(one.pause(begin, end) for one in stages), plain.pause(begin, end)))
        application.wait_counted(5 * WAIT_SECONDS)
        restarts = wcsup.status()["restarts"]
        assert wcsup("drain --wait").status == 0
        assert run.wait(WAIT_SECONDS) == 0
        assert application.counts() == recount(lines)
    finally:
        wcsup.stop()
    for how, found in pauses.items():
        ours, theirs = (statistics.median(one) for one in zip(*found, strict=True))
        ratios[f"failover {how}: pause of a plain producer by ours"] = theirs / ours
        benchmark.extra_info[how] = [(round(mine, 1), round(other, 1)) for mine, other in found]
    with capsys.disabled():
        print("\nfailover, pauses in seconds (ours, a plain producer's):", json.dumps(benchmark.extra_info), restarts)
    benchmark.pedantic(lambda: None)
