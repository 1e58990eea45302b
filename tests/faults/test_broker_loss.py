"""The broker killed (SIGKILL) and started again at the same address, under load."""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from application import Application, prose, wait_for
from brokers import TestBroker
from feeding import committed, fed
from fixtures import configuration
from invariants import Witness, hold
from keeper import Slot, keeping

SLOTS: list[Slot] = [("map", "0"), ("map", "1"), ("reduce", "0"), ("reduce", "1")]


@pytest.fixture
def application(mortal: TestBroker, tmp_path: Path) -> Iterator[Application]:
    under_test = Application(configuration(mortal.address, tmp_path / "state"))
    under_test.make_topics()
    yield under_test
    under_test.stop()


@pytest.mark.parametrize(
    "time_outs",
    [
        pytest.param(2.0, id="sessions-and-transactions-end"),
        pytest.param(20.0, id="they-go-on", marks=pytest.mark.long),
    ],
)
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
