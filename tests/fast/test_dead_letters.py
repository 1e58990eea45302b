"""What is shown of dead letters, whoever wrote them, and of the hosts that are followed for the page."""

import json
from typing import Any

import pytest
from confluent_kafka import Message
from running import wait_for

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.observe.deadletters import DeadLetter, Excerpt
from wcsup.observe.hostwatch import HostWatch
from wcsup.pipeline.records import Letter


class DeadRecord(Message):
    """A record of dead-letters as a consumer returns it."""

    def __init__(self, key: bytes | None, value: bytes | None, headers: Any, time: tuple[int, int]) -> None:
        self._key, self._value, self._headers, self._time = key, value, headers, time

    def key(self, *_: Any) -> bytes | None:
        return self._key

    def value(self, *_: Any) -> bytes | None:
        return self._value

    def headers(self, *_: Any) -> Any:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._time

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return 9


@pytest.mark.parametrize(
    ("whole", "text", "cut"),
    [
        (b"", "", False),
        ("Wörter".encode(), "Wörter", False),
        (b"caf\xe9", r"caf\xe9", False),
        (b"\x1b[2J\x00\n\t", r"\x1b[2J\x00\n\t", False),
        ("a\u202eb\u2066".encode(), r"a\u202eb\u2066", False),
        (b"<script>", "<script>", False),
        (b"x" * 256, "x" * 256, False),
        (b"x" * 257, "x" * 256, True),
    ],
)
def test_bytes_are_shown_as_text_in_which_nothing_acts(whole: bytes, text: str, cut: bool) -> None:
    assert Excerpt.of(whole) == Excerpt(text, len(whole), cut)
    assert Excerpt.of(None) is None


def test_a_letter_is_read_as_workers_write_it() -> None:
    letter = Letter.at(("lines", 3, 41), "a word is too long", None, b"xyz")
    record = DeadRecord(
        letter.key, letter.value, [(n, str(v).encode()) for n, v in letter.headers], (1, 1_764_547_200_000)
    )
    assert DeadLetter.read(record).to_json() == {
        "partition": 2,
        "offset": 9,
        "time": "2025-12-01T00:00:00.000Z",
        "topic": "lines",
        "of_partition": 3,
        "of_offset": 41,
        "error": "a word is too long",
        "key": None,
        "value": {"text": "xyz", "size": 3, "cut": False},
    }


@pytest.mark.parametrize(
    ("headers", "time"),
    [
        (None, (0, -1)),
        ([], (1, -1)),
        ([("topic", None), ("partition", b"-1"), ("offset", b"9" * 40), ("error", b"\xff\x1b")], (1, 1 << 60)),
        ([("partition", "٣".encode()), ("other", b"")], (1, 0)),
    ],
)
def test_a_letter_that_somebody_else_wrote_does_no_harm(headers: Any, time: tuple[int, int]) -> None:
    told = DeadLetter.read(DeadRecord(b"k", None, headers, time)).to_json()
    assert (told["of_partition"], told["of_offset"], told["topic"]) == (None, None, None)
    assert told["error"] in {None, r"\xff\x1b"}
    assert json.dumps(told)


class ToldHost:
    def to_json(self, *, silent: bool) -> dict[str, Any]:
        return {"host": "ab12", "silent": silent}


class ToldHosts:
    """The topic of the hosts as it is read, without a Kafka."""

    def __init__(self, why: Exception | None = None) -> None:
        self.opened = self.closed = 0
        self.why = why

    def open(self, _config: Config) -> Any:
        self.opened += 1
        if self.why:
            raise self.why
        return self

    def close(self) -> None:
        self.closed += 1

    def read(self) -> None:
        pass

    def hear(self, _seconds: float) -> bool:
        return True

    def all(self, *, heard: bool) -> Any:
        return [(ToldHost(), not heard)]


def test_hosts_are_followed_from_the_first_question_on() -> None:
    told = ToldHosts()
    watch = HostWatch(Config(), told.open)
    assert told.opened == 0
    for _ in range(3):
        assert watch.look()["hosts"] == [{"host": "ab12", "silent": False}]
    assert told.opened == 1
    watch._asked -= 61  # nobody asks any more
    wait_for(lambda: told.closed == 1)
    assert watch.look()["hosts"]
    assert told.opened == 2
    watch._asked -= 61


def test_why_hosts_cannot_be_followed_is_said_and_it_is_tried_again() -> None:
    told = ToldHosts(ConfigurationError("no wcsup run has told of itself yet"))
    watch = HostWatch(Config(), told.open)
    for turn in (1, 2):
        with pytest.raises(ConfigurationError, match="no wcsup run"):
            watch.look()
        assert told.opened == turn
