"""What the page's charts show: rates and levels by seconds and minutes, commits by looks, percentiles of steps."""

import json
import sys
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.observe.web.commits import STRIP_SECONDS, CommitStrips, StepTimes, quantile
from wcsup.observe.web.history import COLUMNS, DAY_MINUTES, RECENT_SECONDS, RunHistory
from wcsup.pipeline.report import SECONDS, Counters, Ended, Histogram
from wcsup.supervisor import LagView, Snapshot
from wcsup.supervisor.latency import Latency


class WallClock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def at(second: float, lines: int = 0, **more: Any) -> Snapshot:
    return snapshot(worker("map"), uptime=second, lines_per_second=float(lines), **more)


def told(history: RunHistory, clock: WallClock, seconds: float, *shown: Snapshot) -> None:
    for one in shown:
        clock.now += seconds
        history.take(one)


def test_each_second_has_one_row_and_what_is_not_known_is_none() -> None:
    clock = WallClock()
    history = RunHistory(clock)
    told(history, clock, 0.5, *(at(beat / 2, 100, lag=LagView(beat, None)) for beat in range(8)))
    told(history, clock, 1.0, at(5, 150, latency=Latency(0.06, 0.4, 0.9), lag=LagView(7, 3, oldest_seconds=0.25)))

    recent = history.after()["recent"]

    assert [time - 1_800_000_000 for time in recent["time"] if time] == [0.5, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert recent["lines_per_second"] == [100, 100, 100, 100, 100, 150]
    assert recent["lines_lag"] == [0, 1, 3, 5, 7, 7]
    assert recent["words_lag"] == [None] * 5 + [3]
    assert recent["latency_p50"] == [None] * 5 + [0.06]
    assert recent["latency_p99"] == [None] * 5 + [0.4]
    assert recent["oldest_uncounted_seconds"] == [None] * 5 + [0.25]
    assert history.after(1_800_000_003.0)["recent"]["lines_lag"] == [7, 7]
    assert set(recent) == {"time", *COLUMNS}


def test_a_minute_has_the_means_of_rates_and_the_highest_of_levels() -> None:
    clock = WallClock(1_800_000_000.0)
    history = RunHistory(clock)
    for second in range(121):
        lag = LagView(None if second < 60 else second, 0)
        told(history, clock, 1.0, at(second, 10 if second % 2 else 20, lag=lag))
    day = history.after()["day"]
    assert day["time"] == [1_800_000_000, 1_800_000_060]
    assert day["lines_lag"] == [None, 118]
    assert day["lines_per_second"][0] == pytest.approx(15, abs=0.1)


def test_it_is_bounded() -> None:
    clock = WallClock()
    history = RunHistory(clock)
    for second in range(RECENT_SECONDS + 50):
        told(history, clock, 1.0, at(second))
    for minute in range(DAY_MINUTES + 50):
        told(history, clock, 60.0, at(2000 + minute))
    kept = history.after()
    assert (len(kept["recent"]["time"]), len(kept["day"]["time"])) == (RECENT_SECONDS, DAY_MINUTES)
    columns = [column for series in (history._recent, history._day) for column in (series._times, *series._columns)]
    assert sum(map(sys.getsizeof, columns)) < 190_000, "as its docstring says"


def test_where_the_clock_is_set_back_what_was_before_is_dropped() -> None:
    clock = WallClock()
    history = RunHistory(clock)
    told(history, clock, 1.0, at(1), at(2))
    clock.now -= 3600
    told(history, clock, 1.0, at(3))
    assert history.after()["recent"]["time"] == [1_799_996_403.0]


# Strips


def ended(*records: int, first: int = 1, at: float = 100.0, error: str | None = None) -> list[tuple[int, Ended]]:
    """Transactions that covered so many records each."""
    return [(number, Ended(at, 0.02, one, error)) for number, one in enumerate(records, first)]


def test_each_transaction_is_told_once_with_its_records_and_its_error() -> None:
    # Given looks that have the last transactions of a slot, most of them again
    clock = WallClock(100.0)
    strips = CommitStrips(clock)
    aborted = ended(300, first=3, at=100.9, error="ILLEGAL_GENERATION")
    for transactions in ([], ended(100, 200), [*ended(100, 200), *aborted], aborted):
        clock.now += 0.5
        strips.take(snapshot(worker("map", ended=transactions), worker("reduce")))

    # Then each of them is told once
    kept = strips.after()
    assert [(one["number"], one["records"], one["error"]) for one in kept["map-0"]["transactions"]] == [
        (1, 100, None),
        (2, 200, None),
        (3, 300, "ILLEGAL_GENERATION"),
    ]
    assert kept["reduce-0"] == {"transactions": [], "away": []}
    # And one that was reported late is new though it ended before
    assert [one["number"] for one in strips.after(101.2)["map-0"]["transactions"]] == [3]


def test_a_slot_without_a_process_is_told_from_when_to_when() -> None:
    clock = WallClock(100.0)
    strips = CommitStrips(clock)
    for pid in (7, None, None, 8, None):
        clock.now += 0.5
        strips.take(snapshot(worker("map", pid=pid)))
    assert strips.after()["map-0"]["away"] == [[100.5, 101.5], [102.0, 102.5]]


def test_a_slot_that_was_removed_and_made_again_is_told_anew() -> None:
    strips = CommitStrips(WallClock(100.0))
    for transactions in (ended(1, 2, 3), ended(4, first=1)):
        strips.take(snapshot(worker("map", ended=transactions)))
    assert [one["records"] for one in strips.after()["map-0"]["transactions"]] == [1, 2, 3, 4]


def test_strips_are_bounded() -> None:
    clock = WallClock(100.0)
    strips = CommitStrips(clock)
    strips.take(snapshot(worker("map", ended=ended(*range(5000))), worker("reduce", pid=None)))
    assert len(strips.after()["map-0"]["transactions"]) == 2000
    clock.now += STRIP_SECONDS + 1
    strips.take(snapshot(worker("map"), worker("reduce")))
    assert strips.after() == {"map-0": {"transactions": [], "away": []}, "reduce-0": {"transactions": [], "away": []}}
    strips.take(snapshot(worker("map")))
    assert strips.after().keys() == {"map-0"}


# Percentiles


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0, 0, 0, 0], 0.5, None),
        ([4, 0, 0, 0], 0.5, 0.5),
        ([0, 4, 0, 0], 0.5, 1.5),
        ([0, 4, 0, 0], 1.0, 2.0),
        ([2, 2, 0, 0], 0.5, 1.0),
        ([1, 0, 3, 0], 0.5, 2.0 + 2.0 / 3),
        ([0, 0, 0, 7], 0.5, 4.0),
    ],
)
def test_a_quantile_is_as_prometheus_has_it(counts: list[int], share: float, expected: float | None) -> None:
    found = quantile((1.0, 2.0, 4.0), counts, share)
    assert found == (expected if expected is None else pytest.approx(expected, abs=1e-5))


def stepped(*seconds: float) -> Snapshot:
    histogram = Histogram(SECONDS)
    for one in seconds:
        histogram.observe(one)
    return snapshot(worker("map", counters=Counters(step_seconds={"commit": histogram})))


def test_percentiles_are_those_of_the_last_minute() -> None:
    clock = WallClock(0.0)
    steps = StepTimes(clock)
    slow, quick = [1.5] * 100, [0.0015] * 10
    steps.take(stepped(*slow))
    assert steps.told()["map"]["commit"] == {"count": 0, "p50": None, "p90": None, "p99": None}
    for clock.now in (30.0, 61.0):
        steps.take(stepped(*slow, *quick))
    assert steps.told()["map"]["commit"] == {"count": 10, "p50": 0.0015, "p90": 0.0019, "p99": 0.00199}
    clock.now = 130.0
    steps.take(stepped(*slow, *quick))
    assert steps.told()["map"]["commit"]["count"] == 0
    assert json.dumps(steps.told())
