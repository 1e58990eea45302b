"""Load that goes on while something breaks, and whether it is counted."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from application import WAIT_SECONDS, Application, prose

from wcsup.kafka import groups

RATE = 2000
"""Lines a second."""


def committed(application: Application, group: str, topic: str) -> int:
    """Return the sum of a group's committed offsets."""
    config = application.config
    return sum(groups.committed(config, group, config.topic(topic), config.partitions).values())


@contextmanager
def fed(
    application: Application, seed: int, rate: int = RATE, *, seconds: float = WAIT_SECONDS
) -> Iterator[list[bytes]]:
    """Write lines all the time, until the block ends; the list has all of them then.

    `seconds` is how long brokers may take no lines.
    """
    lines: list[bytes] = []
    over = threading.Event()

    def feed() -> None:
        chance = random.Random(seed)
        while not over.is_set():
            more = prose(rate, chance.getrandbits(32))
            lines.extend(more)
            application.feed(more, rate=rate, seconds=seconds)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()
