"""Parts of the demonstration that need no Kafka: its text, how that is fed, the comparison, and how it is told."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import recount

from wcsup.config import Config
from wcsup.demo.acts import Acts, check
from wcsup.demo.audience import Listeners, Transcript
from wcsup.demo.commands import DemoCommands, DemoError
from wcsup.demo.feed import portion
from wcsup.demo.text import DemoText
from wcsup.observe.screen.scene import Caption


def text_of(tmp_path: Path, *texts: bytes) -> DemoText:
    sources = [tmp_path / f"{number}.py" for number in range(len(texts))]
    for source, text in zip(sources, texts, strict=True):
        source.write_bytes(text)
    return DemoText.read(sources)


def test_the_text_is_all_lines_of_all_files(tmp_path: Path) -> None:
    text = text_of(tmp_path, b"one two\nno newline", b"", b"\n\xff\n")
    assert text.data == b"one two\nno newline\n\n\xff\n"
    assert text.lines == 4
    assert "3 files, 4 lines" in str(text)


def test_no_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="came without it"):
        text_of(tmp_path, b"")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_the_recount_is_the_reference(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]) -> None:
    text = text_of(tmp_path_factory.mktemp("text"), b"a\n", *texts)
    assert text.recount() == recount(texts) + Counter([b"a"])


def test_an_example_is_a_short_line_with_a_word_that_comes_twice(tmp_path: Path) -> None:
    text = text_of(tmp_path, b"a a\nonce only\nx = y\n    self.x = x\n" + b"the the " * 20 + b"\n")
    assert text.example(0) == ("self.x = x", Counter({b"x": 2, b"self": 1}))
    assert text.example(4) == ("for line in lines", Counter([b"for", b"line", b"in", b"lines"]))


@settings(deadline=None)
@given(st.integers(1, 10**7))
def test_each_turn_writes_a_little_of_what_is_left_and_never_more(left: int) -> None:
    assert 1 <= portion(left) <= left
    assert portion(left) <= left / 900 + 1


@pytest.mark.parametrize(
    ("counted", "said"),
    [
        ({b"a": 2}, "1 words differ: b 0 instead of 1"),
        ({b"a": 2, b"b": 1, b"c": 4}, "1 words differ: c 4 instead of 0"),
        ({b"a": 3, b"b": 1}, "1 words differ: a 3 instead of 2"),
    ],
)
def test_totals_that_differ_are_said(counted: dict[bytes, int], said: str) -> None:
    expected = Counter({b"a": 2, b"b": 1})
    check({b"a": 2, b"b": 1}, expected)
    with pytest.raises(DemoError, match=said):
        check(counted, expected)


def test_captions_of_one_act_are_below_its_heading() -> None:
    transcript = Transcript()
    first, second = transcript.lines(Caption("1 of 2", "word " * 30)), transcript.lines(Caption("1 of 2", "further"))
    assert first[:2] == ["", "1 of 2"]
    assert first[2].startswith("    0.0 s  word")
    assert all(len(line) <= 100 for line in first)
    assert len(first) > 3
    assert second == ["    0.0 s  further"]
    assert transcript.lines(Caption("2 of 2", "last"))[:2] == ["", "2 of 2"]


def test_a_run_that_ends_too_soon_is_told_with_its_reason(tmp_path: Path) -> None:
    config = Config(bootstrap_servers="nowhere.invalid:9092", app_id="demo", state_dir=tmp_path / "state")
    acts = Acts(config, DemoCommands(config, tmp_path), text_of(tmp_path, b"a\n"), Listeners())
    with pytest.raises(DemoError, match=r"wcsup run ended with status \d: wcsup: .*nowhere\.invalid"):
        acts.play()


def test_a_command_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"wcsup scale --mappers 3 ended with status 3: wcsup: no supervisor runs in"):
        DemoCommands(Config(app_id="demo", state_dir=tmp_path / "state"), tmp_path).output("scale", "--mappers", "3")
