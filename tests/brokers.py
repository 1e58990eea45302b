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

# In a properties file the last of equal keys is valid, so these lines override those of the embedded broker.
_MORE = """
listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PROXIED://127.0.0.1:{outside}
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

    def __init__(self, data: Path, doors: Doors, more: str = "") -> None:
        """`more` are further lines of the properties file."""
        self._data = data
        self._doors = doors
        self._more = more
        self._running: embedded.Broker | None = None

    def start(self) -> None:
        with mock.patch.object(settings, "server", _extended(settings.server, self._doors, self._more)):
            self._running = embedded.start(self._data, quiet=True)

    @property
    def address(self) -> str:
        assert self._running is not None
        return self._running.bootstrap

    def kill(self) -> None:
        """End the broker like a crash of its host: nothing is flushed, and no client is told."""
        assert self._running is not None
        kill(self._running.pid)


def kill(pid: int) -> None:
    """Kill a process, if it has not ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _extended(server: Callable[..., str], doors: Doors, more: str) -> Callable[..., str]:
    def patched(*, port: int, controller_port: int, **other: str) -> str:
        text = server(port=port, controller_port=controller_port, **other)
        own = _MORE.format(port=port, controller_port=controller_port, inside=doors.inside, outside=doors.outside)
        return text + own + more

    return patched


@contextmanager
def broker(data: Path, doors: Doors, more: str = "") -> Iterator[TestBroker]:
    """A running broker, killed at the end of the `with` block: a clean stop takes half a minute with many topics."""
    running = TestBroker(data, doors, more)
    running.start()
    try:
        yield running
    finally:
        running.kill()
