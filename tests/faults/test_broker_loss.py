"""The broker killed (SIGKILL) and started again at the same address, under load."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import brokers
import pytest
from application import Application, prose, wait_for
from brokers import Doors, TestBroker
from fixtures import configuration
from invariants import Witness, hold
from keeper import Slot, keeping

from wcsup.kafka import groups

SLOTS: list[Slot] = [("map", "0"), ("map", "1"), ("reduce", "0"), ("reduce", "1")]

RATE = 2000
"""Lines a second while the broker is gone and back."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[TestBroker]:
    """A broker of the test's own."""
    with brokers.broker(tmp_path / "broker", Doors.find()) as running:
        yield running


@pytest.fixture
def application(mortal: TestBroker, tmp_path: Path) -> Iterator[Application]:
    under_test = Application(configuration(mortal.address, tmp_path / "state"))
    under_test.make_topics()
    yield under_test
    under_test.stop()


def committed(application: Application, group: str, topic: str) -> int:
    """Return the sum of a group's committed offsets."""
    config = application.config
    return sum(groups.committed(config, group, config.topic(topic), config.partitions).values())


@contextmanager
def fed(application: Application, seed: int) -> Iterator[list[bytes]]:
    """Write lines all the time, until the block ends; the list has all of them then."""
    lines: list[bytes] = []
    over = threading.Event()

    def feed() -> None:
        chance = random.Random(seed)
        while not over.is_set():
            more = prose(RATE, chance.getrandbits(32))
            lines.extend(more)
            application.feed(more, rate=RATE)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("time_outs", [2.0, 20.0], ids=["sessions-and-transactions-end", "they-go-on"])
def test_counting_goes_on_by_itself_when_the_broker_is_back(
    application: Application, mortal: TestBroker, seed: int, time_outs: float
) -> None:
    rng = random.Random(seed)
    first = prose(1000, seed)
    application.feed(first)
    changes = {"session_timeout": time_outs, "transaction_timeout": time_outs}
    with keeping(application, *SLOTS, **changes) as keeper, Witness(application):
        application.wait_counted()

        def committed_more_than(commits: int) -> bool:
            return keeper.running["map", "0"].report.counters.commits > commits

        def goes_on(group: str, topic: str, before: int) -> bool:
            return committed(application, group, topic) > before

        with fed(application, seed) as lines:
            for _ in range(2):
                # Given load, at a random moment
                commits = keeper.running["map", "0"].report.counters.commits + rng.randrange(5)
                wait_for("there is progress", partial(committed_more_than, commits))
                # When the broker is gone and back
                mortal.kill()
                mortal.start()
                back = time.monotonic()

                # Then both groups commit again (how soon is measured in benches/)
                for name, config in (
                    ("lines", application.config.map_group),
                    ("words", application.config.reduce_group),
                ):
                    before = committed(application, config, name)
                    wait_for(f"{name} go on", partial(goes_on, config, name, before))
                print(f"counted on {time.monotonic() - back:.2f} s after the broker's return")
        application.wait_counted()
        assert len(keeper.ends) <= 2 * len(SLOTS), keeper.ends
        assert keeper.aborts() <= 4 * len(SLOTS)
    hold(application, first + lines)
