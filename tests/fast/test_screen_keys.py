"""What keys mean: from bytes to names, and from names to requests."""

from datetime import datetime
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.observe.screen.errands import found_text
from wcsup.observe.screen.keys import Deed, Errand, KeyDecoder, press
from wcsup.observe.screen.scene import Controls, Pane, Tie, selected
from wcsup.observe.words import WordTotal
from wcsup.supervisor.snapshot import Snapshot

SHOWN = snapshot(worker("map", 0), worker("map", 1), worker("reduce", 0))


@pytest.mark.parametrize(
    ("portions", "names"),
    [
        ([b"k"], ["k"]),
        ([b"+-/?"], ["+", "-", "/", "?"]),
        ([b"\x1b[A\x1b[B\x1bOA"], ["up", "down", "up"]),
        ([b"\x1b", b"[", b"A"], ["up"]),
        ([b"\t\r\x7f"], ["tab", "enter", "backspace"]),
        ([b"\xc3", b"\xbcx"], ["ü", "x"]),
        (["鯨".encode()], ["鯨"]),
        ([b"\x1b[15~k"], ["k"]),  # a function key means nothing
        ([b"\x00\x01k"], ["k"]),
        ([b"\xffk"], ["k"]),
        ([b"\x1b[200~qk", b"q\x1b[201~v"], ["paste:qkq", "v"]),
        ([b"\x0c"], ["redraw"]),
    ],
)
def test_keys_come_from_bytes_in_any_portions(portions: list[bytes], names: list[str]) -> None:
    decoder = KeyDecoder()
    assert [name for portion in portions for name in decoder.feed(portion)] == names
    assert not decoder.waits


def test_escape_is_a_key_when_nothing_follows() -> None:
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.waits
    assert decoder.flush() == ["escape"]
    assert decoder.flush() == []
    assert decoder.feed(b"\x1bq") == ["escape", "q"]


def pressed(*keys: str, shown: Snapshot = SHOWN, tie: Tie = Tie.OWN) -> tuple[Controls, list[Errand]]:
    controls, errands = Controls(), []
    for key in keys:
        controls, errand = press(key, controls, shown, tie=tie)
        errands += [errand] if errand else []
    return controls, errands


@pytest.mark.parametrize(
    ("keys", "command"),
    [
        (["+"], {"command": "scale", "mappers_by": 1}),
        (["="], {"command": "scale", "mappers_by": 1}),
        (["-"], {"command": "scale", "mappers_by": -1}),
        (["tab", "+"], {"command": "scale", "reducers_by": 1}),
        (["tab", "tab", "-"], {"command": "scale", "mappers_by": -1}),
        (["down", "down", "-"], {"command": "scale", "reducers_by": -1}),
        (["r"], {"command": "restart", "slot": "map-0"}),
        (["down", "r"], {"command": "restart", "slot": "map-1"}),
        (["down"] * 9 + ["k"], {"command": "kill", "slot": "reduce-0"}),
        (["end", "up", "k"], {"command": "kill", "slot": "map-1"}),
        (["tab", "k"], {"command": "kill", "slot": "reduce-0"}),
        (["R"], {"command": "restart", "slot": "all"}),
        (["q"], {"command": "drain"}),
    ],
)
def test_a_key_is_a_request_to_the_supervisor(keys: list[str], command: dict[str, Any]) -> None:
    _, errands = pressed(*keys)
    assert [errand.command for errand in errands] == [command]
    assert errands[0].says, "the user is told"


@pytest.mark.parametrize("key", ["x", "up", "tab", "l", "escape", "enter", "paste:kq", "j"])
def test_other_keys_request_nothing(key: str) -> None:
    assert pressed(key)[1] == []


def test_a_word_is_typed_and_looked_up() -> None:
    controls, errands = pressed("/", *"Wharl", "backspace", "backspace", "l", "e", "k", "backspace")
    assert (controls.typed, errands) == ("Whale", []), "keys are letters while a word is typed"
    controls, errand = press("enter", controls, SHOWN)
    assert controls.typed is None
    assert errand is not None
    assert (errand.deed, errand.word) == (Deed.LOOK_UP, "Whale")
    assert pressed("/", *"q", "escape") == (Controls(), [])
    assert pressed("/", "enter") == (Controls(), [])
    assert pressed("/", "paste:Moby\nDick\x1b")[0].typed == "MobyDick"
    assert pressed("/", *"ab", "clear")[0].typed == ""


def test_help_and_panes() -> None:
    assert pressed("?")[0].help
    assert pressed("?", "k") == (Controls(), []), "a key leaves the help, and does nothing else"
    assert pressed("l")[0].pane is Pane.LOG
    assert pressed("l", "l")[0].pane is Pane.EVENTS
    assert [errand.deed for errand in pressed("v")[1]] == [Deed.VERIFY]


def test_a_screen_of_another_process_is_left_and_its_run_goes_on() -> None:
    assert [errand.deed for errand in pressed("q", tie=Tie.ATTACHED)[1]] == [Deed.LEAVE]
    assert [errand.command for errand in pressed("D", tie=Tie.ATTACHED)[1]] == [{"command": "drain"}]
    assert [errand.deed for errand in pressed("q", tie=Tie.DEMO)[1]] == [Deed.LEAVE]
    assert pressed("D", tie=Tie.DEMO)[1] == [], "the demonstration needs its run"
    assert pressed("l", tie=Tie.ATTACHED)[0].pane is Pane.EVENTS, "the log is the other process's"


def test_a_selected_worker_that_goes_leaves_the_selection_to_another_of_its_role() -> None:
    controls, _ = pressed("down")
    fewer = snapshot(worker("map", 0), worker("reduce", 0))
    assert [one.slot for one in [selected(controls, fewer)] if one] == ["map-0"]
    assert selected(controls, snapshot()) is None
    assert pressed("k", "r", "down", shown=snapshot())[1] == []


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (WordTotal("whale", 1234, 9, None, None), "whale: 1,234, up to offset 9 of counts"),
        (
            WordTotal("whale", 7, 9, "2026-11-29T12:00:00.000Z", "reduce-0", behind=False),
            "whale: 7 in reduce-0, committed 1.5 s ago, up to offset 9 of counts",
        ),
        (
            WordTotal("whale", 7, 9, None, "reduce-0", behind=True),
            "whale: 7 in reduce-0, up to offset 9 of counts; it is behind: the store is being opened",
        ),
    ],
)
def test_a_word_that_was_looked_up(found: WordTotal, text: str) -> None:
    now = datetime.fromisoformat("2026-11-29T12:00:01.500Z").timestamp()
    assert found_text(found, now) == text


def test_no_standby_is_scaled() -> None:
    shown = snapshot(worker("map", 0), worker("standby", 0))
    assert pressed("down", "+", shown=shown)[1] == []
