"""When a run counts as done, how fast it is, and what the live view shows of it."""

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from running import wait_for
from snapshots import snapshot, worker

from wcsup.config import Config
from wcsup.observe.figures import Rates, sparkline, top_words
from wcsup.observe.lag import Sample
from wcsup.observe.live import LiveView, draw
from wcsup.observe.outcome import Outcome
from wcsup.pipeline.report import Counters
from wcsup.process.rates import Rate
from wcsup.supervisor import LagView, TaskView, WorkerView
from wcsup.supervisor.slot import SlotState

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
        return self.outcome.done(snapshot(*workers, **more))


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


def test_rates_are_kept_for_each_worker_that_is_there() -> None:
    rates = Rates()
    for second in range(3):
        count = Counters(records=second * 50, words=second * 70)
        rates.take(snapshot(worker("map", counters=count), worker("reduce", counters=count), uptime=float(second)))
    assert (rates.lines, rates.words, rates.by_slot["map-0"], rates.by_slot["reduce-0"]) == (50, 70, 50, 50)


def test_sparkline() -> None:
    assert sparkline([], 5) == ""
    assert sparkline([0, 0], 5) == "▁▁"
    assert sparkline([9, 0, 1, 4, 8], 4) == "▁▂▅█"


def test_top_words_are_merged() -> None:
    merged = top_words(snapshot(worker("reduce", 0, top=[("b", 5), ("c", 1)]), worker("reduce", 1, top=[("a", 5)])), 2)
    assert merged == [("a", 5), ("b", 5)]


@pytest.mark.parametrize("width", [200, 80, 60, 40, 20])
def test_the_view_keeps_to_the_width_of_the_terminal(width: int) -> None:
    busy = worker("map", 0, state=SlotState.RESTORING, restoring={0: (50, 100), 1: (25, 100)}, restore_seconds=9.8)
    gone = worker(
        "reduce", 1, pid=None, state=SlotState.FAILED, cpu_percent=None, rss_bytes=None, failed="fenced: " * 9
    )
    shown = snapshot(
        busy,
        worker("reduce", 0, top=[("whale" * 9, 12_345), ("the", 9)]),
        gone,
        tasks=[feeder(running=True)],
        lag=LagView(1_234_567, None),
    )
    rates = Rates()
    rates.take(shown)
    console = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())

    console.print(draw("books on host:9092", shown, rates, narrow=width < 78))

    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 60:
        assert {"map-0", "reduce-0", "reduce-1"} <= set(text.split())
    if width >= 80:
        for part in (
            "restoring 37 %, 9 s left",
            "failed",
            "120 MB",
            "0-3",
            "1,234,567 left to count",
            "3 lines of",
            "whalewhale",
        ):
            assert part in text


def test_a_terminal_that_became_narrower_is_cleared_of_the_lines_that_it_broke() -> None:
    file = io.StringIO()
    console = Console(width=120, force_terminal=True, color_system=None, file=file)
    with LiveView("books", console) as view:
        view.show(snapshot(worker("map", 0)))
        wait_for(lambda: "map-0" in file.getvalue())
        assert "\x1b[2J" not in file.getvalue()

        console.width = 60

        wait_for(lambda: "map-0" in file.getvalue().partition("\x1b[2J")[2])
