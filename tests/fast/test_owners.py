"""Totals over the hosts: who owns a word, what the owner's host tells, and what is said of a store that is opened."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients
from wcsup.observe import owners, words
from wcsup.observe.hosts import Host, HostRun
from wcsup.observe.owners import Owner, ask, reachable_address
from wcsup.observe.web.server import Server
from wcsup.observe.web.site import Sources
from wcsup.observe.words import WordTotal, look_up

CONFIG = Config(bootstrap_servers="127.0.0.1:1", partitions=4)
RUN = HostRun("m", "", 1, 0.0)
NOW = 1_764_547_200.0


def host(name: str, told: float, address: str | None = None, ended: str | None = None, **partitions: Any) -> Host:
    workers = [
        {"role": "map", "slot": "map-0", "partitions": [0, 1, 2, 3], "restoring": {}},
        {"role": "reduce", "slot": "reduce-0", "partitions": [], "restoring": {}, **partitions},
    ]
    return Host(name, RUN, "0.1.0", int(told * 1000), ended, {"workers": workers}, address)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Host]:
    """The hosts that tell of themselves."""
    hosts: list[Host] = []
    topic = SimpleNamespace(read=lambda: None, close=lambda: None, all=lambda **_: ((one, False) for one in hosts))
    monkeypatch.setattr(owners, "Hosts", lambda *_: topic)
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(clients, "admin", lambda _: None)
    return hosts


def test_the_owner_is_the_reducer_that_tells_of_the_partition_last(told: list[Host]) -> None:
    told += [
        host("a", NOW - 2, "10.0.0.1:80", partitions=[0, 1], restoring={"1": [3, 9]}),
        host("b", NOW - 9, partitions=[1, 2]),
        host("gone", NOW - 100, partitions=[3]),
        host("ended", NOW, ended="fenced", partitions=[3]),
        Host("newer", RUN, "9.0", int(NOW * 1000), None, {}),
    ]
    assert owners.owners(CONFIG) == {
        0: Owner("a", "reduce-0", "10.0.0.1:80", restoring=False),
        1: Owner("a", "reduce-0", "10.0.0.1:80", restoring=True),
        2: Owner("b", "reduce-0", None, restoring=False),
    }


@contextmanager
def serving(**known: dict[str, Any] | None) -> Iterator[str]:
    """A host that answers for its own reducers."""
    with Server("127.0.0.1", 0, "books") as server:
        nothing: Any = dict
        server.answer_from(Sources(nothing, known.get, nothing, nothing, nothing, nothing))
        yield "{}:{}".format(*server.address)


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        (b"whale", {"word": "whale", "count": 3, "offset": 7, "committed_at": None, "owner": "reduce-0"}),
        (b"sea", None),
        (b"odd", None),
    ],
)
def test_another_hosts_answer_is_taken_where_it_is_one(word: bytes, answer: object) -> None:
    whale = {"word": "whale", "count": 3, "offset": 7, "committed_at": None, "owner": "reduce-0"}
    with serving(whale=whale, odd={"count": "many", "offset": 7}) as address:
        assert ask(Owner("a", "reduce-0", address, restoring=False), word) == answer


def test_a_host_that_can_not_be_reached_does_not_answer() -> None:
    with serving() as address:
        pass
    assert ask(Owner("a", "reduce-0", address, restoring=False), b"whale") is None
    assert ask(Owner("a", "reduce-0", None, restoring=False), b"whale") is None


@pytest.mark.parametrize(
    ("listens", "servers", "address"),
    [
        (("127.0.0.1", 80), "10.0.0.9:9092", None),
        (("::1", 80), "10.0.0.9:9092", None),
        (("10.0.0.1", 80), "10.0.0.9:9092", "10.0.0.1:80"),
        (("fd00::1", 80), "10.0.0.9:9092", "[fd00::1]:80"),
        (("0.0.0.0", 80), "127.0.0.1:9092", None),  # noqa: S104 - nothing listens
        (("0.0.0.0", 80), "no-such-name.invalid:9092", None),  # noqa: S104
    ],
)
def test_an_address_is_told_where_others_can_use_it(listens: tuple[str, int], servers: str, address: str) -> None:
    assert reachable_address(listens, Config(bootstrap_servers=servers)) == address


class Looked:
    """A look-up without Kafka: what the run here replies, who owns what, and what `counts` has."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reply: dict[str, Any] | None = None
        self.owners: dict[int, Owner] = {}
        self.answers: dict[bytes, dict[str, Any]] = {}
        self.read: list[set[bytes]] = []
        reader = SimpleNamespace(partitions=[0, 1, 2, 3], close=lambda: None)
        monkeypatch.setattr(words, "TotalsReader", lambda *_: reader)
        monkeypatch.setattr(words, "request", self._request)
        monkeypatch.setattr(words, "owners", lambda _: self.owners)
        monkeypatch.setattr(words, "ask", lambda _, word: self.answers.get(word))
        monkeypatch.setattr(words, "_of_topic", self._of_topic)

    def _request(self, *_: object) -> dict[str, Any]:
        if self.reply is None:
            raise WcsupError("no run is here")
        return self.reply

    def _of_topic(self, _config: Config, _reader: object, homes: dict[bytes, int]) -> dict[bytes, WordTotal]:
        self.read.append(set(homes))
        return {word: WordTotal(word.decode(), 1, 5, None, None, behind=None) for word in homes}


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(monkeypatch)


HOME = _core.partition(b"whale", 4)


def test_a_reducer_here_is_asked_first(looked: Looked) -> None:
    looked.reply = {"totals": [{"count": 3, "offset": 7, "committed_at": 1.5, "owner": "reduce-0"}]}
    [found] = look_up(CONFIG, [b"whale"])
    assert found == WordTotal("whale", 3, 7, "1970-01-01T00:00:01.500Z", "reduce-0", behind=False)
    assert not looked.read


def test_while_a_store_is_opened_here_the_answer_is_behind(looked: Looked) -> None:
    looked.reply = {"totals": [None], "restoring": ["reduce-1"]}
    assert look_up(CONFIG, [b"whale"]) == [WordTotal("whale", 1, 5, None, "reduce-1", behind=True)]


def test_another_hosts_reducer_is_asked_and_named_with_its_host(looked: Looked) -> None:
    looked.owners = {HOME: Owner("a", "reduce-0", "10.0.0.1:80", restoring=False)}
    looked.answers[b"whale"] = {"count": 4, "offset": 9, "committed_at": "2026-01-01T00:00:00.000Z"}
    expected = WordTotal("whale", 4, 9, "2026-01-01T00:00:00.000Z", "a/reduce-0", behind=False)
    assert look_up(CONFIG, [b"whale"]) == [expected]
    assert not looked.read


@pytest.mark.parametrize("restoring", [False, True])
def test_the_topic_answers_for_an_owner_that_does_not(looked: Looked, restoring: bool) -> None:
    looked.owners = {HOME: Owner("a", "reduce-0", None, restoring=restoring)}
    assert look_up(CONFIG, [b"whale"]) == [WordTotal("whale", 1, 5, None, "a/reduce-0", behind=restoring)]


@pytest.mark.usefixtures("looked")
def test_without_an_owner_it_is_not_known_whether_the_answer_is_behind() -> None:
    [found] = look_up(CONFIG, [b"whale"])
    assert found == WordTotal("whale", 1, 5, None, None, behind=None)
    assert json.loads(json.dumps(found.to_json()))["behind"] is None
