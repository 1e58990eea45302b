"""Notifications for systemd about the service (`sd_notify`, `Type=notify`): one datagram for each event."""

import os
import socket
from collections.abc import MutableMapping

from wcsup.supervisor.policy import Clock
from wcsup.supervisor.snapshot import Snapshot


class Notifier:
    """Notifies systemd; does nothing where systemd did not start the service or does not listen."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self.watchdog = watchdog
        """Seconds within which systemd expects a sign of life; none where it expects none."""
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
            self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str]) -> "Notifier":
        """Take systemd's address out of the environment, so that no child process notifies systemd."""
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
                pass  # systemd's queue is full, or systemd restarts: the next message will get through

    def close(self) -> None:
        """Close the socket."""
        if self._socket:
            self._socket.close()
            self._socket = None


class Service:
    """The run as a systemd service: its readiness, its state in one line, its signs of life."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier, self._clock = notifier, clock
        self._ready = self._stopping = self._reloading = False
        self._status = ""
        self._alive_at = float("-inf")

    def reload(self) -> None:
        """Notify systemd that the workers are restarted one after another (`Type=notify-reload`)."""
        self._reloading = True
        self._notifier.tell(RELOADING=1, MONOTONIC_USEC=int(self._clock.monotonic() * 1e6))

    def tick(self, snapshot: Snapshot, was_ready: bool, *, rolling: bool = False) -> None:
        """Notify systemd of changes; `rolling`: workers are restarted one after another."""
        if was_ready and (not self._ready or (self._reloading and not rolling)):
            self._ready, self._reloading = True, False
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
            if not self._ready or self._reloading or self._stopping:  # restoring and draining may take long
                self._notifier.tell(EXTEND_TIMEOUT_USEC=15_000_000)

    def close(self) -> None:
        """Close the notifier."""
        self._notifier.close()
