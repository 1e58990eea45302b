"""The page in a browser: what it says of a run, what survives an update, what the keyboard reaches, what axe finds."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Visit
from pages import TOKEN, MadeRun, ServedElsewhere, changed, run
from playwright.sync_api import Browser
from snapshots import words_here

from wcsup.pipeline.report import Ended
from wcsup.supervisor.reach import Reachability
from wcsup.supervisor.slot import SlotState

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.browser() as running:
        yield running


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeRun]:
    with MadeRun(tmp_path) as running:
        yield running


@pytest.fixture
def steered(tmp_path: Path) -> Iterator[MadeRun]:
    with MadeRun(tmp_path, steered=True) as running:
        yield running


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def make(made: MadeRun, **how: Any) -> Visit:
        visits.append(Visit(chromium, made.url, **how))
        visits[-1].until_says("#condition", "")
        visits[-1].until("() => document.querySelectorAll('#workers tbody tr').length > 0")
        return visits[-1]

    yield make
    for one in visits:
        one.page.close()


@contextmanager
def going_on(made: MadeRun, **changes: Any) -> Iterator[None]:
    """Show a snapshot every half second, as a supervisor does."""
    over = threading.Event()

    def show() -> None:
        while not over.wait(0.5):
            made.show(**changes)

    thread = threading.Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fits(seen: Visit) -> bool:
    return bool(seen.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_each_transaction_has_a_bar_and_what_it_was_is_told_where_it_is_pointed_at(
    visit: Callable[..., Visit], made: MadeRun
) -> None:
    # Given a run whose mapper committed a transaction and had to abort another one
    seen, now = visit(made), time.time()
    committed, aborted = Ended(now - 20, 0.3, 100), Ended(now - 10, 0.2, 1, "ILLEGAL_GENERATION")
    shown = run(made.turn)
    canvas = 'canvas[data-slot="map-0"]'
    made.show(workers=changed(shown, 0, ended=[(1000, committed), (1001, aborted)]))
    seen.until(f"() => document.querySelector('{canvas}').getAttribute('aria-label').includes('1 abort')")

    def point(at: float) -> None:
        seen.page.evaluate(
            """([canvas, time]) => {
                const strip = document.querySelector(canvas), box = strip.getBoundingClientRect();
                const x = box.right - (stripEnd() - time) * box.width / STRIP_SECONDS;
                const options = {bubbles: true, clientX: x, clientY: box.top + 5};
                strip.dispatchEvent(new PointerEvent("pointermove", options));
            }""",
            [canvas, at],
        )

    # Then each is told when it is pointed at, and the time between is idle
    point(aborted.at - 0.1)
    seen.until_says("#strip-value", "aborted, ILLEGAL_GENERATION: 1 record in 200 ms")
    point(committed.at - 0.1)
    seen.until_says("#strip-value", "committed: 100 records in 300 ms")
    point((aborted.at + committed.at) / 2)
    seen.until_says("#strip-value", "idle")


# What everybody can read


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    scheme: str, width: int, steered: MadeRun, visit: Callable[..., Visit]
) -> None:
    seen = visit(steered, width=width, scheme=scheme)
    with going_on(steered):
        assert seen.violations() == []  # the controls are locked
    seen.page.fill("#token", TOKEN)
    seen.page.press("#token", "Enter")
    seen.page.fill("#word", "whale")
    seen.page.press("#word", "Enter")
    seen.page.click("#letters-load")
    with going_on(steered):
        seen.until_says("#found", "412")
        seen.until_says("#letters", "40,000 bytes")
        seen.until_says("#hosts", "silent since")
        seen.until_says("#controls", "mappers")
        assert seen.violations() == []
        assert fits(seen)
    # The worst that can be said
    shown = run(steered.turn)
    workers = changed(shown, 0, silent=True, heartbeat_seconds=4.2)
    workers[1] = changed(shown, 1, pid=None, state=SlotState.BACKOFF, ready=False, last_exit="killed by SIGKILL")[1]
    workers[2] = changed(shown, 2, state=SlotState.FAILED, ready=False, failed="fenced: " + "x" * 120)[2]
    steered.show(workers=workers, broker=Reachability(reachable=False, since="2026-11-29T09:30:00.000Z"))
    seen.until_says("#banners", "Kafka gone")
    assert seen.violations() == []
    assert fits(seen)
    assert seen.wrong == []


def test_on_a_phone_workers_are_cards_and_all_sections_are_there(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made, width=390)
    boxes = [one.bounding_box() for one in seen.page.locator("#workers tbody tr").all()]
    assert all(box and box["height"] > 100 and box["width"] > 300 for box in boxes)
    assert {one.inner_text() for one in seen.page.locator("main h2").all() if one.is_visible()} == {
        *("Now and before", "Input", "Workers", "Words counted here", "Partitions", "Events", "Commits", "Hosts"),
        "Dead letters",
    }


# What it says


def test_it_says_what_the_run_tells(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    assert seen.text("#condition") == "ready"
    assert seen.page.title() == "books · wcsup"
    assert seen.text("#figure-latency") == "60 ms p50 · p99 400 ms"
    assert seen.text("#under-latency") == "oldest uncounted line: 800 ms old"
    assert seen.text("#figure-lag") == "121 lines"
    assert seen.text("#partitions tbody tr:first-child") == "0 100 map-0 8 reduce-0 30 min 0 s"
    assert seen.text("#top tbody tr:nth-child(3)").startswith("<i>sea</i> 100")
    assert "killed by SIGKILL" in seen.text("#events")
    seen.until_says("#events", "host ab12")  # of before the snapshot's own ones
    assert seen.text("#feed") == "book.txt: 4,000 lines written"
    seen.until_says("#hosts", "silent since")
    assert seen.text("#hosts-note") == "2 of 3 hosts heard of"
    seen.page.click("#letters-load")
    seen.until_says("#letters", "partition 3, offset 41")
    assert r"<b>\xff\x1b[31mxxx" in seen.text("#letters tbody td:last-child")


def test_unknown_says_so(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    shown = run(1)
    made.show(lag=type(shown.lag)(), latency=None, words_here=None)
    seen.until_says("#figure-lag", "unknown")
    assert seen.text("#figure-latency") == "\u2013 nothing counted for a minute"
    assert seen.text("#under-latency") == "oldest uncounted line: unknown"
    assert seen.text("#words-figures") == "distinct words unknown"
    assert seen.page.locator("#top tr").count() == 0
    assert "unknown" in seen.text("#partitions tbody tr:first-child")


def test_a_word_has_its_total_its_rate_and_as_of_when(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    seen.page.fill("#word", "whale")
    seen.page.press("#word", "Enter")
    seen.until_says("#found", "412 whale")
    assert "as of offset 77 of its partition of counts" in seen.text("#found")
    assert "told by reduce-0" in seen.text("#found")
    seen.until_says("#found", "a second over the last")  # it is looked up again by itself
    seen.page.fill("#word", "two words")
    seen.page.press("#word", "Enter")
    seen.until_says("#found", "two words is not one word")


def test_a_silent_worker_a_reducer_that_is_away_and_a_broker_that_is_gone_are_said(
    made: MadeRun, visit: Callable[..., Visit]
) -> None:
    seen = visit(made)
    shown = run(1)
    workers = changed(shown, 1, silent=True, heartbeat_seconds=4.2)
    made.show(
        ready=False,
        workers=workers,
        broker=Reachability(reachable=False, since="2026-11-29T09:30:00.000Z"),
        words_here=words_here(*shown.workers, as_of="2026-11-29T09:31:02.000Z", unlisted=2),
    )
    seen.until_says("#banners", "Kafka gone for ")
    assert seen.text("#condition") == "Kafka gone"
    assert "map-1: no heartbeat for 4 s" in seen.text("#banners")
    assert "no heartbeat for 4 s" in seen.text("#workers tbody tr:nth-child(2)")
    assert seen.page.title() == "Kafka gone — books · wcsup"
    assert "a reducer is away" in seen.text("#words-as-of")
    assert "5,236" in seen.text("#words-figures"), "the last values stay"
    assert seen.text("#unlisted") == "2 words are too long to be listed."


def test_a_server_that_is_killed_is_said_and_the_last_values_stay_dimmed(chromium: Browser) -> None:
    with ServedElsewhere() as made:
        seen = Visit(chromium, made.url)
        seen.until("() => link.streams")
        made.process.kill()
        seen.until_says("#banners", "No answer since ")
    assert seen.page.title() == "gone — books · wcsup"
    assert seen.page.locator("body.old").count() == 1
    assert (
        seen.text("#words-figures")
        == "distinct words 5,236 in all " + seen.text("#words-figures div:nth-child(2) dd") + " on disk 4 MB"
    )
    assert seen.violations() == []
    seen.page.close()


def test_the_end_of_the_run_is_said(tmp_path: Path, visit: Callable[..., Visit]) -> None:
    with MadeRun(tmp_path) as made:
        seen = visit(made)
        seen.until("() => link.streams")
        made.show(stopping="SIGTERM")
        seen.until_says("#banners", "The run is ending: SIGTERM")
    seen.until_says("#banners", "The run has ended at ")
    assert "SIGTERM" in seen.text("#banners")
    assert seen.page.title() == "ended — books · wcsup"
    assert seen.page.locator("body.old").count() == 1


def test_a_loop_that_stands_still_is_told_from_a_server_that_is_gone(
    made: MadeRun, visit: Callable[..., Visit]
) -> None:
    seen = visit(made)
    seen.until_says("#banners", "The supervisor's loop stands still")
    assert seen.text("#condition") == "stands still"
    made.show()
    seen.until("() => !document.querySelector('#banners').innerText")
    assert seen.text("#condition") == "ready"


def test_without_a_stream_it_asks(made: MadeRun, chromium: Browser) -> None:
    page = chromium.new_page()
    page.route("**/stream", lambda route: route.abort())
    try:
        page.goto(made.url)
        page.wait_for_function("() => document.querySelectorAll('#workers tbody tr').length === 3")
        made.show(stopping="SIGTERM")
        page.wait_for_function("() => document.querySelector('#banners').innerText.includes('SIGTERM')")
        assert page.locator("#age").inner_text().endswith("asking every second")
    finally:
        page.close()


# What survives an update


SELECT = """() => {
  const rows = document.querySelectorAll('#workers tbody tr'), last = rows[1].querySelector('td.partitions');
  getSelection().setBaseAndExtent(rows[0].querySelector('th').firstChild, 0, last.firstChild, 3);
}"""
"""Selects from the name of the first worker to the partitions of the second one; what lies between changes."""
HELD = """() => {
  const held = getSelection();
  return [held.anchorOffset, held.focusOffset, held.toString().length > 40, Math.round(scrollY)];
}"""


def test_a_selection_and_scrolling_survive_updates(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made, height=500)
    with going_on(made):
        seen.page.evaluate("scrollTo({top: 300, behavior: 'instant'})")
        seen.page.evaluate(SELECT)
        before = seen.page.evaluate(HELD)
    with going_on(made, uptime=999.0, restarts={"killed": 7}):
        seen.until_says("#age", "16 min 39 s")
    assert seen.page.evaluate(HELD) == before == [0, 3, True, 300]


def test_a_selection_survives_in_a_text_that_changes(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    seen.page.evaluate("getSelection().setBaseAndExtent(at('age').firstChild, 2, at('age').firstChild, 8)")
    made.show(uptime=999.0)
    seen.until_says("#age", "16 min 39 s")
    assert seen.page.evaluate("getSelection().toString()") == "pervis"


def test_the_focus_and_what_is_typed_survive_updates(steered: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(steered)
    seen.page.focus("#word")
    seen.page.keyboard.type("wha")
    steered.show(uptime=999.0)
    seen.until_says("#age", "16 min 39 s")
    seen.page.keyboard.type("le")
    assert seen.page.input_value("#word") == "whale"
    seen.page.fill("#token", TOKEN)
    with going_on(steered):
        seen.page.press("#token", "Enter")
        seen.page.focus("[data-do=restart][data-slot=map-1]")
        seen.until("before => link.run.uptime !== before", seen.page.evaluate("link.run.uptime"))
        assert seen.page.evaluate("document.activeElement.dataset.slot") == "map-1"


def test_a_row_that_is_new_moves_no_other_one(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    seen.page.evaluate("window.kept = document.querySelector('#events tbody tr:last-child')")
    later = [*run(1).events, type(run(1).events[0])("2026-11-29T09:32:00.000Z", "map-0", "hung", "no heartbeat")]
    made.show(events=later)
    seen.until_says("#events tbody tr:first-child", "hung")
    assert seen.page.evaluate("window.kept === document.querySelector('#events tbody tr:last-child')")


# The keyboard, a pointer, a finger


def reached(seen: Visit, selector: str, most: int = 60) -> int:
    """How many tabs it takes to an element."""
    seen.page.evaluate("document.activeElement?.blur(); scrollTo(0, 0)")
    for tabs in range(1, most):
        seen.page.keyboard.press("Tab")
        if seen.page.evaluate("selector => document.activeElement?.matches(selector)", selector):
            return tabs
    raise AssertionError(f"{most} tabs do not reach {selector}")


def test_the_keyboard_reaches_search_and_controls(steered: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(steered)
    with going_on(steered):
        assert reached(seen, ".skip") == 1
        seen.page.keyboard.press("Enter")
        assert seen.page.evaluate("document.activeElement.id") == "word"
        reached(seen, "#token")
        seen.page.keyboard.type(TOKEN)
        seen.page.keyboard.press("Enter")
        seen.until("() => document.activeElement?.dataset.do === 'scale'")
        seen.page.keyboard.press("Tab")
        seen.page.keyboard.press("Enter")
        seen.until_says("#controls", "Scaling to 3 mappers.")
    assert steered.asked == [{"command": "scale", "mappers": 3}]


def test_charts_are_read_out_by_keyboard_and_by_touch(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made, width=390)
    with going_on(made):
        seen.until("() => (link.recent.time ?? []).length > 4")
    newest = seen.page.get_attribute("#plot-lag", "aria-valuetext")
    assert newest
    assert "words records 8" in newest
    seen.page.focus("#plot-lag")
    seen.page.keyboard.press("Home")
    oldest = seen.page.get_attribute("#plot-lag", "aria-valuetext")
    assert oldest != newest
    assert seen.text("#under-lag") == oldest
    assert seen.text("#under-lines").startswith(str(oldest)[:8]), "all charts show the same time"
    seen.page.keyboard.press("Escape")
    assert "of words" in seen.text("#under-lag")
    seen.page.locator("#plot-lines").tap()
    assert ":" in seen.text("#under-lines")
    seen.page.click("[data-range=day]")
    seen.until("() => document.querySelector('[data-range=day]').getAttribute('aria-pressed') === 'true'")


# Control


def test_controls_do_what_they_say_and_ask_before_what_hurts(steered: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(steered)
    with going_on(steered):
        seen.page.fill("#token", "not the token, but long")
        seen.page.press("#token", "Enter")
        seen.until_says("#controls", "the token of --http-token")
        seen.wrong.clear()  # the browser tells its console of the 401
        seen.page.fill("#token", TOKEN)
        seen.page.press("#token", "Enter")
        seen.page.click("[data-do=kill][data-slot=map-1]")
        assert seen.page.locator("#ask[open]").count() == 1
        assert seen.violations() == []
        seen.page.keyboard.press("Escape")
        assert steered.asked == []
        seen.page.click("[data-do=kill][data-slot=map-1]")
        seen.page.click("#ask-yes")
        seen.until_says("#controls", "map-1 was sent SIGKILL.")
        seen.page.click("[data-do=restart][data-slot=reduce-0]")
        seen.until_says("#controls", "reduce-0 restarts.")
        seen.page.click("[data-do=verify]")
        seen.until_says("#controls", "Exact: 4,000 lines, 9,000 words, 5,236 distinct")
    assert steered.asked == [{"command": "kill", "slot": "map-1"}, {"command": "restart", "slot": "reduce-0"}]
    seen.page.reload()
    seen.until_says("#controls", "mappers")  # the tab keeps the token
    seen.page.click("[data-do=lock]")
    seen.until_says("#controls", "Token for the controls")
    assert seen.page.evaluate("sessionStorage.length") == 0
    assert seen.wrong == []


def test_what_the_supervisor_refuses_is_said(steered: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(steered)
    seen.page.fill("#token", TOKEN)
    seen.page.press("#token", "Enter")
    for many in (3, 4, 5):
        shown = run(1)
        more = [
            *shown.workers[:2],
            *(changed(shown, 0, slot=f"map-{one}")[0] for one in range(2, many - 1)),
            shown.workers[2],
        ]
        steered.show(workers=more)
        seen.until("many => document.querySelector('.count').innerText === String(many)", many - 1)
    with going_on(steered, workers=more):
        seen.page.click("[data-do=scale][data-role=map][data-by='1']")
        seen.until_says("#controls", "a fifth mapper would have none")


def test_a_run_without_a_token_shows_no_controls(made: MadeRun, visit: Callable[..., Visit]) -> None:
    seen = visit(made)
    assert seen.page.locator("#controls *").count() == 0
    assert seen.page.locator("[data-do]").count() == 0
    assert seen.wrong == []
