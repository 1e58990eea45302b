"""The totals of a host's reducers in one list and one sum, and what stays of them while a reducer is away."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wcsup.pipeline.report import Phase, Report
from wcsup.supervisor.processes import Child
from wcsup.supervisor.slot import SILENT_SECONDS, Slot
from wcsup.supervisor.words import WordsHere, WordsWatch, merged

Words = list[tuple[str, int]]


def report(words: Words, partitions: list[int] | None = None, *, cut: bool = False, **more: Any) -> Report:
    values: dict[str, Any] = {"ready": True, "phase": Phase.RUNNING, "beat": 1, "unlisted": 0, **more}
    total = sum(count for _, count in words)
    return Report(top=words, top_cut=cut, partitions=partitions or [], distinct=len(words), total=total, **values)


@pytest.mark.parametrize(
    ("reports", "wanted"),
    [
        ([], []),
        ([report([])], []),
        ([report([], cut=True)], []),
        ([report([("a", 3), ("b", 1)], cut=True)], [("a", 3), ("b", 1)]),
        # Behind b with 2, the first reducer may have a word with 2: the second one's words with 1 can't be placed.
        (
            [report([("a", 9), ("b", 2)], cut=True), report([("c", 5), ("d", 2), ("e", 1)])],
            [("a", 9), ("c", 5), ("b", 2)],
        ),
        (
            [report([("a", 9), ("b", 2)]), report([("c", 5), ("d", 2), ("e", 1)])],
            [("a", 9), ("c", 5), ("b", 2), ("d", 2), ("e", 1)],
        ),
        # The list that ends highest decides.
        (
            [report([("a", 9), ("b", 7)], cut=True), report([("c", 8), ("d", 1)], cut=True)],
            [("a", 9), ("c", 8), ("b", 7)],
        ),
    ],
)
def test_a_merged_list_ends_where_it_is_no_longer_known(reports: list[Report], wanted: Words) -> None:
    assert merged(reports) == wanted


def test_what_is_too_long_is_counted_and_unknown_where_one_store_does_not_know() -> None:
    known, unknown = report([("a", 1)], unlisted=2), report([("b", 1)], unlisted=None)
    assert WordsHere.of([known, known]).unlisted == 4
    assert WordsHere.of([known, unknown]).unlisted is None


class Host:
    """Two reducers, whose reports a test gives; a second passes with each look."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slots = [Slot("reduce", 0), Slot("reduce", 1)]
        self.watch = WordsWatch(lambda: self.now)
        for slot in self.slots:
            self.start(slot)

    def start(self, slot: Slot) -> None:
        slot.started(cast("Child", SimpleNamespace(pid=1)), self.now)

    def look(self, *reports: Report | None) -> WordsHere | None:
        self.now += 1
        for slot, told in zip(self.slots, reports, strict=True):
            if told is not None:
                slot.heard(replace(told, beat=int(self.now)), self.now)
        return self.watch.look(self.slots, self.now)


ONE, TWO = report([("a", 3)], [0, 1]), report([("b", 2)], [2, 3])
BOTH = WordsHere(distinct=2, total=5, top=[("a", 3), ("b", 2)], unlisted=0)
AT_101 = "1970-01-01T00:01:41.000Z"


def test_nothing_is_known_before_all_stores_are_open() -> None:
    host = Host()
    assert host.look(ONE, None) is None
    assert host.look(ONE, report([], ready=False)) is None
    assert host.look(ONE, TWO) == BOTH


def stale(found: WordsHere | None) -> tuple[int, Words, str | None]:
    assert found is not None
    return found.total, found.top, found.as_of


def test_the_last_values_stay_while_a_reducer_is_away_and_say_since_when() -> None:
    host = Host()
    assert host.look(ONE, TWO) == BOTH
    host.slots[1].ended(-9, host.now)
    for _ in range(20):
        assert stale(host.look(ONE, None)) == (5, BOTH.top, AT_101)
    host.start(host.slots[1])
    assert stale(host.look(ONE, report([], ready=False))) == (5, BOTH.top, AT_101)
    assert host.look(ONE, TWO) == BOTH


def test_the_values_are_right_again_once_other_reducers_have_the_partitions() -> None:
    host = Host()
    host.look(ONE, TWO)
    host.slots[1].ended(-9, host.now)
    all_of_it = report([("a", 4), ("b", 2)], [0, 1, 2, 3])
    assert host.look(all_of_it, None) == WordsHere(distinct=2, total=6, top=[("a", 4), ("b", 2)], unlisted=0)


def test_a_silent_reducers_values_are_as_of_its_last_heartbeat() -> None:
    host = Host()
    host.look(ONE, TWO)
    for _ in range(int(SILENT_SECONDS)):
        host.look(ONE, None)
    assert stale(host.look(ONE, None)) == (5, BOTH.top, AT_101)


def test_partitions_that_went_to_another_host_are_missed_for_a_moment_only() -> None:
    host = Host()
    host.look(ONE, TWO)
    nothing = report([], [])
    assert stale(host.look(ONE, nothing)) == (5, BOTH.top, AT_101)
    for _ in range(10):
        last = host.look(ONE, nothing)
    assert last == WordsHere(distinct=1, total=3, top=[("a", 3)], unlisted=0)


def test_after_the_end_the_last_values_stay() -> None:
    host = Host()
    host.look(ONE, TWO)
    for slot in host.slots:
        slot.ended(0, host.now)
    assert stale(host.look(None, None)) == (5, BOTH.top, AT_101)
    host.slots.clear()
    assert stale(host.look()) == (5, BOTH.top, AT_101)
