"""The server: it accepts clients, has a thread for each, and no client can hold it up.

A snapshot never changes, so the threads need no lock for it, and a slow client does not hold up the supervisor's loop.
"""

import errno
import logging
import socket
import threading
from collections.abc import Collection
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Self

from wcsup.errors import ConfigurationError
from wcsup.observe.web.answers import Response
from wcsup.observe.web.control import LONGEST_BODY, token_of
from wcsup.observe.web.site import STREAM, Site

log = logging.getLogger("wcsup.http")

MOST_CLIENTS = 32
"""How many connections are served at once. One more takes the place of the oldest one."""
MOST_STREAMS = 16
"""How many clients of `/stream` there may be besides: the page asks for snapshots where it gets no stream."""
_MOST_THREADS = 2 * MOST_CLIENTS + MOST_STREAMS
"""A connection that is closed has its thread until that has noticed it: no more than these are begun."""
_CLIENT_SECONDS = 10.0
"""How long a client may take for each part of its request or of the answer."""
_POLL_SECONDS = 0.2
"""The longest time that the end of the run waits for the listener."""
_FAREWELL_SECONDS = 0.5
"""How long the end of the run waits for streams to be told of it."""


class Server:
    """Listens at one address and answers from a `Site`, in threads that end with the process."""

    def __init__(
        self, host: str, port: int, application: str, names: Collection[str] = (), token: Path | None = None
    ) -> None:
        """Listen at once; raise `ConfigurationError` for an address that can't be used, or for a bad token.

        `names` are as in `Site`, `token` is the file that has the token.
        """
        self._token = token
        site = Site(application, names=names, token=token_of(token) if token else None)
        self._site = site
        self.show, self.answer_from, self.steer = site.show, site.answer_from, site.control.steer
        try:
            self._listener = _Listener(host, port, site)
        except OSError as error:
            why = (
                "is taken by another process" if error.errno == errno.EADDRINUSE else f"can't be had: {error.strerror}"
            )
            raise ConfigurationError(f"--http {_joined(host, port)} {why}") from error
        self.url = f"http://{_joined(host, self._listener.server_address[1])}/"
        self.address = str(self._listener.server_address[0]), int(self._listener.server_address[1])
        """Where it listens."""
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=[_POLL_SECONDS], name="http", daemon=True
        )

    def __enter__(self) -> Self:
        """Start to answer."""
        self._thread.start()
        log.info("the dashboard is at %s, metrics at %smetrics", self.url, self.url)
        if not ip_address(self.address[0]).is_loopback:
            if self._token:
                log.warning("the token of %s is sent in the clear: let a proxy speak TLS", self.url)
            log.warning("there is no login at %s: whoever reaches it can read words, totals and metrics", self.url)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop answering, and tell the streams."""
        self._site.news.end()
        self._listener.shutdown()
        self._listener.await_streams(_FAREWELL_SECONDS)
        self._listener.server_close()


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Listener(ThreadingHTTPServer):
    """Accepts a bounded number of connections, since each takes a thread and a descriptor.

    A client may connect and send nothing. So a further connection takes the place of the oldest one: a probe, whose
    request comes with its connection, is answered however many clients wait.
    """

    request_queue_size = MOST_CLIENTS

    def __init__(self, host: str, port: int, site: Site) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self.site = site
        self._changed = threading.Condition()
        self._held: dict[socket.socket, None] = {}
        """The connections that are served, the oldest one first."""
        self._streams: set[socket.socket] = set()
        self._busy = 0
        super().__init__((str(address[0]), port), _Handler)

    def server_bind(self) -> None:
        """Bind without the DNS request for this host's full name that `HTTPServer` makes."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        with self._changed:
            if self._busy >= _MOST_THREADS:
                self.shutdown_request(request)
                return
            if len(self._held) >= MOST_CLIENTS:
                _hang_up(next(iter(self._held)))
                del self._held[next(iter(self._held))]
            self._held[request] = None
            self._busy += 1
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._forget(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread's place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._forget(request)

    def takes_stream(self, request: socket.socket) -> bool:
        """Take a connection among the streams; return whether there is room."""
        with self._changed:
            if len(self._streams) >= MOST_STREAMS or request not in self._held:
                return False
            del self._held[request]
            self._streams.add(request)
            return True

    def await_streams(self, seconds: float) -> None:
        """Wait until all streams are over."""
        with self._changed:
            self._changed.wait_for(lambda: not self._streams, seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the library has it
        """Log the error; most often the client is gone."""
        log.debug("no answer to %s", client_address, exc_info=True)

    def _forget(self, request: socket.socket) -> None:
        with self._changed:
            self._held.pop(request, None)
            self._streams.discard(request)
            self._busy -= 1
            self._changed.notify_all()


def _hang_up(connection: socket.socket) -> None:
    """End a connection that a thread waits for: the thread then closes it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError as error:  # its client has hung up already
        log.debug("already hung up: %s", error)


class _Handler(BaseHTTPRequestHandler):
    server: _Listener
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        headers = self.headers
        if self.path.partition("?")[0] == STREAM:
            self._stream()
            return
        self._send(self.server.site.answer(self.path, headers.get("Accept", ""), headers.get("Host", "")))

    do_HEAD = do_GET  # noqa: N815 - as the library has it

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or self.headers.get("Transfer-Encoding"):
            self._send(Response.text("a request needs Content-Length", HTTPStatus.LENGTH_REQUIRED))
        elif int(length[:9]) > LONGEST_BODY:
            self._send(Response.text("the body is too long", HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
        else:
            body = self.rfile.read(int(length))
            self._send(self.server.site.post(self.path, self.headers, body, self.address_string()))  # type: ignore[arg-type]

    def version_string(self) -> str:
        return "wcsup"

    def _refuse(self) -> None:
        self._send(
            Response.text("only GET, HEAD and POST are served", HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        )

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - as the library has it

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that can't be read, or a method that is not known here, in plain text."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._refuse()
        else:
            status = HTTPStatus(code)
            self._send(Response.text(message or explain or status.phrase, status))

    def _stream(self) -> None:
        """Send news until the client is gone or the run has ended."""
        refused = self.server.site.misdirected(STREAM, self.headers.get("Host", ""))
        if refused is None and self.command != "HEAD" and not self.server.takes_stream(self.connection):
            refused = Response.text(
                "there are too many streams: ask for /status.json", HTTPStatus.SERVICE_UNAVAILABLE, Retry_After="60"
            )
        if refused is not None:
            self._send(refused)
            return
        self._begin(HTTPStatus.OK, "text/event-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        for frame in self.server.site.stream():
            self.wfile.write(frame)

    def _send(self, answer: Response) -> None:
        self._begin(answer.status, answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _begin(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Security-Policy", self.server.site.page.policy)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s " + format, self.address_string(), *args)
