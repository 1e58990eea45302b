"""All kinds of faults at random, under load, for a while; `make soak MINUTES=10 SEED=…` runs it for longer."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import brokers
import pytest
from application import Application
from brokers import Doors, TestBroker
from fixtures import configuration
from soak.run import Soak

from wcsup.audit.proxy import Proxy

MINUTES = float(os.environ.get("MINUTES") or 0.3)


@pytest.fixture
def doors() -> Doors:
    return Doors.find()


@pytest.fixture
def mortal(tmp_path: Path, doors: Doors) -> Iterator[TestBroker]:
    """A broker of the test's own."""
    with brokers.broker(tmp_path / "broker", doors) as running:
        yield running


@pytest.fixture
def proxy(mortal: TestBroker, doors: Doors) -> Iterator[Proxy]:  # noqa: ARG001 - the broker is to be there
    between = Proxy(doors.outside, doors.inside)
    yield between
    between.close()


@pytest.fixture
def application(mortal: TestBroker, tmp_path: Path) -> Iterator[Application]:
    under_test = Application(replace(configuration(mortal.address, tmp_path / "state"), partitions=6))
    under_test.make_topics()
    yield under_test
    under_test.end()


@pytest.mark.timeout(300 + 120 * MINUTES)
def test_whatever_breaks_counts_stay_exact(
    application: Application, mortal: TestBroker, proxy: Proxy, seed: int, tmp_path: Path
) -> None:
    soak = Soak(application, mortal, proxy, seed)
    try:
        soak.run(MINUTES)
    except BaseException:
        log = tmp_path / "soak.log"
        soak.write(log)
        print(f"seed {seed} failed; faults and logs in the order of time are in {log}", soak.describe(), sep="\n")
        raise
