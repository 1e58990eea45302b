"""What a work loop does while Kafka keeps it waiting, and what is made of what is seen."""

import logging
import socket
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from running import wait_for

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RefusedError, RetryError
from wcsup.kafka import connection, lookout, refusals, sighting, topic_guard, topics
from wcsup.kafka.asking import Asking
from wcsup.kafka.causes import SaidElsewhere
from wcsup.kafka.lookout import Lookout
from wcsup.kafka.requests import Topic
from wcsup.kafka.sighting import OUTAGE_SECONDS, Sight, Sighting
from wcsup.kafka.topic_guard import FRESH_SECONDS, TopicGuard
from wcsup.pipeline import aside
from wcsup.pipeline.aside import Aside
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.reach import Reach, Reachability

CONFIG = Config(topic_prefix="x.", partitions=4)
IDENTITY = topics.Identity("cluster", {name: f"id of {name}" for name in topics.NAMES})


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(topic_guard, "time", made)
    monkeypatch.setattr(sighting, "time", made)
    return made


def seen(asked: float, **changes: Topic | None) -> Sighting:
    """Return a sighting of the topics as they were, but for changes; `...` is what the broker can't tell of."""
    found = {f"x.{name}": Topic(one, 4) for name, one in IDENTITY.topics.items()}
    changed = {f"x.{name}": one for name, one in changes.items()}
    return Sighting(asked, {name: one for name, one in {**found, **changed}.items() if cast(Any, one) is not ...})


