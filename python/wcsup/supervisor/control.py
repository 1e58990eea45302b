"""Steering a running supervisor: JSON lines over a Unix socket in the state directory.

A request is one line, `{"command": "scale", "mappers": 3}`; so is the reply, `{"ok": true, "result": …}` or
`{"ok": false, "error": "…"}`. With `"wait": true` the reply comes when the command has taken effect.
"""

import json
import logging
import os
import selectors
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wcsup.errors import ConfigurationError, UsageError, WcsupError
from wcsup.supervisor.policy import Clock

log = logging.getLogger(__name__)

_LONGEST_REQUEST = 64 << 10
_MOST_CONNECTIONS = 32
_IDLE = 10.0
"""Seconds after which a connection without a request is closed."""

Reply = Mapping[str, Any]
Pending = Callable[[], Reply | None]
"""What a command returns that takes a while: called on every turn until it returns the result."""
Commands = Mapping[str, Callable[[Mapping[str, Any]], Reply | Pending]]


def socket_path(state: Path) -> Path:
    """Return the path of a state directory's socket.

    A socket's path has room for 104 bytes (macOS; Linux 108). If the path in the state directory is too long, the
    socket is in the temporary directory, with a name made from the state directory's path.
    """
    path = state.absolute() / "control.sock"
    if len(os.fsencode(path)) < 100:
        return path
    import hashlib  # noqa: PLC0415 - it loads OpenSSL, 4 MB, and is rarely needed

    short = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"wcsup-{os.getuid()}-{short}.sock"


def request(state: Path, command: Mapping[str, Any], timeout: float = 10.0) -> Any:
    """Send a command to the supervisor of a state directory and return the result of its reply.

    Raises `ConfigurationError` where no supervisor runs, `UsageError` where it refuses the request.
    """
    path = socket_path(state)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            if path.stat().st_uid not in {os.getuid(), 0}:  # a shared temporary directory may have anybody's socket
                raise ConfigurationError(f"{path} belongs to somebody else")
            _connect(connection, path, timeout)
            connection.sendall(json.dumps(dict(command)).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise WcsupError(f"the supervisor of {state} did not answer in {timeout:.0f} s") from error
        except OSError as error:
            raise ConfigurationError(f"no supervisor runs in {state}; start one with wcsup run") from error
    if not line:
        raise ConfigurationError(f"the supervisor of {state} ended before it answered")
    reply = json.loads(line)
    if not reply["ok"]:
        raise UsageError(reply["error"])
    return reply["result"]


def _connect(connection: socket.socket, path: Path, timeout: float) -> None:
    """Connect. With a full backlog, a Unix socket with a time-out refuses instead of waiting, so retry."""
    end = time.monotonic() + timeout
    while True:
        try:
            connection.connect(os.fspath(path))
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError from None
            time.sleep(0.01)
        else:
            return


class _Connection:
    """One client: the bytes that it has sent, and the bytes that it has yet to receive."""

    def __init__(self, peer: socket.socket, now: float) -> None:
        peer.setblocking(False)
        self.peer = peer
        self.received = b""
        self.to_send = b""
        self.pending: Pending | None = None
        self.last_at = now
        self.over = False


class ControlServer:
    """The supervisor's end of the socket: it never blocks, whatever its clients do."""

    def __init__(self, state: Path, commands: Commands, selector: selectors.BaseSelector, clock: Clock) -> None:
        self.path = socket_path(state)
        self._commands, self._selector, self._clock = commands, selector, clock
        self._connections: set[_Connection] = set()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.setblocking(False)
        try:
            self.path.unlink(missing_ok=True)  # of a killed supervisor: this one holds the lock, so that one is gone
            self._server.bind(os.fspath(self.path))
            self.path.chmod(0o600)  # before `listen`: nobody can connect with the mode that the umask gave
            self._server.listen(_MOST_CONNECTIONS)
        except OSError as error:
            self._server.close()
            raise ConfigurationError(f"can't make the control socket {self.path}: {error.strerror}") from error
        selector.register(self._server, selectors.EVENT_READ, self._accept)

    def tick(self) -> None:
        """Reply to commands that are done; close connections that have been idle for long."""
        now = self._clock.monotonic()
        for connection in list(self._connections):
            if connection.pending and (result := connection.pending()) is not None:
                connection.pending = None
                self._reply(connection, {"ok": True, "result": result})
                self._answer_next(connection)
            elif not connection.pending and now - connection.last_at > _IDLE:
                self._close(connection)

    def close(self) -> None:
        """Reply to commands that are done, and close."""
        self.tick()
        for connection in list(self._connections):
            self._close(connection)
        self._selector.unregister(self._server)
        self._server.close()
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:  # such as on a read-only disk; the next supervisor removes the socket
            log.warning("the control socket %s stays behind: %s", self.path, error.strerror)

    def _accept(self) -> None:
        try:
            peer, _ = self._server.accept()
        except OSError:  # the client is gone, or no descriptor is left; the loop goes on either way
            return
        if len(self._connections) >= _MOST_CONNECTIONS:
            peer.close()
            return
        connection = _Connection(peer, self._clock.monotonic())
        self._connections.add(connection)
        self._selector.register(peer, selectors.EVENT_READ, lambda: self._serve(connection))

    def _serve(self, connection: _Connection) -> None:
        connection.last_at = self._clock.monotonic()
        if connection.to_send:
            self._send(connection)
            self._answer_next(connection)
            return
        try:
            data = connection.peer.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.received += data
        if len(connection.received) > _LONGEST_REQUEST:
            connection.over = True
            self._reply(connection, {"ok": False, "error": "the request is too long"})
            return
        self._answer_next(connection)

    def _answer_next(self, connection: _Connection) -> None:
        """Answer one request after the other; a client that does not read a reply gets no further one."""
        while b"\n" in connection.received and not (connection.to_send or connection.pending or connection.over):
            line, connection.received = connection.received.split(b"\n", 1)
            try:
                answer = self._execute(line)
            except WcsupError as error:
                self._reply(connection, {"ok": False, "error": str(error)})
                continue
            if callable(answer):
                connection.pending = answer
            else:
                self._reply(connection, {"ok": True, "result": answer})

    def _execute(self, line: bytes) -> Reply | Pending:
        try:
            asked = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the request is not JSON: {error}") from error
        name = asked.get("command") if isinstance(asked, dict) else None
        if not isinstance(name, str) or name not in self._commands:
            raise UsageError(f"no command {name!r}; there are {', '.join(self._commands)}")
        return self._commands[name](asked)

    def _reply(self, connection: _Connection, reply: Mapping[str, Any]) -> None:
        connection.to_send += json.dumps(reply).encode() + b"\n"
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        try:
            sent = connection.peer.send(connection.to_send)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        connection.to_send = connection.to_send[sent:]
        if connection.to_send:
            self._selector.modify(connection.peer, selectors.EVENT_WRITE, lambda: self._serve(connection))
        elif connection.over:
            self._close(connection)
        else:
            self._selector.modify(connection.peer, selectors.EVENT_READ, lambda: self._serve(connection))

    def _close(self, connection: _Connection) -> None:
        connection.over = True
        if connection in self._connections:
            self._connections.discard(connection)
            self._selector.unregister(connection.peer)
            connection.peer.close()
