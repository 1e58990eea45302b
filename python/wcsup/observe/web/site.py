"""The answers by path. Each is made from the newest snapshot, or asked of Kafka by what the run hands in."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from confluent_kafka import KafkaException
from prometheus_client.exposition import choose_encoder

from wcsup.errors import UsageError, WcsupError
from wcsup.observe.metrics import registry
from wcsup.observe.owners import HERE
from wcsup.observe.web import control, page
from wcsup.observe.web.answers import Response, encoded
from wcsup.observe.web.asking import OneAtATime
from wcsup.observe.web.commits import CommitStrips, StepTimes
from wcsup.observe.web.control import Control
from wcsup.observe.web.health import HealthAnswers
from wcsup.observe.web.history import RunHistory
from wcsup.observe.web.names import is_own_name
from wcsup.observe.web.stream import Broadcast
from wcsup.supervisor import Snapshot

STREAM = "/stream"
_COUNTS = "/counts/"
_FOR_ANY_NAME = {"/livez", "/readyz", "/metrics"}
"""Paths that tell no words: a probe or a Prometheus may call this server by any name."""
_LISTED, _MOST_LISTED = 20, 100
"""How many dead letters or events are told, and how many at most."""
_KEPT_SECONDS = 2.0
_OVERLAP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run hands in for answers that take a while. Each may raise `WcsupError` or `KafkaException`."""

    words: Callable[[str], dict[str, Any]]
    """Returns what is known of a word."""
    words_here: Callable[[str], dict[str, Any] | None]
    """Returns what a reducer of this host knows of a word, none where there is no such reducer: other hosts ask so."""
    hosts: Callable[[], dict[str, Any]]
    """Returns the hosts of the application."""
    letters: Callable[[int], list[dict[str, Any]]]
    """Returns the newest dead letters, so many at most."""
    events: Callable[[int], list[dict[str, Any]]]
    """Returns the last events of the state directory, so many at most, the oldest one first."""
    recount: Callable[[], Mapping[str, Any]]
    """Returns the state of the recount that was asked for last."""