class Watched:
    """A watch of two topics, and what it is told."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.sight, self.began = clock, Sight(), 0
        self.watch = TopicGuard(CONFIG, IDENTITY, ["words", "counts"], self.sight, lambda *_: cast(Any, self))
        self.waited = 0

    def start(self) -> None:
        self.began += 1

    def see(self, seconds: float = 1.0, **changes: Topic | None) -> None:
        self.clock.now += seconds
        self.sight.see(seen(self.clock.now, **changes))

    def confirm(self, answer: Sighting | None = None) -> None:
        def alive() -> None:
            self.waited += 1
            if self.waited > 200 and answer is not None:
                self.sight.see(replace(answer, asked=self.clock.now))
            assert self.waited < 1000, "it waits for ever"

        self.watch.confirm(alive)


@pytest.fixture
def watched(clock: Clock) -> Watched:
    return Watched(clock)


def test_what_was_seen_of_late_is_confirmed_at_once(watched: Watched) -> None:
    watched.confirm()
    watched.see(FRESH_SECONDS)
    watched.confirm()
    watched.clock.now += FRESH_SECONDS
    watched.confirm()
    assert (watched.waited, watched.began) == (0, 0)


def test_a_commit_waits_until_the_topics_are_seen_and_has_them_looked_at(watched: Watched) -> None:
    watched.clock.now += FRESH_SECONDS + 1
    watched.confirm(seen(0))
    assert watched.waited > 200
    watched.clock.now += FRESH_SECONDS + 1
    watched.waited = 0
    watched.confirm(seen(0))
    assert watched.began == 1, "once"


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"words": Topic("another", 4)}, RetryError, "x.words was deleted and made again"),
        ({"counts": Topic("another", 4)}, ConfigurationError, "Start over with wcsup del"),
        ({"words": Topic("id of words", 5)}, ConfigurationError, "5 partitions"),
    ],
)
def test_topics_that_are_not_the_same(watched: Watched, change: Any, error: type[Exception], text: str) -> None:
    watched.see(**change)
    with pytest.raises(error, match=text):
        watched.watch.look()


def test_a_topic_that_may_not_be_seen_is_refused(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "refused", lambda _config, error, about: RefusedError(about.topic, error.code()))
    watched.clock.now += 1
    watched.sight.see(replace(seen(watched.clock.now), hidden=["x.counts"]))
    with pytest.raises(RefusedError, match=r"x\.counts"):
        watched.watch.look()


def test_other_topics_are_not_looked_at(watched: Watched) -> None:
    watched.see(lines=Topic("another", 4), top=None)
    watched.confirm()


def test_a_topic_is_gone_when_nobody_has_seen_it_for_a_while(watched: Watched) -> None:
    watched.see(words=None)
    watched.watch.look()
    watched.see()
    watched.watch.look()
    watched.see(words=None)
    watched.watch.look()
    watched.see(FRESH_SECONDS, words=None)
    with pytest.raises(ConfigurationError, match=r"x\.words was deleted under its workers: wcsup run makes it anew"):
        watched.watch.look()


def test_a_topic_that_the_broker_can_not_tell_of_is_not_confirmed(watched: Watched) -> None:
    unknown = cast(Any, ...)
    watched.see(FRESH_SECONDS, words=unknown)
    watched.clock.now += 0.1
    watched.confirm(seen(0))
    assert watched.waited > 200


def test_what_was_seen_before_the_worker_began_is_nothing_to_it(clock: Clock) -> None:
    early = seen(clock.now - 1, words=Topic("another", 4))
    watched = Watched(clock)
    watched.sight.see(early)
    watched.confirm()


def test_the_newest_sighting_counts(clock: Clock) -> None:
    sight = Sight()
    assert sight.fresh(), "nobody knows better"
    sight.see(seen(clock.now))
    sight.see(seen(clock.now - 1, words=None))
    assert sight.newest == seen(clock.now)
    clock.now += OUTAGE_SECONDS
    assert sight.fresh()
    clock.now += 0.1
    assert not sight.fresh()


def test_a_sighting_survives_its_line() -> None:
    one = Sighting(1.5, {"a": Topic("x", 3), "b": None}, ["c"], 2.5, {"g": {"m": {1, 2}, "n": set()}})
    assert Sighting.from_json(one.to_json()) == one


def test_whether_a_broker_is_reached_and_since_when(clock: Clock, tmp_path: Path) -> None:
    events = RunEvents(tmp_path)
    reach = Reach(cast(Any, clock), events, wall_clock=lambda: 1_800_000_000 + clock.now - 1000)
    assert reach.look(None) == Reachability(None, None)
    newest = seen(clock.now)
    up = Reachability(reachable=True, since="2027-01-15T08:00:00.000Z")
    assert reach.look(newest) == up
    clock.now += OUTAGE_SECONDS
    assert reach.look(newest) == up
    clock.now += 10
    assert reach.look(newest) == Reachability(reachable=False, since="2027-01-15T08:00:00.000Z"), (
        "since its last answer"
    )
    clock.now += 10
    assert reach.look(seen(clock.now)) == Reachability(reachable=True, since="2027-01-15T08:00:25.000Z")
    assert [(event.event, event.reason) for event in events.last] == [
        ("broker gone", "no broker answers for 15 s: counting rests until one does"),
        ("broker back", "a broker answers again; none did since 2027-01-15T08:00:00.000Z"),
    ]


def test_a_supervisor_that_was_stopped_itself_does_not_take_the_broker_for_gone(clock: Clock, tmp_path: Path) -> None:
    events = RunEvents(tmp_path)
    reach = Reach(cast(Any, clock), events)
    newest = seen(clock.now)
    assert reach.look(newest).reachable
    clock.now += 60  # Ctrl-Z, and then fg
    reach.forgive(60)
    assert reach.look(newest).reachable
    clock.now += OUTAGE_SECONDS - 1
    assert reach.look(newest).reachable
    clock.now += 2
    reach.forgive(1)
    assert not reach.look(newest).reachable, "nobody has answered since"
    assert [event.event for event in events.last] == ["broker gone"]


def test_an_answer_is_waited_for_in_pieces() -> None:
    asking: Asking[int] = Asking("test")
    gate = threading.Event()
    assert asking.answer("a", lambda: int(gate.wait()) + 4) is None
    assert asking.answer("b", lambda: 7) is None, "one at a time"
    gate.set()
    wait_for(lambda: asking.answer("b", lambda: 7) == 7)
    wait_for(lambda: asking.answer("a", lambda: 8) == 8)

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        wait_for(lambda: asking.answer("a", fail))
    wait_for(lambda: asking.answer("a", lambda: 9) == 9)


def test_a_call_that_lasts_says_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_SLICE_SECONDS", 0.01)
    calls, gate, told = Aside(), threading.Event(), []

    def alive(seconds: float) -> None:
        told.append(seconds)
        if len(told) == 3:
            gate.set()

    calls.make(gate.wait, alive)
    assert len(told) >= 3

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        calls.make(fail, alive)


def test_a_call_that_was_given_up_ends_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next one would be taken for done when it was not."""
    monkeypatch.setattr(aside, "_SLICE_SECONDS", 0.01)
    calls, first, second, made = Aside(), threading.Event(), threading.Event(), threading.Event()

    def give_up(_: float) -> None:
        raise RetryError("enough")

    with pytest.raises(RetryError, match="enough"):
        calls.make(first.wait, give_up)

    def end_first(_: float) -> None:
        first.set()
        if made.is_set():
            second.set()
        made.set()

    calls.make(second.wait, end_first)
    assert second.is_set(), "its own call ended"


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("wcsup.kafka", logging.ERROR, "", 0, "%s [%s] %s", ("FAIL", "a#consumer-1", text), None)


