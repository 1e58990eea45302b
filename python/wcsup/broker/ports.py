"""Ports of loopback: finding a free one, and who has one that is taken."""

import random
import socket
import time
from contextlib import suppress

import psutil

# Below the ports that Linux (32768 on) and macOS (49152 on) give to outgoing connections. A client that
# tries again and again to reach a stopped broker at a port of that range is given that very port sooner
# or later, is connected to itself, and the broker can't come back.
_CANDIDATES = range(15000, 32768)
_PAUSE = 0.02


def free(port: int) -> bool:
    """Tell whether a server can listen at `port` of loopback."""
    with socket.socket() as probe:
        # As Java's server sockets do: connections that are closing don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def comes_free(port: int, *, patience: float = 3.0) -> bool:
    """Wait for `port` while nobody is known to listen there: a process that was just killed still gives it back."""
    deadline = time.monotonic() + patience
    while not free(port):
        if owner(port) or time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def find_free(*, but: int | None = None) -> int:
    """Return a free port, another one than `but`."""
    while True:
        port = random.choice(_CANDIDATES)  # noqa: S311
        if port != but and free(port):
            return port


def owner(port: int) -> str:
    """Say who listens at `port` (" by pid 4711, java"), or nothing where the system doesn't tell."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and connection.laddr and connection.laddr.port == port:
                return f" by pid {connection.pid}, {psutil.Process(connection.pid).name()}"
    return ""
