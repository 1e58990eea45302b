"""Text of others can't do anything to a terminal."""

import json
import sys
from pathlib import Path

import pytest

from wcsup.cli import main
from wcsup.observe.figures import columns
from wcsup.process.printable import printable, printable_json, printable_lines
from wcsup.supervisor.events import RunEvents

HOSTILE = "a\x1b[31mred\x9b2J\u202eb\u2066c\rd\udc80"
"""A colour, the one-byte form of an escape code, two controls of direction, a carriage return, and a stray byte."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("whale", "whale"),
        ("über 漢字 e\u0301 \U0001f40b a\u200db", "über 漢字 e\u0301 \U0001f40b a\u200db"),
        (HOSTILE, r"a\x1b[31mred\x9b2J\u202eb\u2066c\x0dd\udc80"),
        ("two\nlines\tand a tab", r"two\nlines\tand a tab"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_that_moves_colours_or_reorders_passes() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    left = printable(every)
    assert not {*map(chr, [*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])} & {*left}
    left.encode()


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\ttwo\x1b") == "one\n\ttwo\\x1b"


def test_json_means_the_same() -> None:
    document = {"word": HOSTILE, "count": 1, "plain": "über"}
    text = printable_json(json.dumps(document, ensure_ascii=False))
    assert json.loads(text) == document
    assert text.isprintable()
    assert "über" in text


def test_tables_and_events_are_safe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert columns([(HOSTILE, 1)], "<>").isprintable()
    RunEvents(tmp_path).add("ended", HOSTILE, "map-0")
    for options in ([], ["--json"]):
        assert main(["events", "--state-dir", str(tmp_path), *options]) == 0
        assert capsys.readouterr().out.strip().isprintable()