def test_that_a_broker_is_not_connected_is_said_once() -> None:
    said = SaidElsewhere()
    texts = [
        "[thrd:GroupCoordinator]: GroupCoordinator: 127.0.0.1:9092: Disconnected (after 2266ms in state UP)",
        "[thrd:127.0.0.1:9092/1]: 127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused",
        "[thrd:sasl_ssl://kafka.test:9093/bootstrap]: sasl_ssl://kafka.test:9093/bootstrap: Connect to x failed",
        "[thrd:main]: kafka.test:9093/2: Disconnected",
        "[thrd:main]: [::1]:9092/2: Disconnected",
        "[thrd:main]: [::1]:9092/2: Disconnected",
    ]
    assert [said.filter(record(text)) for text in texts] == [True, False, True, False, True, False]
    said.forget()
    assert said.filter(record(texts[1]))
    other = logging.LogRecord("wcsup.kafka", logging.ERROR, "", 0, "%s", ("SESSTMOUT",), None)
    assert said.filter(other) and said.filter(other)


def test_what_is_no_error_of_librdkafkas_log_is_for_debugging() -> None:
    said, log = SaidElsewhere(), logging.getLogger("wcsup.kafka.test")
    log.setLevel(logging.INFO)
    warning = logging.LogRecord(log.name, logging.WARNING, "", 0, "%s [%s] %s", ("REQTMOUT", "a#producer-1", "t"), None)
    assert not said.filter(warning)
    log.setLevel(logging.DEBUG)
    assert said.filter(warning)


def test_a_member_of_another_kind_leaves_the_lookout_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange:
        addresses = ("a:1",)

        def __init__(self, *_: object) -> None:
            pass

        def topics(self, _: object) -> tuple[dict[str, Topic], list[str]]:
            return {"words": Topic("id", 1)}, []

        def members(self, group: str) -> dict[str, bytes]:
            return {"a stranger": b"" if group.endswith("map") else b"\0\0\0\0\0\1\0\1\xff\0\0\0\0"}

        def close(self) -> None:
            pass

    monkeypatch.setattr(lookout, "Brokers", Strange)
    sight = Sight()
    with Lookout(Config(bootstrap_servers="nowhere:1", app_id="x"), sight.see):
        wait_for(lambda: sight.newest is not None and sight.newest.owners_asked > 0)
    assert sight.newest is not None
    assert sight.newest.owners == {"x-map": {}, "x-reduce": {}}


def test_all_connections_of_a_process_are_broken_and_nothing_else() -> None:
    here, there = socket.socketpair()
    with here, there, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client, server.accept()[0] as peer:
            connection.break_all()
            assert client.recv(1) == peer.recv(1) == b""
        here.send(b"a")
        assert there.recv(1) == b"a"
        socket.create_connection(server.getsockname()).close()
