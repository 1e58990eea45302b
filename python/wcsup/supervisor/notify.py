"""What systemd wants to know of a service (`sd_notify`, `Type=notify`): one datagram an event."""

import os
import socket
from collections.abc import MutableMapping

from wcsup.supervisor.policy import Clock
from wcsup.supervisor.snapshot import Snapshot


class Notifier:
    """Tells systemd; outside of it, or where it does not listen, does nothing."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        """Seconds within which systemd wants a sign of life, if it does."""
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """Take systemd's address out of the environment, so that no child speaks in our place."""
        address = environment.pop("NOTIFY_SOCKET", None)
        watchdog, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        mine = watchdog.isdigit() and pid in {"", str(os.getpid())}
        return cls(address, int(watchdog) / 1e6 if mine else None)

    def tell(self, **fields: str | int) -> None:
        """Send fields, such as `READY=1` or `STATUS="3 of 4 workers ready"`."""
        if self._socket:
            try:
                message = "\n".join(f"{name}={value}" for name, value in fields.items())
                self._socket.sendto(message.encode(), self._address)
            except OSError:
                pass  # a full queue or a systemd that restarts: the next message will do

    def close(self) -> None:
        """Close the socket."""
        if self._socket:
            self._socket.close()
            self._socket = None


class Service:
    """The run as a service of systemd: its readiness, its state in a line, its signs of life."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier, self._clock = notifier, clock
        self._ready = self._stopping = False
        self._status = ""
        self._alive_at = float("-inf")

    def tick(self, snapshot: Snapshot, was_ready: bool) -> None:
        """Tell what has changed."""
        if was_ready and not self._ready:
            self._ready = True
            self._notifier.tell(READY=1)
        if snapshot.stopping and not self._stopping:
            self._stopping = True
            self._notifier.tell(STOPPING=1)
        ready = sum(worker.ready for worker in snapshot.workers)
        status = snapshot.stopping or f"{ready} of {len(snapshot.workers)} workers ready"
        if status != self._status:
            self._status = status
            self._notifier.tell(STATUS=status)
        now = self._clock.monotonic()
        if now - self._alive_at >= min(5.0, (self._notifier.watchdog or 10.0) / 3):
            self._alive_at = now
            if self._notifier.watchdog:
                self._notifier.tell(WATCHDOG=1)
            if not self._ready or self._stopping:  # restoring and draining take what they take
                self._notifier.tell(EXTEND_TIMEOUT_USEC=15_000_000)

    def close(self) -> None:
        """Close the notifier."""
        self._notifier.close()
