"""Load that goes on while something breaks, and whether it is counted."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from application import WAIT_SECONDS, Application, prose, wait_for
from confluent_kafka import KafkaException

from wcsup.kafka import groups

RATE = 2000
"""Lines a second."""
FAILOVER_SECONDS = 300.0
"""How long new leaders and coordinators may take on a busy machine."""


def committed(application: Application, group: str, topic: str) -> int:
    """Return the sum of a group's committed offsets, as soon as its coordinator tells them."""
    config = application.config
    found: list[int] = []

    def told() -> bool:
        with suppress(KafkaException):  # a broker that has just started does not coordinate the group yet
            found.append(sum(groups.committed(config, group, config.topic(topic), config.partitions).values()))
        return bool(found)

    wait_for(f"the offsets of {group} are told", told)
    return found[0]


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


def wait_counting(application: Application) -> None:
    """Wait until both groups commit again, as soon as their coordinators answer."""
    config = application.config
    for name, group in (("lines", config.map_group), ("words", config.reduce_group)):
        seen: list[int] = []

        def goes_on(name: str = name, group: str = group, seen: list[int] = seen) -> bool:
            with suppress(KafkaException):
                seen.append(committed(application, group, name))
            return bool(seen) and seen[-1] > seen[0]

        wait_for(f"{name} go on", goes_on, FAILOVER_SECONDS)