class Site:
    """The answers by path."""

    def __init__(
        self,
        application: str,
        clock: Callable[[], float] = time.monotonic,
        names: Collection[str] = (),
        token: str | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`names` are further names by which browsers may call this server; with a `token` the run can be steered."""
        self._names, self._wall_clock = names, wall_clock
        self._newest: Snapshot | None = None
        self._encoded: tuple[Snapshot | None, bytes] = None, b""
        self._encoding = threading.Lock()
        self._health = HealthAnswers(clock)
        self._history, self._strips, self._steps = RunHistory(wall_clock), CommitStrips(wall_clock), StepTimes(clock)
        self._sources: Sources | None = None
        self._word: OneAtATime[str, dict[str, Any]] = OneAtATime(lambda word: self._found().words(word))
        self._hosts: OneAtATime[None, dict[str, Any]] = OneAtATime(lambda _: self._found().hosts())
        self._letters: OneAtATime[int, list[dict[str, Any]]] = OneAtATime(
            lambda most: self._found().letters(most), _KEPT_SECONDS
        )
        self._events: OneAtATime[int, list[dict[str, Any]]] = OneAtATime(lambda most: self._found().events(most))
        self._metrics = registry(application, lambda: self._newest)
        self.news = Broadcast(clock)
        self.control = Control(token)
        self.page = page.Page(application, steered=self.control.possible)
        self.routes: dict[str, Callable[[Mapping[str, str], str], Response]] = {
            "/": lambda _query, _accept: Response(HTTPStatus.OK, "text/html; charset=utf-8", self.page.document),
            "/livez": lambda _query, _accept: self._health.live(),
            "/readyz": lambda _query, _accept: self._health.ready(),
            "/metrics": lambda _query, accept: self._scrape(accept),
            "/status.json": lambda _query, _accept: self._status(),
            "/history.json": lambda query, _accept: self._tell_history(query),
            "/hosts.json": lambda _query, _accept: self._ask(lambda: self._hosts(None)),
            "/dead-letters.json": lambda query, _accept: self._list("letters", self._letters, query),
            "/events.json": lambda query, _accept: self._list("events", self._events, query),
            "/recount.json": lambda _query, _accept: self._ask(lambda: self._found().recount()),
            _COUNTS: lambda _query, _accept: Response.text(f"which word? {_COUNTS}whale", HTTPStatus.NOT_FOUND),
            "/grafana.json": lambda _query, _accept: _file("wcsup.observe", "grafana.json"),
            "/openapi.json": lambda _query, _accept: _file("wcsup.observe.web", "openapi.json"),
        }
        """By path. An answer is made from the query's last values, and from what the client accepts."""

    def show(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot from now on."""
        self._newest = snapshot
        self._health.show(snapshot)
        self._history.take(snapshot)
        self._strips.take(snapshot)
        self._steps.take(snapshot)
        self.news.tell()

    def answer_from(self, sources: Sources) -> None:
        """Answer from these sources from now on; before, it is said that the run starts."""
        self._sources = sources

    def answer(self, path: str, accept: str = "", host: str = "") -> Response:
        """Return the answer for a path, in a form that the client accepts; `host` is what it called this server."""
        place, _, query = path.partition("?")
        if (refused := self.misdirected(place, host)) is not None:
            return refused
        if place.startswith(_COUNTS) and place != _COUNTS:
            word = os.fsdecode(unquote_to_bytes(place.removeprefix(_COUNTS)))
            # Another host's question does not wait for this one's own: two hosts would wait for each other.
            return self._ask(lambda: self._found().words_here(word) if query == HERE else self._word(word))
        found = self.routes.get(place)
        if found is None:
            return Response.text(f"nothing is here; there are {' '.join([*self.routes, STREAM])}", HTTPStatus.NOT_FOUND)
        return found(_last_values(query), accept)

    def misdirected(self, place: str, host: str) -> Response | None:
        """Return the refusal of a client that called this server by a name that is not its own; else none."""
        if place in _FOR_ANY_NAME or is_own_name(host, self._names):
            return None
        return Response.text(
            f"{host} is not known as a name of this server: use its address, or start it with --http-name",
            HTTPStatus.MISDIRECTED_REQUEST,
        )

    def post(self, path: str, headers: Mapping[str, str], body: bytes, client: str) -> Response:
        """Return the answer to a POST request."""
        place = path.partition("?")[0]
        if (refused := self.misdirected(place, headers.get("Host", ""))) is not None:
            return refused
        if not place.startswith(control.PLACE):
            return Response.text("only GET and HEAD are served here", HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        return self.control.answer(place.removeprefix(control.PLACE), headers, body, client)

    def stream(self) -> Iterator[bytes]:
        """Yield what a client of `/stream` is sent: with each snapshot the history since the one before."""
        told = 0.0

        def news() -> bytes:
            nonlocal told
            # Some rows are sent twice: one may be added just now. The first one has little: the page asks for the rest.
            since, told = (told or self._wall_clock()) - _OVERLAP_SECONDS, self._wall_clock()
            return b'{"status":%s,"history":%s}' % (self._state(), encoded(self._since(since)))

        return self.news.frames(news)

    def _since(self, at: float) -> dict[str, Any]:
        """Return what the charts show of the time after `at`."""
        return {
            "now": round(self._wall_clock(), 3),
            **self._history.after(at),
            "commits": self._strips.after(at),
            "steps": self._steps.told(),
        }

    def _tell_history(self, query: Mapping[str, str]) -> Response:
        try:
            after = float(query.get("after", "0"))
        except ValueError:
            return Response.text("after has to be a time in seconds since 1970", HTTPStatus.BAD_REQUEST)
        return Response.json(self._since(after))

    def _list(self, name: str, find: Callable[[int], list[dict[str, Any]]], query: Mapping[str, str]) -> Response:
        text = query.get("limit", str(_LISTED))
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST_LISTED):
            return Response.text(f"limit has to be a number from 1 to {_MOST_LISTED}", HTTPStatus.BAD_REQUEST)
        return self._ask(lambda: {name: find(int(text))})

    def _scrape(self, accept: str) -> Response:
        try:
            encode, kind = choose_encoder(accept)
        except TypeError:  # prometheus_client fails on a version that is no number
            encode, kind = choose_encoder("")
        return Response(HTTPStatus.OK, kind, encode(self._metrics))

    def _ask(self, find: Callable[[], object]) -> Response:
        if self._sources is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        try:
            found = find()
        except UsageError as error:
            return Response.text(str(error), HTTPStatus.BAD_REQUEST)
        except (WcsupError, KafkaException) as error:
            return Response.text(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        if found is None:
            return Response.text("no reducer of this host has it", HTTPStatus.NOT_FOUND)
        return Response.json(found)

    def _found(self) -> Sources:
        assert self._sources is not None  # noqa: S101 - `_ask` has looked
        return self._sources

    def _status(self) -> Response:
        if self._newest is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        return Response(HTTPStatus.OK, "application/json", self._state())

    def _state(self) -> bytes:
        """Return the newest snapshot as JSON, which is made once for all clients."""
        with self._encoding:
            newest = self._newest
            if newest is not None and newest is not self._encoded[0]:
                self._encoded = newest, encoded(newest.to_json())
            return self._encoded[1]


def _last_values(query: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(query, max_num_fields=20).items()}
    except ValueError:
        return {}


def _file(room: str, name: str) -> Response:
    return Response(HTTPStatus.OK, "application/json", files(room).joinpath(name).read_bytes())
