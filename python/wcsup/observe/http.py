"""The HTTP server of a run: health, metrics and a dashboard, all made from the newest snapshot.

Threads answer the requests. A snapshot never changes, so the threads need no lock, and a slow client does not hold up
the supervisor's loop.
"""

import errno
import html
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any, Self
from urllib.parse import unquote_to_bytes

from confluent_kafka import KafkaException
from prometheus_client.exposition import choose_encoder

from wcsup.errors import ConfigurationError, UsageError, WcsupError
from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import restored
from wcsup.observe.metrics import registry
from wcsup.observe.owners import HERE
from wcsup.supervisor import Snapshot, WorkerView

log = logging.getLogger("wcsup.http")

STALL_SECONDS = 10.0
"""The supervisor's loop turns twice a second; after this long without a turn it counts as stuck."""
START_SECONDS = 300.0
"""How long the loop may take to its first turn, since an embedded broker may have to be fetched."""

_CLIENT_SECONDS = 10.0
"""How long a client may take for each part of its request or of the answer."""
_MOST_CLIENTS = 32
_POLL_SECONDS = 0.2
"""The longest time that the end of the run waits for the listener."""
_DASHBOARD, _GRAFANA = "dashboard.html", "grafana.json"
_COUNTS = "/counts/"
_FOR_ANY_NAME = {"/livez", "/readyz", "/metrics"}
"""Paths that tell no words: a probe or a Prometheus may call this server by any name."""
_TITLE = "APPLICATION"
"""The placeholder for the application's name in the dashboard."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'"
"""The page is self-contained and sends requests only to this server."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a client."""

    status: HTTPStatus
    kind: str
    """The content type."""
    body: bytes

    @classmethod
    def text(cls, text: str, status: HTTPStatus = HTTPStatus.OK) -> Self:
        """Return an answer of plain text, a newline added."""
        return cls(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Site:
    """The answers by path."""

    def __init__(
        self, application: str, clock: Callable[[], float] = time.monotonic, names: Collection[str] = ()
    ) -> None:
        """`names` are further names by which browsers may call this server."""
        self._clock, self._names = clock, names
        self._newest: tuple[float, Snapshot | None] = clock(), None
        self._look_up: Callable[[str], dict[str, Any]] | None = None
        self._look_up_here: Callable[[str], dict[str, Any] | None] = lambda _: None
        self._looking = threading.Lock()
        self._metrics = registry(application, lambda: self._newest[1])
        page = _package_file(_DASHBOARD).decode()
        self._dashboard = page.replace(_TITLE, html.escape(application)).encode()
        self._pages: dict[str, Callable[[str], Response]] = {
            "/": self._page,
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._scrape,
            "/status.json": self._status,
            _COUNTS: lambda _: Response.text(f"which word? {_COUNTS}whale", HTTPStatus.NOT_FOUND),
            "/grafana.json": lambda _: Response(HTTPStatus.OK, "application/json", _package_file(_GRAFANA)),
        }

    def show(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on."""
        self._newest = self._clock(), snapshot

    def answer_words(
        self,
        look_up: Callable[[str], dict[str, Any]],
        here: Callable[[str], dict[str, Any] | None] = lambda _: None,
    ) -> None:
        """Answer for words from now on: `look_up` returns what is known of one, and may take a while.

        `here` returns what a reducer of this host knows of it, none where there is no such reducer: other hosts ask so.
        """
        self._look_up, self._look_up_here = look_up, here

    def answer(self, path: str, accept: str = "", host: str = "") -> Response:
        """Return the answer for a path, in a form that the client accepts; `host` is what it called this server."""
        place, _, query = path.partition("?")
        if place not in _FOR_ANY_NAME and not is_own_name(host, self._names):
            return Response.text(
                f"{host} is not known as a name of this server: use its address, or start it with --http-name",
                HTTPStatus.MISDIRECTED_REQUEST,
            )
        if place.startswith(_COUNTS) and place != _COUNTS:
            return self._count(os.fsdecode(unquote_to_bytes(place.removeprefix(_COUNTS))), here=query == HERE)
        page = self._pages.get(place)
        if page is None:
            return Response.text(f"nothing is here; there are {' '.join(self._pages)}", HTTPStatus.NOT_FOUND)
        return page(accept)

    def _page(self, _accept: str) -> Response:
        return Response(HTTPStatus.OK, "text/html; charset=utf-8", self._dashboard)

    def _live(self, _accept: str) -> Response:
        at, snapshot = self._newest
        still = self._clock() - at
        if still > (STALL_SECONDS if snapshot else START_SECONDS):
            return Response.text(
                f"the supervisor's loop stands still for {still:.0f} s", HTTPStatus.SERVICE_UNAVAILABLE
            )
        return Response.text("alive" if snapshot else "starting")

    def _ready(self, accept: str) -> Response:
        """Answer with a line for each thing that is not ready."""
        snapshot = self._newest[1]
        alive = self._live(accept)
        if alive.status is not HTTPStatus.OK:
            return alive
        if snapshot is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        if snapshot.stopping:
            return Response.text(f"ending: {snapshot.stopping}", HTTPStatus.SERVICE_UNAVAILABLE)
        if snapshot.ready:
            return Response.text("ready")
        broker = snapshot.broker
        silent = [f"no broker answers since {broker.since}"] if broker.reachable is False else []
        missing = [_missing(worker) for worker in snapshot.workers if not worker.ready]
        return Response.text("\n".join(silent + missing) or "no workers", HTTPStatus.SERVICE_UNAVAILABLE)

    def _scrape(self, accept: str) -> Response:
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # prometheus_client fails on a version that is no number
            encode, kind = choose_encoder("")
        return Response(HTTPStatus.OK, kind, encode(self._metrics))

    def _count(self, word: str, *, here: bool) -> Response:
        if self._look_up is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        # A word of another host may have a partition of `counts` read: one at a time. Another host's question does not
        # wait for that: two hosts would wait for each other.
        try:
            with nullcontext() if here else self._looking:
                found = self._look_up_here(word) if here else self._look_up(word)
        except UsageError as error:
            return Response.text(str(error), HTTPStatus.BAD_REQUEST)
        except (WcsupError, KafkaException) as error:
            return Response.text(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        if found is None:
            return Response.text("no reducer of this host has it", HTTPStatus.NOT_FOUND)
        return Response(HTTPStatus.OK, "application/json", json.dumps(found).encode())

    def _status(self, _accept: str) -> Response:
        snapshot = self._newest[1]
        if snapshot is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(HTTPStatus.OK, "application/json", json.dumps(snapshot.to_json()).encode())


def is_own_name(host: str, names: Collection[str]) -> bool:
    """Return whether a request's Host header names this server in a way that no page of somebody else can bring about.

    A page's own domain may be made to lead here (DNS rebinding): the browser then lets the page read our answers, and
    sends that domain as Host. So addresses are taken, and names that are nobody's domain on the internet: without a
    dot, or of a private network. A client without the header is no browser.
    """
    if not host:
        return True
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.rstrip(".").lower()
    try:
        ip_address(name)
    except ValueError:
        private = name.endswith((".local", ".internal", ".svc", ".localhost"))
        return "." not in name or private or name in {socket.gethostname().lower(), *(one.lower() for one in names)}
    return True


def _package_file(name: str) -> bytes:
    return files("wcsup.observe").joinpath(name).read_bytes()


def _missing(worker: WorkerView) -> str:
    """Return why a slot is not ready, in a line."""
    if worker.silent:
        return f"{worker.slot} gives {worker.condition}"
    said = f"{worker.slot}: {worker.failed or worker.state}"
    records = sum(todo for _, todo in worker.restoring.values())
    of = f" of {records:,} records for partitions {partition_list(worker.restoring)}"
    far = restored(worker.restoring, worker.restore_seconds, of)
    return f"{said},{far}" if far else said


class Server:
    """Listens at one address and answers from a `Site`, in threads that end with the process."""

    def __init__(self, host: str, port: int, application: str, names: Collection[str] = ()) -> None:
        """Listen at once; raise `ConfigurationError` for an address that can't be used. `names` are as in `Site`."""
        self._site = Site(application, names=names)
        self.show, self.answer_words = self._site.show, self._site.answer_words
        try:
            self._listener = _Server(host, port, self._site)
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
            log.warning("there is no login at %s: whoever reaches it can read words, totals and metrics", self.url)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop answering."""
        self._listener.shutdown()
        self._listener.server_close()


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(ThreadingHTTPServer):
    """Accepts a bounded number of connections, since each takes a thread and a descriptor."""

    request_queue_size = _MOST_CLIENTS

    def __init__(self, host: str, port: int, site: Site) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self.site = site
        self._room = threading.BoundedSemaphore(_MOST_CLIENTS)
        super().__init__((str(address[0]), port), _Handler)

    def server_bind(self) -> None:
        """Bind without the DNS request for this host's full name that `HTTPServer` makes."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or close the connection if all threads are busy."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread can be started
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread's place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the library has it
        """Log the error; most often the client is gone."""
        log.debug("no answer to %s", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_SECONDS

    def do_GET(self) -> None:
        headers = self.headers
        self._send(self.server.site.answer(self.path, headers.get("Accept", ""), headers.get("Host", "")))

    do_HEAD = do_GET  # noqa: N815 - as the library has it

    def version_string(self) -> str:
        return "wcsup"

    def _refuse(self) -> None:
        self._send(Response.text("only GET and HEAD are served", HTTPStatus.METHOD_NOT_ALLOWED))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815 - as the library has it

    def _send(self, answer: Response) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _POLICY)
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s " + format, self.address_string(), *args)
