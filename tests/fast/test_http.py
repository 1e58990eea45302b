"""Health, metrics, state and the page over HTTP: each answer, and a server that no client can hold up."""

import base64
import hashlib
import json
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from running import wait_for
from snapshots import snapshot, worker

from wcsup.errors import ConfigurationError, ExitStatus, UsageError
from wcsup.observe.web.health import STALL_SECONDS, START_SECONDS
from wcsup.observe.web.server import MOST_CLIENTS, MOST_STREAMS, Server
from wcsup.observe.web.site import Site, Sources
from wcsup.observe.web.stream import Broadcast
from wcsup.supervisor import Snapshot, TaskView
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.slot import SlotState


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def site(shown: Snapshot | None = None, application: str = "books") -> Site:
    made = Site(application, Clock())
    if shown:
        made.show(shown)
    return made


def sources(**given: Any) -> Sources:
    def nothing(*_: Any) -> Any:
        raise AssertionError("it was not to be asked for")

    return Sources(**dict.fromkeys(Sources.__slots__, nothing) | given)


# What is answered


def test_alive_as_long_as_the_loop_turns() -> None:
    clock = Clock()
    made = Site("books", clock)
    seen = []
    for now in (0.0, START_SECONDS, START_SECONDS + 1):
        clock.now = now
        seen.append((made.answer("/livez").status, made.answer("/livez").body.decode().strip()))
    made.show(snapshot(worker("map")))
    for later in (0.0, STALL_SECONDS, 1.0):
        clock.now += later
        seen.append((made.answer("/livez").status, made.answer("/livez").body.decode().strip()))

    assert seen == [
        (200, "starting"),
        (200, "starting"),
        (503, "the supervisor's loop stands still for 301 s"),
        (200, "alive"),
        (200, "alive"),
        (503, "the supervisor's loop stands still for 11 s"),
    ]
    assert made.answer("/readyz").status == 503


