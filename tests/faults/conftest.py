"""What fault tests share: a seed that is printed and that `make faults SEED=…` sets, and three brokers in use."""

import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from fixtures import configuration
from shell import Shell

from wcsup.kafka import topics


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {chosen}")
    return chosen


@pytest.fixture(autouse=True)
def quiet_clients() -> Iterator[None]:
    """Keep the connection errors of the test's own clients, a thousand a test, from the report of a failure."""
    log = logging.getLogger("wcsup.kafka")
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(logging.NOTSET)


@pytest.fixture
def clustered(cluster: Cluster, tmp_path: Path) -> Iterator[Shell]:
    """The commands of an application on three brokers, all of which are whole again afterwards."""
    place = tmp_path / "place"
    place.mkdir()
    shell = Shell(configuration(cluster.address, tmp_path / "state"), place)
    yield shell
    shell.stop()
    cluster.heal()
    topics.delete(shell.application.admin, shell.config)
