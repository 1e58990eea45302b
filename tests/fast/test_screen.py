"""What is on the screen of a run: drawn as text at several sizes, with no terminal."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.observe.screen.chart import ASCII, bars, nice
from wcsup.observe.screen.history import History, Series
from wcsup.observe.screen.incidents import Incidents
from wcsup.observe.screen.layout import draw
from wcsup.observe.screen.scene import Caption, Controls, Note, Pane, Scene, Tie
from wcsup.process.logtail import LoggedLine
from wcsup.process.times import clock
from wcsup.supervisor import LagView, Snapshot, TaskView, WorkerView
from wcsup.supervisor.events import RunEvent
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.policy import KILL_HINT
from wcsup.supervisor.reach import Reachability
from wcsup.supervisor.slot import SlotState
from wcsup.supervisor.words import WordsHere

SIZES = [(80, 24), (100, 30), (120, 40), (200, 60)]
ODD_SIZES = [(20, 5), (40, 10), (60, 15), (79, 23), (300, 90), (1, 1)]
SINCE = "2026-11-29T12:00:00.000Z"
NOON = datetime.fromisoformat(SINCE).timestamp()
WORDS = WordsHere(distinct=88_000, total=2_000_000, state_bytes=12_000_000, top=[("the", 90_000), ("whale", 1_234)])
HOSTILE = "a\x1b[31mred\u202eb\u2066c\rd"


def mapper(number: int = 0, **more: Any) -> WorkerView:
    return worker("map", number, **more)


def reducer(number: int = 0, **more: Any) -> WorkerView:
    return worker("reduce", number, **more)


def run(*workers: WorkerView, **more: Any) -> Snapshot:
    values: dict[str, Any] = {"words_here": WORDS, "latency": Latency(0.0621, 0.24, 1.2)}
    return snapshot(*(workers or (mapper(), reducer())), **(values | more))


def scene(shown: Snapshot, **more: Any) -> Scene:
    history, incidents = History(), Incidents()
    history.take(shown)
    incidents.take(shown.events)
    return Scene("books on host:9092", shown, history, NOON + 12, **({"incidents": list(incidents.lines)} | more))


def drawn(what: Scene | Snapshot, size: tuple[int, int] = (80, 24)) -> str:
    lines = draw(what if isinstance(what, Scene) else scene(what), *size)
    assert len(lines) == size[1]
    assert all(line.cell_len <= size[0] for line in lines)
    return "\n".join(line.plain for line in lines)


def style_of(what: Scene, text: str, size: tuple[int, int] = (80, 24)) -> set[str]:
    """Return the styles of a text on the screen."""
    for line in draw(what, *size):
        at = line.plain.find(text)
        if at >= 0:
            return {str(span.style) for span in line.spans if span.start <= at < span.end} | {str(line.style)}
    raise AssertionError(f"{text!r} is not shown")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_shows_what_counts(size: tuple[int, int]) -> None:
    busy = mapper(
        1, state=SlotState.RESTORING, restoring={0: (50, 100), 1: (25, 100)}, restore_seconds=9.8, cpu_percent=45.0
    )
    killed = reducer(1, restarts=2, last_exit="killed by SIGKILL, as asked")
    feed = TaskView(
        "feed", 7, True, None, {"bytes_read": 61, "bytes_known": 100, "written": 525_000, "source": "a.txt"}
    )
    events = [
        RunEvent(SINCE, "map-1", "ended", f"killed by SIGKILL{KILL_HINT}"),
        RunEvent(SINCE, "map-1", "started", "process 9"),
        RunEvent(SINCE, "map-1", "back", "in 0.3 s, partitions 9-11"),
    ]
    text = drawn(
        run(
            *(mapper(), busy, reducer(), killed),
            lag=LagView(12_345, 67, oldest_seconds=2.4),
            tasks=[feed],
            events=events,
            uptime=192.0,
        ),
        size,
    )
    for part in (
        *("books on host:9092", "● ready", "up 3 min 12 s", "lines a second", "last 1 min"),
        *("p50 62 ms, p99 240 ms", "uncounted for 2.4 s", "12,345 lines, 67 records"),
        *("2,000,000, 88,000 distinct", "12 MB", " 61%  525,000 lines of a.txt"),
        *("map-0", "reduce-1", "running", "restoring 37 %, 9 s", "120 MB", "45 %", "0-3"),
        *("killed by SIGKILL, back in 0.3 s, partitions 9-11", "the ", "90,000", "whale"),
        *("+- mappers", "r restart", "k kill", "v verify", "/ word", "q drain", "? help"),
    ):
        assert part in text
    row = next(line for line in text.splitlines() if " reduce-1 " in line)
    assert ("killed by SIGKILL" in row) == (size[0] >= 120)
    assert ("latency, p99" in text) == (size[1] >= 40)


@pytest.mark.parametrize("size", ODD_SIZES, ids=str)
def test_odd_sizes_are_kept_to(size: tuple[int, int]) -> None:
    many = [mapper(number) for number in range(40)]
    for shown in (run(), run(*many), run(broker=Reachability(reachable=False, since=SINCE))):
        for more in (
            {},
            {"caption": CAPTION},
            {"controls": Controls(help=True)},
            {"note": Note("said", details=["a"] * 50)},
        ):
            drawn(scene(shown, **more), size)


CAPTION = Caption("3 of 5  A worker is killed", "Kafka throws away what it had not committed. " * 3)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_caption_stays_and_leaves_room_for_all_workers(size: tuple[int, int]) -> None:
    workers = [mapper(), mapper(1), mapper(2), reducer(), reducer(1)]
    events = [RunEvent(SINCE, "map-1", "ended", "killed by SIGKILL")]
    shown = scene(run(*workers, events=events), tie=Tie.DEMO, caption=CAPTION)
    lines = drawn(shown, size).splitlines()
    assert lines[1].strip() == CAPTION.heading
    assert " ".join(" ".join(lines[2:5]).split()).startswith(CAPTION.text.strip())
    for part in (*(one.slot for one in workers), "killed by SIGKILL", "q end the demo"):
        assert any(part in line for line in lines)
    assert "reverse" in " ".join(style_of(shown, "3 of 5", size)), "it stands out without colours, too"


def test_what_is_below_a_caption_stays_where_it_is() -> None:
    short, long = (scene(run(), caption=Caption("1 of 5", text)) for text in ("short", "long " * 30))
    assert drawn(short).splitlines()[4:] == drawn(long).splitlines()[4:]


def test_of_many_workers_those_around_the_selected_one_are_shown() -> None:
    many = [mapper(number) for number in range(40)]
    text = drawn(scene(run(*many), controls=Controls(slot="map-30")))
    assert "▶ map-30" in text
    assert "map-0 " not in text
    assert re.search(r"\d of 40 ", text)


@pytest.mark.parametrize(
    ("changes", "expected", "style"),
    [
        ({"silent": True, "heartbeat_seconds": 4.2}, "no heartbeat for 4 s", "bold yellow"),
        ({"state": SlotState.FAILED, "failed": "fenced: by another", "pid": None}, "failed", "bold red"),
        ({"state": SlotState.BACKOFF, "pid": None, "cpu_percent": None, "rss_bytes": None}, "backoff", "red"),
        ({"state": SlotState.DRAINING}, "draining", "yellow"),
        ({}, "running", "green"),
    ],
)
def test_a_worker_has_its_state_and_colour(changes: dict[str, Any], expected: str, style: str) -> None:
    assert style in style_of(scene(run(mapper(**changes))), expected)


def test_a_broker_that_is_gone_is_a_red_line_and_dims_what_depends_on_it() -> None:
    gone = scene(run(broker=Reachability(reachable=False, since=SINCE), lag=LagView(), ready=False))
    text = drawn(gone)
    assert "Kafka gone for 12 s, retrying" in text
    assert "● Kafka gone" in text
    assert "bold red reverse" in style_of(gone, "Kafka gone for 12 s")
    assert text.count("unknown") >= 3, "what is left, the oldest line and the time to catch up"
    for part in ("0/s", "p50 62 ms", "running", "2,000,000"):
        assert "dim" in style_of(gone, part)


def test_totals_of_a_reducer_that_is_away_stay_with_the_time_when_they_were_true() -> None:
    away = scene(run(words_here=replace(WORDS, as_of=SINCE)))
    for size in SIZES:
        text = drawn(away, size)
        assert f"as of {clock(SINCE)}" in text
        assert "whale" in text
    assert "dim" in style_of(away, "2,000,000")
    assert "dim" in style_of(away, "whale")


def test_what_is_not_known_says_so() -> None:
    text = drawn(run(words_here=None, latency=None, lag=LagView(), ready=False))
    assert "latency  unknown" in text
    assert "oldest   unknown" in text
    assert "left     unknown" in text
    assert "totals   unknown" in text
    assert "nothing counted lately" in drawn(run(latency=None))


def test_news_that_stopped_coming_are_said_to_be_old() -> None:
    assert "no news from the supervisor for 5 s" in drawn(scene(run(), quiet=5.2))


@pytest.mark.parametrize(
    ("lags", "expected"),
    [
        ([0, 0], "catch-up nothing left"),
        ([10_000, 8_000], "catch-up in 40 s, 200/s less"),
        ([8_000, 10_000], "catch-up the lag grows by 200/s"),
        ([9_000, 9_000], "catch-up the lag stays"),
        ([9_000], "catch-up unknown yet"),
        ([9_000, None], "catch-up unknown"),
    ],
)
def test_the_time_to_catch_up(lags: Sequence[int | None], expected: str) -> None:
    history = History()
    shown = run()
    for turn, lag in enumerate(lags):
        shown = run(uptime=10.0 * turn, lag=LagView(lag, 0))
        history.take(shown)
    assert expected in drawn(Scene("t", shown, history, NOON))


def test_words_have_rates() -> None:
    history = History()
    shown = run()
    for second in range(5):
        shown = run(uptime=float(second), words_here=replace(WORDS, top=[("whale", 100 + 50 * second)]))
        history.take(shown)
    assert "whale 300 +50/s" in drawn(Scene("t", shown, history, NOON))
    assert "+50/s" in drawn(Scene("t", shown, history, NOON), (200, 60))
    history.take(run(uptime=6.0, words_here=replace(WORDS, as_of=SINCE)))
    assert history.word_rate("whale") is None, "totals that stand still have no rate"


def test_words_that_are_too_long_to_be_listed_are_mentioned() -> None:
    assert "2 words are too long to be listed" in drawn(run(words_here=replace(WORDS, unlisted=2)), (200, 60))


def test_text_of_others_can_do_nothing_to_the_terminal() -> None:
    task = TaskView("feed", 7, True, None, {"bytes_read": 1, "bytes_known": 2, "source": HOSTILE})
    event = RunEvent(SINCE, "map-0", "ended", HOSTILE)
    shown = run(
        mapper(failed=HOSTILE, last_exit=HOSTILE, restarts=1),
        words_here=replace(WORDS, top=[(HOSTILE, 5)]),
        tasks=[task],
        events=[event],
        stopping=HOSTILE,
    )
    for more in ({}, {"note": Note(HOSTILE, details=[HOSTILE])}, {"controls": Controls(typed=HOSTILE)}):
        for size in SIZES:
            assert drawn(scene(shown, **more), size).replace("\n", "").isprintable()


def test_the_log_is_shown_in_place_of_the_events() -> None:
    log = [LoggedLine(logging.INFO, "09:31:02 map-0 started"), LoggedLine(logging.WARNING, "09:31:03 map-0 ended")]
    shown = scene(run(events=[RunEvent(SINCE, None, "ready", "4 workers")]), log=log, controls=Controls(pane=Pane.LOG))
    text = drawn(shown)
    assert "── log ──" in text
    assert "map-0 started" in text
    assert "4 workers" not in text
    assert "yellow" in style_of(shown, "09:31:03")


def test_notes_and_help() -> None:
    assert "verify: exact" in drawn(scene(run(), note=Note("verify: exact", "green")))
    wrong = drawn(scene(run(), note=Note("verify: 1 differs", "red", ["  whale: 2 in counts; the lines have 1"])))
    assert "whale: 2 in counts" in wrong
    assert "look up: wha_" in drawn(scene(run(), controls=Controls(typed="wha")))
    assert "SIGKILL: nothing is lost" in drawn(scene(run(), controls=Controls(help=True)))
    assert "q leave" in drawn(scene(run(), tie=Tie.ATTACHED))
    assert "D drain" not in drawn(scene(run(), tie=Tie.DEMO))
    assert "end the demo, and what it has started" in drawn(scene(run(), tie=Tie.DEMO, controls=Controls(help=True)))
    assert "Ctrl-C ends the demo in order" in drawn(scene(run(), tie=Tie.DEMO, keys=False))
    assert "q drain" not in drawn(scene(run(), keys=False))


def test_a_terminal_without_unicode_gets_other_characters() -> None:
    shown = run(
        tasks=[TaskView("feed", 7, True, None, {"bytes_read": 61, "bytes_known": 100, "source": "x" * 99})],
        lag=LagView(5, 5),
    )
    for size in SIZES:
        assert drawn(scene(shown, glyphs=ASCII), size).isascii()


# charts


def test_a_chart_shows_as_much_as_is_known_and_at_most_a_quarter_of_an_hour() -> None:
    series = Series()
    assert (series.span(0.0), series.columns(0.0, 4)) == (60, [None] * 4)
    for second in range(30):
        series.take(float(second), 2.0)
    assert series.columns(29.0, 4) == [None, None, 2.0, 2.0]
    assert series.columns(29.0, 51)[-1] == 2.0, "the newest second is in the last column"
    for second in range(30, 2000):
        series.take(float(second), float(second))
    assert series.span(1999.0) == 900
    assert series.columns(1999.0, 2) == [1574.5, 1899.5]
    assert series.peak == 1999.0


def test_a_time_without_values_is_a_gap() -> None:
    series = Series()
    for second in range(60):
        series.take(float(second), None if 20 <= second < 40 else 1.0)
    assert series.columns(59.0, 3) == [1.0, None, 1.0]


def test_more_columns_than_seconds() -> None:
    series = Series()
    for second in range(60):
        series.take(float(second), float(second))
    shown = series.columns(59.0, 120)
    assert None not in shown[:-1]
    assert shown[0] == 0.0


@pytest.mark.parametrize(
    ("value", "top"),
    [(0, 1), (1, 1), (1.2, 1.5), (54_000, 60_000), (100_000, 100_000), (101_000, 150_000), (0.24, 0.3)],
)
def test_a_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


@pytest.mark.parametrize(
    ("seconds", "end", "latency"),
    [
        (0.062, "80 ms", "p50 62 ms, p99 62 ms"),
        (3.2, "4 s", "p50 3.2 s, p99 3.2 s"),
        (85.0, "1.5 min", "p50 1.4 min, p99 1.4 min"),
        (1785.0, "30 min", "p50 30 min, p99 30 min"),
        (200_000.0, "60 h", "p50 3,333 min, p99 3,333 min"),
    ],
)
def test_a_latency_of_any_length_fits(seconds: float, end: str, latency: str) -> None:
    shown = run(latency=Latency(seconds, seconds, seconds))
    chart, figure = drawn(shown, (120, 40)), drawn(shown)
    assert re.search(rf"^ *{end} ", chart, re.MULTILINE)
    assert latency in figure


def test_bars_have_eighths_and_little_is_told_from_nothing() -> None:
    assert bars([0, 1, 4, 8, None, 0.01], 1, 8) == [" ▁▄█ ▁"]
    assert bars([8, 12, 16], 2, 16) == [" ▄█", "███"]


# events


def told(*events: tuple[str | None, str, str]) -> list[tuple[str, str]]:
    incidents = Incidents()
    made = [RunEvent(f"2026-11-29T12:00:{number:02}.000Z", *event) for number, event in enumerate(events)]
    for end in range(1, len(made) + 1):
        incidents.take(made[max(0, end - 3) : end])  # snapshots have the last ones, again and again
    return [(line.slot, line.text) for line in incidents.lines]


def test_what_happens_to_one_worker_in_a_row_is_one_line() -> None:
    assert told(
        ("map-0", "started", "process 5"),
        ("map-1", "started", "process 6"),
        ("map-0", "works", "partitions 0-5, 1.2 s after its start"),
        (None, "ready", "2 workers"),
        ("map-1", "ended", f"killed by SIGKILL{KILL_HINT}"),
        ("map-1", "waits", "starts again in 0.4 s"),
        ("map-0", "works", "partitions 0-11"),
        ("map-1", "started", "process 7"),
        ("map-1", "back", "in 0.9 s, partitions 6-11"),
        ("map-1", "works", "partitions 6-10"),
    ) == [
        ("map-0", "started, partitions 0-5, 1.2 s after its start"),
        ("map-1", "started"),
        ("run", "ready: 2 workers"),
        ("map-1", "killed by SIGKILL, starts again in 0.4 s, back in 0.9 s, partitions 6-11"),
        ("map-0", "partitions 0-11"),
        ("map-1", "partitions 6-10"),
    ]


def test_a_worker_that_was_scaled_away_begins_a_new_line_when_it_comes_back() -> None:
    assert told(
        ("map-1", "ended", "exit status 0 (done), scaled"),
        ("map-1", "started", "process 7"),
        ("map-1", "works", "partitions 6-11, 0.9 s after its start"),
    ) == [
        ("map-1", "drained: scaled"),
        ("map-1", "started, partitions 6-11, 0.9 s after its start"),
    ]


def test_the_speed_now_and_at_most_and_that_of_each_worker() -> None:
    history = History()
    for second, speed in enumerate((0.0, 3000.0, 1000.0)):
        shown = run(
            mapper(records_per_second=speed), lines_per_second=speed, words_per_second=20 * speed, uptime=float(second)
        )
        history.take(shown)
    text = drawn(Scene("t", shown, history, NOON))
    assert "1,000 now, 3,000 at most" in text
    assert "words    20,000/s" in text
    assert re.search(r"map-0 +running +1,000 ", text)
