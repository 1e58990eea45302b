"""Fixtures of tests and benches: one real broker for each test process, and a fresh application for each test."""

import itertools
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import brokers
import pytest
from application import Application
from brokers import Doors, TestBroker
from disks import Disks
from shell import Shell

from wcsup.audit.proxy import Proxy
from wcsup.config import Config
from wcsup.process import logs

# A shell's background jobs ignore SIGINT, and every process that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """End the logging that a test configured: its thread would go on and write what later tests log."""
    level = logging.root.level
    yield
    logs.flush()
    logging.root.setLevel(level)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broker")


@pytest.fixture(scope="session")
def doors() -> Doors:
    return Doors.find()


@pytest.fixture(scope="session")
def broker(data_dir: Path, doors: Doors) -> Iterator[str]:
    """The address of a real Kafka that all tests share."""
    with brokers.broker(data_dir, doors) as running:
        yield running.address


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[TestBroker]:
    """A broker of the test's own."""
    with brokers.broker(tmp_path / "broker", Doors.find()) as running:
        yield running


@pytest.fixture
def proxy(broker: str, doors: Doors) -> Iterator[Proxy]:  # noqa: ARG001 - the broker is to be there
    """A proxy before the broker: clients that start at its address stay behind it."""
    between = Proxy(doors.outside, doors.inside)
    yield between
    between.close()


@pytest.fixture
def disks() -> Iterator[Disks]:
    """Disks that fail. A test has to name this fixture before those that use the disks, so that it ends last."""
    made = Disks()
    yield made
    made.close()


def configuration(broker: str, state: Path) -> Config:
    """Return the configuration of an application that nothing else uses; `PROTOCOL` is its --group-protocol."""
    name = f"test{next(_numbers)}"
    return Config(
        bootstrap_servers=broker,
        app_id=name,
        topic_prefix=f"{name}.",
        state_dir=state,
        partitions=4,
        group_protocol="consumer" if os.environ.get("PROTOCOL") == "consumer" else "classic",
    )


@pytest.fixture
def app(broker: str, tmp_path: Path) -> Config:
    return configuration(broker, tmp_path / "state")


@pytest.fixture
def application(app: Config) -> Iterator[Application]:
    """The application with its topics made; its workers are gone afterwards."""
    under_test = Application(app)
    under_test.make_topics()
    yield under_test
    under_test.stop()


@pytest.fixture
def make_application(broker: str, tmp_path: Path) -> Iterator[Callable[[], Application]]:
    """Make as many applications as a test wants."""
    made: list[Application] = []

    def make(partitions: int = 12) -> Application:
        config = replace(configuration(broker, tmp_path / f"state{len(made)}"), partitions=partitions)
        made.append(Application(config))
        made[-1].make_topics()
        return made[-1]

    yield make
    for under_test in made:
        under_test.stop()


@pytest.fixture
def wcsup(app: Config, tmp_path: Path) -> Iterator[Shell]:
    """The commands, for the application."""
    shell = Shell(app, tmp_path)
    yield shell
    shell.stop()
