"""The moving picture of the README: what is in it is what a terminal showed."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from docs.picture import ALTERNATE, LINES, ORDINARY, Film, Recorder

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "demo.svg"
SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    """The texts of a picture; each row is in it once, whatever the number of frames that have it."""
    return [one.text or "" for one in ET.fromstring(picture).iter(f"{SVG}text")]  # noqa: S314 - it is our own


def frames(picture: str) -> int:
    return sum("translate" in one.get("transform", "") for one in ET.fromstring(picture).iter(f"{SVG}g"))  # noqa: S314


def test_frames_have_what_is_on_the_screen() -> None:
    recorder, film = Recorder(), Film()
    recorder.feed(b"$ wcsup demo\r\n")
    film.take(0.0, recorder.rows)
    film.take(1.0, recorder.rows)
    recorder.feed(ALTERNATE + "\x1b[1;1H\x1b[1;31m<map>\x1b[0m \x1b[2mdim\x1b[0m ▁▂ ──".encode())
    assert recorder.text[0] == "<map> dim ▁▂ ──"
    film.take(2.0, recorder.rows)
    recorder.feed(ORDINARY + b"done")
    film.take(3.0, recorder.rows)
    assert not recorder.full
    assert recorder.text[:2] == ["$ wcsup demo", "done"]

    picture = film.svg()

    assert texts(picture) == ["$ wcsup demo", "<map>", "dim", "done"]
    assert frames(picture) == 3, "one that differs in nothing is left out"
    assert 'class="b red"' in picture
    assert 'class="d"' in picture
    assert picture.count("<path") == 2, "bars and lines are no text"
    assert len(recorder.rows) == LINES


@pytest.mark.parametrize("cut", range(1, len(ALTERNATE)))
def test_a_code_that_comes_in_two_parts_is_known(cut: int) -> None:
    recorder = Recorder()
    recorder.feed(b"before" + ALTERNATE[:cut])
    recorder.feed(ALTERNATE[cut:] + b"after")
    assert recorder.full
    assert recorder.text[0] == "after"


def test_the_picture_of_the_readme_has_all_acts_and_asks_nobody() -> None:
    picture = PICTURE.read_text()
    told = " ".join(texts(picture))
    for act in range(1, 6):
        assert f"{act} of 5" in told
    for part in ("was killed by SIGKILL", "is fenced", "Equal, word by word", "Try next"):
        assert part in told
    assert frames(picture) > 20
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in picture
    assert len(picture) < 500_000
