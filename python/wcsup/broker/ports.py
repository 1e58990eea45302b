"""Ports of loopback: finding a free one, and finding the owner of a taken one."""

import random
import socket
import time
from contextlib import suppress

import psutil

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections. If a broker's port were
# in that range, a client that reconnects again and again while the broker is stopped would some time get that very port
# as its own, be connected to itself, and keep the broker from coming back.
_CANDIDATES = range(15000, 32768)
_PAUSE = 0.02


def free(port: int) -> bool:
    """Tell whether a server can listen at `port` of loopback."""
    with socket.socket() as probe:
        # As in Java's server sockets: closing connections don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def comes_free(port: int, *, patience: float = 3.0) -> bool:
    """Wait until `port` is free, unless it has a known listener: a killed process may hold it for another moment."""
    deadline = time.monotonic() + patience
    while not free(port):
        if owner(port) or time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True


def find_free(*, but: int | None = None) -> int:
    """Return a free port other than `but`."""
    while True:
        port = random.choice(_CANDIDATES)  # noqa: S311
        if port != but and free(port):
            return port


def owner(port: int) -> str:
    """Return who listens at `port` (" by pid 4711, java"), or an empty text where the system doesn't tell."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.pid and connection.laddr and connection.laddr.port == port:
                return f" by pid {connection.pid}, {psutil.Process(connection.pid).name()}"
    return ""