@pytest.mark.parametrize(
    ("shown", "status", "said"),
    [
        (None, 503, "starting"),
        (snapshot(worker("map"), worker("reduce")), 200, "ready"),
        (snapshot(worker("map"), stopping="SIGTERM"), 503, "ending: SIGTERM"),
        (snapshot(ready=False), 503, "no workers"),
        (
            snapshot(worker("map"), worker("reduce", ready=False, silent=True, heartbeat_seconds=4.2), ready=False),
            503,
            "reduce-0 gives no heartbeat for 4 s",
        ),
        (
            snapshot(
                worker("map"),
                worker("map", 1, ready=False, state=SlotState.STARTING),
                worker("reduce", ready=False, state=SlotState.RESTORING, restoring={1: (1000, 3000), 2: (0, 1000)}),
                worker(
                    "reduce", 2, ready=False, state=SlotState.RESTORING, restoring={0: (1, 2)}, restore_seconds=62.5
                ),
                worker("reduce", 1, ready=False, state=SlotState.FAILED, failed="fenced: another process"),
                ready=False,
            ),
            503,
            "map-1: starting\n"
            "reduce-0: restoring, 25 % of 4,000 records for partitions 1-2\n"
            "reduce-2: restoring, 50 % of 2 records for partitions 0, 1 min 2 s left\n"
            "reduce-1: fenced: another process",
        ),
    ],
)
def test_ready_when_every_slot_is_and_who_is_not_is_named(shown: Snapshot | None, status: int, said: str) -> None:
    answer = site(shown).answer("/readyz")
    assert (answer.status, answer.body.decode()) == (status, f"{said}\n")


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain;version=0.0.4", "text/plain;version=none", "text/html"])
def test_metrics_are_text_to_whoever_asks(accept: str) -> None:
    answer = site(snapshot(worker("map"))).answer("/metrics", accept)
    assert (answer.status, answer.kind) == (HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8")
    assert {"wcsup_lines", "wcsup_worker_state"} <= {
        family.name for family in text_string_to_metric_families(answer.body.decode())
    }


def test_metrics_are_openmetrics_to_prometheus() -> None:
    # As Prometheus 3 asks
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    answer = site(snapshot(worker("map"))).answer("/metrics", accept)
    assert answer.kind.startswith("application/openmetrics-text; version=1.0.0")
    assert answer.body.endswith(b"# EOF\n")


def test_the_status_is_the_snapshot() -> None:
    shown = snapshot(worker("map"), worker("reduce", restoring={3: (1, 2)}))
    assert json.loads(site(shown).answer("/status.json").body) == json.loads(json.dumps(shown.to_json()))
    assert site().answer("/status.json").status == 503


def test_what_is_not_there_says_what_is() -> None:
    answer = site().answer("/metrics/")
    assert answer.status == 404
    assert answer.body.decode().endswith(
        "there are / /livez /readyz /metrics /status.json /history.json /hosts.json /dead-letters.json /events.json "
        "/recount.json /counts/ /grafana.json /openapi.json /stream\n"
    )


def test_grafanas_dashboard_is_served() -> None:
    assert json.loads(site().answer("/grafana.json").body)["title"] == "wcsup"


# The page


def test_the_page_has_the_applications_name_and_no_other_markup_of_it() -> None:
    page = site(application='<b>&"').answer("/?a=b").body.decode()
    assert "<title>&lt;b&gt;&amp;&quot; · wcsup</title>" in page
    assert 'data-application="&lt;b&gt;&amp;&quot;" data-steered="false"' in page
    assert "APPLICATION" not in page


def test_the_page_is_whole_and_asks_nobody_else_and_writes_no_markup() -> None:
    page = site().answer("/").body.decode()
    assert set(re.findall(r"https?://[^\"\s]+", page)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert {*re.findall(r"\b(?:src|href)=\"([^\"#]+)", page)} == {"data:,"}
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|@import|url\(|\beval\b| style=", page)


def test_only_the_pages_own_script_and_style_may_run(server: Server) -> None:
    answer, body = ask(server, "/")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
        assert content
        digest = base64.b64encode(hashlib.sha256(content[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_asks_for_what_the_status_has() -> None:
    page = site().answer("/").body.decode()
    task = TaskView("feed", 1, True, None, {})
    told = snapshot(worker("map"), tasks=[task], latency=Latency(0.1, 0.2, 0.3))
    shown: Any = json.loads(site(told).answer("/status.json").body)
    for name, has in (
        ("run", shown),
        ("worker", shown["workers"][0]),
        ("map", shown["totals"]["map"]),
        ("reduce", shown["totals"]["reduce"]),
        ("lag", shown["lag"]),
        ("here", shown["words_here"]),
    ):
        asked = set(re.findall(rf"(?<![\w.]){re.escape(name)}\.(\w+)", page))
        assert asked, name
        assert asked - {"map", "flatMap", "filter"} <= set(has)
    states = {f".{state}" for state in SlotState}
    assert states <= set(re.findall(r"\.\w+", page)), "each state has its color"


# The server


@pytest.fixture
def server() -> Any:
    with Server("127.0.0.1", 0, "books") as running:
        yield running


def port_of(server: Server) -> int:
    return int(server.url.rsplit(":", 1)[1].rstrip("/"))


def ask(server: Server, path: str, method: str = "GET") -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_an_answer_says_what_it_is(server: Server) -> None:
    assert ask(server, "/readyz")[0].status == 503
    server.show(snapshot(worker("map")))
    for path in ("/", "/livez", "/readyz", "/metrics", "/status.json"):
        answer, body = ask(server, path)
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(body) > 0
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "wcsup"
        head, nothing = ask(server, path, "HEAD")
        assert (head.status, nothing) == (200, b"")
        assert head.headers["Content-Type"] == answer.headers["Content-Type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str, server: Server) -> None:
    answer, _ = ask(server, "/", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert ask(server, "/control/drain", method)[0].status == (403 if method == "POST" else 405)


def test_only_the_given_address_is_listened_at(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port_of(server)), timeout=5)


def test_an_address_that_others_reach_is_said_to_have_no_login(caplog: pytest.LogCaptureFixture) -> None:
    with Server("0.0.0.0", 0, "books") as running:  # noqa: S104 - that is the case
        assert f"there is no login at {running.url}" in caplog.text
    caplog.clear()
    with Server("127.0.0.1", 0, "books"), Server("::1", 0, "books"):
        assert not caplog.text


def test_an_address_of_ipv6() -> None:
    with Server("::1", 0, "books") as running:
        assert running.url.startswith("http://[::1]:")
        with socket.create_connection(("::1", port_of(running)), timeout=5):
            pass


def test_an_address_that_cannot_be_had_is_one_line(server: Server) -> None:
    bad: list[tuple[str, int, str]] = [
        ("127.0.0.1", port_of(server), "is taken by another process"),
        ("192.0.2.1", 0, "can't be had: "),
        ("no-such-host.invalid", 80, "can't be had: "),
    ]
    for host, port, why in bad:
        with pytest.raises(ConfigurationError, match=why) as caught:
            Server(host, port, "books")
        assert str(caught.value).startswith(f"--http {host}:{port} ")
        assert "\n" not in str(caught.value)
        assert caught.value.status == ExitStatus.CONFIGURATION


def answers(server: Server) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return ask(server, "/livez")[0].status == 200
        except (ConnectionError, TimeoutError):
            return False

    return look


def connect(server: Server, held: ExitStack) -> socket.socket:
    return held.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=10))


@pytest.mark.parametrize("clients", [40, 100])
def test_a_probe_is_answered_while_clients_hold_their_connections(clients: int, server: Server) -> None:
    server.show(snapshot(worker("map")))
    with ExitStack() as held:
        for number in range(clients):
            slow = connect(server, held)
            slow.sendall(b"GET /livez HTTP/1.1\r\nX: "[: number % 25])
        for beat in range(1000):  # as the supervisor's loop does
            server.show(replace(snapshot(worker("map")), uptime=float(beat)))
        for _ in range(2 * MOST_CLIENTS):
            assert ask(server, "/livez")[1] == b"alive\n"
    assert json.loads(ask(server, "/status.json")[1])["uptime"] == 999


def test_a_probe_is_answered_while_clients_do_not_read_their_answers(server: Server) -> None:
    server.show(snapshot(*(worker("reduce", one, top=[("w" * 5000, 1)] * 50) for one in range(20))))
    with ExitStack() as held:
        for _ in range(40):
            connect(server, held).sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ask(server, "/livez")[1] == b"alive\n"


def begun(stream: socket.socket) -> bytes:
    """What a client of /stream reads first."""
    stream.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    read = b""
    while b"\n\n" not in read and not read.endswith(b"/status.json\n"):
        more = stream.recv(65536)
        assert more
        read += more
    return read


def test_streams_are_bounded_and_hold_up_nobody(server: Server) -> None:
    server.show(snapshot(worker("map")))
    with ExitStack() as held:
        first = [begun(connect(server, held)) for _ in range(MOST_STREAMS)]
        assert all(b" 200 " in read and b"text/event-stream" in read for read in first)
        refused = begun(connect(server, held))
        assert b" 503 " in refused
        assert refused.endswith(b"there are too many streams: ask for /status.json\n")
        for _ in range(40):
            connect(server, held)
        assert ask(server, "/livez")[1] == b"alive\n"
    with ExitStack() as held:
        wait_for(lambda: b" 200 " in begun(connect(server, held)), "a stream, once others are gone")


def test_a_stream_tells_snapshots_and_the_end() -> None:
    with ExitStack() as held:
        with Server("127.0.0.1", 0, "books") as server:
            server.show(snapshot(worker("map"), uptime=1.0))
            client = connect(server, held)
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            lines = held.enter_context(client.makefile("rb"))
            first = next_event(lines)
            server.show(snapshot(worker("map"), uptime=2.0, stopping="SIGTERM"))
            second = next_event(lines)
        last = next_event(lines)
        assert lines.read().strip() == b""
    assert [name for name, _ in (first, second, last)] == ["snapshot", "snapshot", "end"]
    assert [one["status"]["uptime"] for one in (first[1], second[1])] == [1.0, 2.0]
    assert second[1]["status"]["stopping"] == "SIGTERM"
    assert set(first[1]["history"]) == {"now", "recent", "day", "commits", "steps"}


def next_event(lines: Any) -> tuple[str, Any]:
    """The next event of a stream: its name and its data."""
    name = ""
    for line in lines:
        field, _, value = line.decode().rstrip("\n").partition(": ")
        if field == "event":
            name = value
        if field == "data" and name != "still":
            return name, json.loads(value)
    raise AssertionError("the stream is over")


def test_a_stream_says_that_the_loop_stands_still() -> None:
    clock = Clock()
    news = Broadcast(clock)
    news.tell()
    frames = news.frames(lambda: b"1")
    assert [next(frames).split(b"\n")[0] for _ in range(3)] == [b"retry: 2000", b"event: snapshot", b"event: still"]
    news.end()
    assert [frame.split(b"\n")[0] for frame in frames] == [b"event: end"]


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"", b"G" * 70_000]
)
def test_garbage_harms_nothing(garbage: bytes, server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as client:
        try:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass
        except TimeoutError:
            pytest.fail("it neither answers nor hangs up")
        except OSError:
            pass  # whoever hangs up with something unread resets the connection, at any of these calls
    assert ask(server, "/livez")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_a_client_that_goes_away_is_no_news(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # a reset, not a goodbye
    wait_for(answers(server))
    assert capfd.readouterr().err == ""


def test_the_address_is_free_again_at_once() -> None:
    with Server("127.0.0.1", 0, "books") as first:
        port = port_of(first)
        assert ask(first, "/livez")[0].status == 200
    with Server("127.0.0.1", port, "books") as second:
        assert ask(second, "/livez")[0].status == 200


def test_a_word_is_looked_up_as_it_stands_in_the_path() -> None:
    made = site(snapshot(worker("map")))
    assert made.answer("/counts/whale").status == HTTPStatus.SERVICE_UNAVAILABLE, "the run is starting"
    asked: list[str] = []

    def look_up(word: str) -> dict[str, Any]:
        asked.append(word)
        if word == "two words":
            raise UsageError("two words is not one word")
        if word == "gone":
            raise ConfigurationError("nothing was counted yet")
        return {"word": word, "count": 3}

    made.answer_from(sources(words=look_up))
    answer = made.answer("/counts/whale?x=1")
    assert (answer.status, answer.kind) == (HTTPStatus.OK, "application/json")
    assert json.loads(answer.body) == {"word": "whale", "count": 3}
    assert made.answer("/counts/two%20words").status == HTTPStatus.BAD_REQUEST
    assert made.answer("/counts/gone").status == HTTPStatus.SERVICE_UNAVAILABLE
    assert made.answer("/counts/%C3%A9t%C3%A9").status == HTTPStatus.OK
    assert made.answer("/counts/%FF").status == HTTPStatus.OK
    assert made.answer("/counts/").status == HTTPStatus.NOT_FOUND
    assert asked == ["whale", "two words", "gone", "été", "\udcff"]


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("", True),
        ("127.0.0.1:9090", True),
        ("[::1]:9090", True),
        ("[::1]", True),
        ("10.0.0.7", True),
        ("localhost:9090", True),
        ("wcsup-1:9090", True),
        ("wcsup-1.wcsup.default.svc:9090", True),
        ("books.example.com:9090", True),
        ("BOOKS.example.com.", True),
        ("evil.example.com:9090", False),
        ("127.0.0.1.evil.example.com", False),
        ("evil.example.com.", False),
        ("[evil.example.com]:9090", False),
    ],
)
def test_a_page_of_somebody_else_reads_nothing(host: str, known: bool) -> None:
    made = Site("books", Clock(), names=["books.example.com"])
    made.show(snapshot(worker("map")))
    status = HTTPStatus.OK if known else HTTPStatus.MISDIRECTED_REQUEST
    for path in ("/", "/status.json"):
        assert made.answer(path, host=host).status == status, path
    for path in ("/livez", "/metrics"):
        assert made.answer(path, host=host).status == HTTPStatus.OK, path
