"""When the broker serves, and an application's first steps need not wait for it."""

import time
from collections.abc import Callable

from wcsup.broker import wire

_PAUSE = 0.02

Step = Callable[[], bool]


def await_ready(port: int, *, deadline: float, running: Callable[[], bool]) -> bool:
    """Wait until the broker at `port` of loopback takes clients and can coordinate groups and transactions.

    Returns False when `running()` no longer holds or `deadline` (of time.monotonic) has passed.
    """
    steps: list[Step] = [
        lambda: wire.brokers(port) > 0,
        lambda: wire.coordinator_error(port, wire.GROUP) == 0,
        lambda: wire.coordinator_error(port, wire.TRANSACTION) == 0,
        lambda: wire.producer_id_error(port) == 0,
    ]
    return all(await_step(step, deadline=deadline, running=running) for step in steps)


def await_step(step: Step, *, deadline: float, running: Callable[[], bool]) -> bool:
    """Try `step`, which may raise OSError while nobody listens, until it holds; return whether it ever did."""
    while running() and time.monotonic() < deadline:
        try:
            if step():
                return True
        except OSError:
            pass  # not listening yet, or shutting down: the loop's condition tells
        time.sleep(_PAUSE)
    return False
