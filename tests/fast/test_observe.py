"""When a run counts as done, how fast it is, and what is said of it at its end."""

import logging
import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.config import Config
from wcsup.observe.figures import top_words
from wcsup.observe.lag import Sample
from wcsup.observe.outcome import Outcome, Summary
from wcsup.observe.plain import PlainView
from wcsup.pipeline.report import Counters
from wcsup.process.rates import Rate
from wcsup.supervisor import LagView, TaskView, WorkerView
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.reach import Reachability
from wcsup.supervisor.words import WordsHere

CONFIG = Config(partitions=4)


class Run:
    """A run that is told what its workers, its feeder and Kafka say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sample: Sample | None = None
        self.outcome = Outcome(CONFIG, lambda: self.sample, lambda: self.now)

    def kafka_says(self, lines: int, words: int) -> None:
        self.sample = Sample(self.now, LagView(lines, words), lines=0)

    def done(self, *workers: WorkerView, **more: Any) -> bool:
        self.now += 0.5
        shown = snapshot(*workers, **more)
        self.outcome.take(shown)
        return self.outcome.done(shown)


def feeder(running: bool) -> TaskView:
    return TaskView("feed", 7, running, None if running else 0, {"bytes_read": 5, "bytes_known": 10, "written": 3})


def test_a_run_is_done_when_nothing_is_left_and_every_worker_has_said_so_since() -> None:
    run = Run()
    assert not run.done(worker("map", beat=1), worker("reduce", beat=1))
    run.kafka_says(5, 0)
    assert not run.done(worker("map", beat=2), worker("reduce", beat=2))
    run.kafka_says(0, 5)
    assert not run.done(worker("map", beat=3), worker("reduce", beat=3))
    run.kafka_says(0, 0)
    assert not run.done(worker("map", beat=4), worker("reduce", beat=4))
    assert not run.done(worker("map", beat=5), worker("reduce", beat=4)), "the reducer has not reported since"
    assert not run.done(worker("map", beat=6), worker("reduce", beat=6, total=9)), "it tells of a commit"
    assert run.done(worker("map", beat=7), worker("reduce", beat=7, total=9))


def test_what_kafka_said_before_the_feeder_ended_does_not_count() -> None:
    run = Run()
    run.kafka_says(0, 0)
    for beat in range(3):
        assert not run.done(worker("map", beat=beat), tasks=[feeder(running=True)])
    for beat in range(3, 6):
        assert not run.done(worker("map", beat=beat), tasks=[feeder(running=False)])
    run.kafka_says(0, 0)
    assert not run.done(worker("map", beat=6), worker("reduce", beat=6), tasks=[feeder(running=False)])
    assert run.done(worker("map", beat=7), worker("reduce", beat=7), tasks=[feeder(running=False)])


@pytest.mark.parametrize("change", [{"ready": False}, {"pid": 999}])
def test_a_worker_that_is_replaced_is_waited_for(change: dict[str, Any]) -> None:
    run = Run()
    run.done(worker("map"))
    run.kafka_says(0, 0)
    assert not run.done(worker("map", beat=2))
    assert not run.done(worker("map", beat=3, **change))


def test_partitions_on_their_way_between_reducers_are_waited_for_and_those_of_other_machines_are_not() -> None:
    run = Run()
    run.done(worker("reduce"))
    half: dict[str, Any] = {"partitions": [0, 1]}
    run.kafka_says(0, 0)
    assert not run.done(worker("reduce", beat=2, **half))
    assert not run.done(worker("reduce", beat=3, **half))
    for beat in range(4, 13):
        assert not run.done(worker("reduce", beat=beat, **half))
    assert run.done(worker("reduce", beat=13, **half))


def test_a_slot_that_failed_is_not_waited_for() -> None:
    run = Run()
    run.done(worker("map"))
    run.kafka_says(0, 0)
    fenced = worker("map", 1, ready=False, failed="fenced: another process runs under this name")
    assert not run.done(worker("map", beat=2), worker("reduce", beat=2), fenced)
    assert run.done(worker("map", beat=3), worker("reduce", beat=3), fenced)


def test_the_summary_tells_this_runs_words_from_those_of_earlier_runs_whoever_died() -> None:
    run = Run()
    run.kafka_says(0, 0)
    start = worker("reduce", beat=1, total=1000, distinct=40, counters=Counters(records=1, words=100))
    run.done(worker("map"), start)
    run.kafka_says(0, 0)
    # It was killed in between: what it had not reported is missing in the counters, but not in its total.
    end = worker("reduce", beat=2, total=1600, distinct=50, counters=Counters(records=2, words=550), top=[("a", 9)])
    run.done(worker("map", beat=2), end)
    assert run.done(worker("map", beat=3), replace(end, beat=3))

    summary = run.outcome.summary(lines=70)

    assert (summary.lines, summary.words, summary.total, summary.distinct) == (70, 700, 1600, 50)
    assert summary.top == [("a", 9)]
    assert summary.seconds == 1.0
    assert "1,600 with those of earlier runs" in summary.text()


def ended_early(*workers: WorkerView, **more: Any) -> Summary:
    """Return the summary of a run whose reducers were away at last."""
    run = Run()
    run.done(worker("map"), worker("reduce", total=1000, distinct=40, counters=Counters(words=100)))
    counters = Counters(records=5, words=600)
    for age in (0.07, 0.07, 0.4):
        counters.latency.observe(age)
    run.done(worker("map"), worker("reduce", total=1600, distinct=50, counters=counters))
    away: dict[str, Any] = {
        "words_here": WordsHere(distinct=50, total=1600, as_of="2027-01-15T08:00:00.250Z"),
        "totals": {"map": Counters(), "reduce": counters},
        "restarts": {"killed": 2, "requested": 1},
    }
    run.done(*workers, **(away | more))
    return run.outcome.so_far(lines=30)


def test_a_run_that_is_ended_early_has_a_summary_of_what_it_did() -> None:
    told = [re.split(r" {2,}", line) for line in ended_early().text().splitlines()]
    as_of = told[2].pop()
    assert told == [
        ["lines", "30", "20 a second"],
        ["words", "700", "1,600 with those of earlier runs"],  # by the totals: a killed worker's counters may be lost
        ["distinct words", "50"],
        ["seconds", "1.5"],
        ["restarts", "3", "2 killed, 1 requested"],
        ["latency", "p50 69 ms", "p99 494 ms"],
    ]
    assert re.fullmatch(r"as of \d\d:\d\d:\d\d", as_of)


def test_a_summary_says_what_is_not_known() -> None:
    run = Run()
    run.done(worker("map"), words_here=None)
    text = run.outcome.so_far(lines=0).text()
    assert re.search(r"distinct words +unknown$", text, re.MULTILINE)
    assert re.search(r"latency +unknown$", text, re.MULTILINE)


def test_a_part_of_the_partitions_is_called_that() -> None:
    run = Run()
    run.done(worker("map"), worker("reduce", partitions=[0, 1], distinct=7))
    assert re.search(r"distinct words +7  in this host's partitions$", run.outcome.so_far(1).text(), re.MULTILINE)


def test_a_plain_run_says_how_it_stands_and_once_a_minute_that_kafka_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = datetime.fromisoformat("2026-11-29T12:00:00.000Z").timestamp()
    view = PlainView(lambda: now + 42)
    gone = Reachability(reachable=False, since="2026-11-29T12:00:00.000Z")

    def at(uptime: float, **more: Any) -> list[str]:
        caplog.clear()
        view.show(snapshot(worker("map"), worker("reduce"), uptime=uptime, **more))
        return caplog.messages

    assert at(9.5) == []
    told = at(10.0, lag=LagView(7, 3), latency=Latency(0.0621, 0.24, 1.0))
    assert told == [
        "2 of 2 workers ready, 0 lines/s, 0 words/s, latency: p50 62 ms, p99 240 ms, "
        "left to count: 7 lines and 3 words records"
    ]
    assert at(20.0, broker=gone) == ["Kafka gone for 42 s, retrying: how much is left to count is not known"]
    assert at(60.0, broker=gone) == []
    assert len(at(80.0, broker=gone)) == 1
    assert "left to count: unknown" in at(140.0, lag=LagView())[0]


def test_without_an_end_there_is_no_summary() -> None:
    with pytest.raises(ValueError, match="ended before"):
        Run().outcome.summary(1)


def test_a_rate_is_that_of_the_last_seconds_and_never_below_zero() -> None:
    rate = Rate()
    assert rate.take(0, 100) == 0
    assert rate.take(1, 200) == 100
    assert rate.take(2, 300) == 100
    assert [round(rate.take(second, 300)) for second in (3, 4, 5)] == [67, 33, 0]
    assert rate.take(6, 10) == 0


def test_top_words_are_merged() -> None:
    merged = top_words(snapshot(worker("reduce", 0, top=[("b", 5), ("c", 1)]), worker("reduce", 1, top=[("a", 5)])), 2)
    assert merged == [("a", 5), ("b", 5)]
