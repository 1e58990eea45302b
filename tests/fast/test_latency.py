"""The latency from lines to totals over the last minute, and the age of the oldest line without one."""

from collections.abc import Mapping
from typing import cast

import pytest
from clocks import Clock

from wcsup.config import Config
from wcsup.kafka.peek import Peek, Place
from wcsup.observe.oldest import Oldest
from wcsup.pipeline.report import AGES, Counters, Histogram
from wcsup.supervisor.latency import WINDOW_SECONDS, LatencyWindow


def histogram(*values: tuple[float, int]) -> Histogram:
    made = Histogram(AGES)
    for value, times in values:
        made.observe(value, times)
    return made


@pytest.mark.parametrize(
    ("values", "share", "wanted"),
    [
        ([], 0.5, None),
        ([(0.004, 10)], 0.5, 0.0025),  # halfway to 5 ms
        ([(0.004, 1), (0.9, 1)], 0.5, 0.005),
        ([(0.004, 99), (0.9, 1)], 0.99, 0.005),
        ([(0.004, 98), (0.9, 2)], 0.99, 0.875),  # halfway from 0.75 to 1 s
        ([(0.004, 98), (0.9, 2)], 1.0, 1.0),
        ([(30 * 86_400.0, 5)], 0.5, 604_800.0),  # beyond all bounds
    ],
)
def test_a_quantile_is_as_exact_as_the_bounds(values: list[tuple[float, int]], share: float, wanted: float) -> None:
    assert histogram(*values).quantile(share) == (wanted if wanted is None else pytest.approx(wanted))


def test_the_latency_is_that_of_the_last_minute() -> None:
    window, seen = LatencyWindow(), Counters()
    assert window.look(0.0, seen.latency) is None

    def look(at: float, *more: tuple[float, int]) -> tuple[float, float, float] | None:
        nonlocal seen
        seen = seen + Counters(latency=histogram(*more))
        found = window.look(at, seen.latency)
        return None if found is None else (round(found.p50, 5), round(found.p99, 5), found.max)

    assert look(1.0, (0.9, 100)) == (0.875, 0.9975, 1.0)
    slow_and_quick = look(30.0, (0.004, 100))
    assert slow_and_quick is not None
    assert (slow_and_quick[0], slow_and_quick[2]) == (0.005, 1.0)
    assert look(1.0 + WINDOW_SECONDS) == (0.0025, 0.00495, 0.005), "the slow ones are forgotten"
    assert look(30.0 + WINDOW_SECONDS) is None
    assert look(500.0) is None
    assert look(501.0, (0.004, 1)) is not None


class FakePeek:
    """Kafka, with a line of a time at each offset; each look takes a hundredth of a second."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lines: dict[tuple[Place, int], float | None] = {}
        self.asked: list[Mapping[Place, int]] = []

    def times(self, offsets: Mapping[Place, int], patience: float) -> dict[Place, float | None]:
        assert patience > 0
        self.asked.append(offsets)
        self.clock.now += 0.01
        return {place: self.lines[place, offset] for place, offset in offsets.items() if (place, offset) in self.lines}


LINES, WORDS = ("lines", 0), ("words", 3)


class Followed:
    def __init__(self) -> None:
        self.clock = Clock()
        self.peek = FakePeek(self.clock)
        self.oldest = Oldest(Config(), cast("Peek", self.peek), self.clock, lambda: 5000.0 + self.clock.now)

    def age(self, nexts: Mapping[Place, int], seconds: float = 0.5) -> float | None:
        self.clock.now += seconds
        age = self.oldest.age(nexts)
        return None if age is None else round(age, 1)


def test_the_oldest_line_may_be_at_either_stage() -> None:
    followed = Followed()
    made = 5000.0 + followed.clock.now
    followed.peek.lines = {(LINES, 7): made - 1.0, (WORDS, 9): made - 60.0, (WORDS, 10): made - 3.0}
    assert followed.age({}) == 0.0
    assert followed.age({LINES: 7}) == 2.0
    assert followed.age({LINES: 7, WORDS: 9}) == 61.5
    assert followed.age({LINES: 7, WORDS: 9}, 10.0) == 71.5
    assert followed.peek.asked == [{LINES: 7}, {WORDS: 9}], "a line's time does not change"
    assert followed.age({LINES: 7, WORDS: 10}) == 15.0
    assert followed.age({}) == 0.0


def test_the_age_is_unknown_where_a_line_can_not_be_read_and_control_records_are_no_lines() -> None:
    followed = Followed()
    followed.peek.lines = {(WORDS, 1): None}
    assert followed.age({LINES: 7, WORDS: 1}) is None
    assert followed.age({WORDS: 1}) == 0.0


def test_look_ups_rest_and_the_last_age_holds_for_a_moment() -> None:
    followed = Followed()
    followed.peek.lines = {(LINES, offset): 5000.0 + followed.clock.now for offset in range(3)}
    assert followed.age({LINES: 0}, 1.0) == 1.0
    assert followed.age({LINES: 1}, 0.1) == 1.0, "it was looked up a moment ago"
    assert followed.age({LINES: 1}, 1.0) == 2.1
    assert len(followed.peek.asked) == 2
