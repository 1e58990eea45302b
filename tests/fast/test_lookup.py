"""Totals of words, asked of the reducers that own them: questions, replies, and who does not answer."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from clocks import FakeClock

from wcsup import _core
from wcsup.pipeline.report import Found, Question, Reply
from wcsup.supervisor.lookup import ANSWER_SECONDS, Lookup
from wcsup.supervisor.pool import Pool

PARTITIONS = 4
WORDS = [b"whale", b"ship", b"sea", b"\xff"]


class Reducers:
    """Two reducers, the second one of which has no process; what they are asked is noted."""

    def __init__(self, first: list[int], second: list[int]) -> None:
        self.asked: list[Question] = []

        def tell(line: bytes) -> None:
            assert line.startswith(Question.MARK)
            self.asked.append(Question.from_json(line))

        self.slots = [
            SimpleNamespace(
                name="reduce-0",
                child=SimpleNamespace(tell=tell),
                report=SimpleNamespace(partitions=first, restoring={}),
            ),
            SimpleNamespace(name="reduce-1", child=None, report=SimpleNamespace(partitions=second, restoring={})),
        ]

    def of(self, role: str) -> list[Any]:
        assert role == "reduce"
        return self.slots


def lookup(reducers: Reducers, clock: FakeClock) -> Lookup:
    return Lookup(cast(Pool, reducers), PARTITIONS, cast(Any, clock))


def totals(reply: Mapping[str, Any] | None) -> list[Any]:
    assert reply is not None
    found: list[Any] = reply["totals"]
    return found


def test_the_owner_is_asked_and_the_reply_is_waited_for() -> None:
    reducers, clock = Reducers(list(range(PARTITIONS)), []), FakeClock()
    looking = lookup(reducers, clock)
    pending = looking.ask(WORDS)
    assert pending() is None
    [question] = reducers.asked
    assert [word.encode("latin-1") for _, word in question.words] == WORDS
    assert [partition for partition, _ in question.words] == [_core.partition(word, PARTITIONS) for word in WORDS]
    reply = Reply(question.number, [Found(3, 7, 1.5), Found(0, 7, None), None, Found(2, 9, 1.5)])
    assert reply.to_json().encode().startswith(Reply.MARK)
    looking.heard(reply.to_json().encode())
    first, second, third, fourth = totals(pending())
    assert first == {"count": 3, "offset": 7, "committed_at": 1.5, "owner": "reduce-0"}
    assert (second["count"], third, fourth["count"]) == (0, None, 2)


def test_what_nobody_here_owns_is_not_waited_for() -> None:
    clock = FakeClock()
    assert totals(lookup(Reducers([], list(range(PARTITIONS))), clock).ask(WORDS)()) == [None] * len(WORDS)


def test_a_reducer_that_does_not_answer_is_waited_for_a_while() -> None:
    reducers, clock = Reducers(list(range(PARTITIONS)), []), FakeClock()
    looking = lookup(reducers, clock)
    pending = looking.ask(WORDS[:1])
    clock.now += ANSWER_SECONDS - 0.1
    assert pending() is None
    clock.now += 0.2
    assert totals(pending()) == [None]
    looking.heard(Reply(reducers.asked[0].number, [Found(3, 7, 1.5)]).to_json().encode())
    assert looking.ask(WORDS[:1])() is None, "the late reply is for another question"


def test_who_is_opening_a_words_store_is_told() -> None:
    reducers, clock = Reducers([], []), FakeClock()
    opened = _core.partition(WORDS[0], PARTITIONS)
    reducers.slots[0].report.restoring[opened] = (3, 9)
    reply = lookup(reducers, clock).ask(WORDS[:1])()
    assert reply == {"totals": [None], "restoring": ["reduce-0"]}
