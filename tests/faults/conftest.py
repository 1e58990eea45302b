"""What fault tests share: a seed that is printed, and that `make faults SEED=…` sets."""

import logging
import os
import random
from collections.abc import Iterator

import pytest


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
