"""When the broker is ready, so that an application's first requests need not wait."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from wcsup.broker import wire

if TYPE_CHECKING:
    import ssl

_PAUSE = 0.02

Step = Callable[[], bool]


def await_ready(
    port: int, *, deadline: float, running: Callable[[], bool], tls: "ssl.SSLContext | None" = None
) -> bool:
    """Wait until the broker at `port` of loopback accepts clients and can coordinate groups and transactions.

    With `tls` the port is asked by TLS. Returns False when `running()` is false or `deadline` (of time.monotonic) has
    passed.
    """
    steps: list[Step] = [
        lambda: wire.brokers(port, tls) > 0,
        lambda: wire.coordinator_error(port, wire.GROUP, tls) == 0,
        lambda: wire.coordinator_error(port, wire.TRANSACTION, tls) == 0,
        lambda: wire.producer_id_error(port, tls) == 0,
    ]
    return all(await_step(step, deadline=deadline, running=running) for step in steps)


def await_step(step: Step, *, deadline: float, running: Callable[[], bool]) -> bool:
    """Call `step`, which may raise OSError while nobody listens, until it is true; return whether it ever was."""
    while running() and time.monotonic() < deadline:
        try:
            if step():
                return True
        except OSError:
            pass  # the broker does not listen yet, or is ending: the loop's condition decides
        time.sleep(_PAUSE)
    return False
