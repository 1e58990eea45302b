"""Brokers for tests: the embedded one with short time-outs, and a second listener that advertises a proxy's address."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from wcsup import broker as embedded
from wcsup.broker import ports, settings

_HERE = "127.0.0.1"

# In a properties file the last of equal keys is valid, so these lines override those of the embedded broker.
_MORE = """
listeners=PLAINTEXT://{listens}:{port},PROXIED://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://{address}:{port},PROXIED://127.0.0.1:{outside}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
# A test waits for these; in earnest nobody does.
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
log.cleaner.backoff.ms=100
"""


@dataclass(frozen=True, slots=True)
class Doors:
    """Ports of the second listener: the broker's own, and the advertised one."""

    inside: int
    outside: int

    @classmethod
    def find(cls) -> "Doors":
        inside = ports.find_free()
        return cls(inside, ports.find_free(but=inside))


class TestBroker:
    """An embedded broker that can be killed and started again at the same address."""

    __test__ = False

    def __init__(self, data: Path, doors: Doors, more: str = "", address: str = _HERE) -> None:
        """`more` are further lines of the properties file. `address` is where other machines find this one."""
        self._data = data
        self._doors = doors
        self._more = more
        self._address = address
        self._running: embedded.Broker | None = None

    def start(self) -> None:
        with mock.patch.object(settings, "server", self._extended(settings.server)):
            self._running = embedded.start(self._data, quiet=True)

    @property
    def address(self) -> str:
        assert self._running is not None
        return self._running.bootstrap.replace(_HERE, self._address)

    def kill(self) -> None:
        """End the broker like a crash of its host: nothing is flushed, and no client is told."""
        assert self._running is not None
        kill(self._running.pid)

    def _extended(self, server: Callable[..., str]) -> Callable[..., str]:
        def patched(*, port: int, controller_port: int, **other: str) -> str:
            text = server(port=port, controller_port=controller_port, **other)
            own = _MORE.format(
                port=port,
                controller_port=controller_port,
                inside=self._doors.inside,
                outside=self._doors.outside,
                address=self._address,
                listens=_HERE if self._address == _HERE else "0.0.0.0",  # noqa: S104 - on a network of its own
            )
            return text + own + self._more

        return patched


def kill(pid: int) -> None:
    """Kill a process, if it has not ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def broker(data: Path, doors: Doors, more: str = "", address: str = _HERE) -> Iterator[TestBroker]:
    """A running broker, killed at the end of the `with` block: a clean stop takes half a minute with many topics."""
    running = TestBroker(data, doors, more, address)
    running.start()
    try:
        yield running
    finally:
        running.kill()
