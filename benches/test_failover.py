"""How long counting pauses while brokers of three fail, beside a plain transactional producer.

Three brokers, three copies of everything, two have to be in sync. The real `wcsup run` with a mapper and a reducer
counts 200 lines a second, and beside it a producer with librdkafka's own settings writes a record to each partition of
a topic in each transaction. What fails:

- every broker in turn is killed, for `DOWN_SECONDS`;
- every one in turn stands still (SIGSTOP), for as long;
- all are restarted one after the other (SIGTERM), each when every copy is in sync again;
- two are killed at once, and one of them is back after `REST_SECONDS`: from then on there is a majority.

The pause is the longest time without a commit from then on until all brokers are back and all copies in sync; where
there was no majority, it is the time from its return to the next commit. Of wcsup it is the longer one of its two
stages. `elected` is when no partition is led by the broker that failed any more, and `coordinated` what the broker was
coordinator of. Readers are held back as `tests/held.py` says. `WCSUP_FAILOVERS` sets how many brokers are taken (3).
"""

import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
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
from held import Held
from reference import recount
from shell import Shell

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.state.directory import open_directory
from wcsup.supervisor import request

__all__ = ["cluster", "nodes"]

FAILOVERS = int(os.environ.get("WCSUP_FAILOVERS", str(len(NODES))))
RATE = 200
DOWN_SECONDS = 20.0
REST_SECONDS = 30.0
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

    def after(self, moment: float) -> float:
        """Return the seconds from a moment to the next one."""
        return min(at for at in self.at if at > moment) - moment


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


@dataclass(frozen=True)
class Pause:
    """What one failure did. All times are in seconds."""

    ours: float
    plain: float
    elected: float | None
    """How long the brokers took to elect other leaders; none where that is not what counting waits for."""
    coordinated: str
    held: float
    """The longest time that readers were held back, of all failures so far."""


class Failures:
    """Makes the nodes of a cluster fail, and looks how long nothing is committed."""

    def __init__(self, cluster: Cluster, config: Config, stages: list[Stage], plain: Plain, held: Held) -> None:
        self._cluster, self._config, self._stages, self._plain, self._held = cluster, config, stages, plain, held

    def kill(self) -> Iterator[Pause]:
        for number in NODES[:FAILOVERS]:
            yield self._one(number, Node.kill)

    def stop(self) -> Iterator[Pause]:
        for number in NODES[:FAILOVERS]:
            yield self._one(number, Node.stop)

    def restart(self) -> Iterator[Pause]:
        begin = time.monotonic()
        self._cluster.restart()
        yield self._pause(begin, time.monotonic(), None, "all")

    def rest(self) -> Iterator[Pause]:
        first, second = random.sample(NODES, 2)
        with self._held.uncounted():
            for number in (first, second):
                self._cluster.nodes[number].kill()
            sleep_until(time.monotonic() + REST_SECONDS)
            self._cluster.nodes[first].start()
            self._cluster.wait_live(len(NODES) - 1)
        begin = time.monotonic()
        everyone = [self._plain, *self._stages]
        wait_for("all commit", lambda: all(one.at and one.at[-1] > begin for one in everyone), 300)
        ours, plain = (max(one.after(begin) for one in some) for some in (self._stages, [self._plain]))
        self._cluster.heal()
        yield Pause(ours, plain, None, "all", self._held.longest)

    def _one(self, number: int, fail: Callable[[Node], None]) -> Pause:
        """Have a node fail for a while."""
        coordinated = self._coordinated(number)
        begin = time.monotonic()
        fail(self._cluster.nodes[number])
        self._cluster.wait_live(len(NODES) - 1)
        elected = time.monotonic() - begin
        sleep_until(begin + DOWN_SECONDS)
        self._cluster.heal()
        return self._pause(begin, time.monotonic(), elected, coordinated)

    def _pause(self, begin: float, end: float, elected: float | None, coordinated: str) -> Pause:
        ours = max(one.pause(begin, end) for one in self._stages)
        return Pause(ours, self._plain.pause(begin, end), elected, coordinated, self._held.longest)

    def _coordinated(self, number: int) -> str:
        config = self._config
        names = [open_directory(config).name(config, role, "0") for role in ("map", "reduce")]
        kinds = {"groups": ([config.map_group, config.reduce_group], []), "transactions": ([], names)}
        found = [kind for kind, asked in kinds.items() if number in self._cluster.coordinators(*asked)]
        return " and ".join(found) or "nothing"


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


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
    pauses: dict[str, list[Pause]] = {}
    run = wcsup.start("run --mappers 1 --reducers 1 --plain --log-file run.log")
    try:
        wcsup.wait_ready()
        with noting(plain, *stages), fed(application, 1, RATE, seconds=300) as lines, Held(application) as held:
            wait_for("all commit", lambda: all(len(one.at) > 5 for one in (plain, *stages)))
            failures = Failures(cluster, wcsup.config, stages, plain, held)
            kinds = {
                "kill": failures.kill,
                "stop": failures.stop,
                "restart": failures.restart,
                "rest": failures.rest,
            }
            for name, fail in kinds.items():
                pauses[name] = []
                for pause in fail():
                    pauses[name].append(pause)
                    with capsys.disabled():
                        print(name, pause)
        application.wait_counted(5 * WAIT_SECONDS)
        restarts = wcsup.status()["restarts"]
        assert wcsup("drain --wait").status == 0
        assert run.wait(WAIT_SECONDS) == 0
        assert application.counts() == recount(lines)
    finally:
        wcsup.stop()
    for how in ("kill", "stop"):
        ours, theirs = (statistics.median(getattr(one, whose) for one in pauses[how]) for whose in ("ours", "plain"))
        ratios[f"failover {how}: pause of a plain producer by ours"] = theirs / ours
    with capsys.disabled():
        print(f"\n{'what fails':<10}{'ours: median':>14}{'worst':>8}{'plain: median':>15}{'worst':>8}{'elected':>10}")
        for name, found in pauses.items():
            mine, other = [one.ours for one in found], [one.plain for one in found]
            elected = max((one.elected for one in found if one.elected is not None), default=0.0)
            print(
                f"{name:<10}{statistics.median(mine):>14.1f}{max(mine):>8.1f}"
                f"{statistics.median(other):>15.1f}{max(other):>8.1f}{elected:>10.1f}"
            )
        print(f"readers were held for {held.longest:.1f} s at most; workers that were replaced: {restarts or 'none'}")
    benchmark.extra_info["pauses"] = {how: [asdict(one) for one in found] for how, found in pauses.items()}
    benchmark.pedantic(lambda: None)
