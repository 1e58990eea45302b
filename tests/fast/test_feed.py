"""Laws of cutting lines, and how feeding keeps its pace."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcsup.config import Config
from wcsup.errors import UsageError
from wcsup.feeding import prose
from wcsup.feeding.feed import BATCH_LINES, FeedJob, FeedProgress, RateLimit
from wcsup.feeding.sources import Refused, Splitter, StopRequest, chunks, size

NEWLINES = st.binary(max_size=300) | st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\x00", b"long line"])).map(
    b"".join
)


def cut_all(splitter: Splitter, text: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    lines: list[bytes] = []
    for start, end in itertools.pairwise(places):
        lines += splitter.cut(text[start:end])
    return lines + splitter.end()


def lines_of(text: bytes) -> list[bytes]:
    """What a line is: bytes up to a newline, and what is left after the last one, if anything is."""
    lines = text.split(b"\n")
    return lines if lines[-1] else lines[:-1]


@given(NEWLINES, st.lists(st.integers(0, 1000)))
def test_any_bytes_in_any_chunks_are_cut_at_newlines_alone(text: bytes, cuts: list[int]) -> None:
    splitter = Splitter("f", longest=10_000)

    assert cut_all(splitter, text, cuts) == lines_of(text)
    assert splitter.refused == []


@given(NEWLINES, st.lists(st.integers(0, 1000)), st.integers(0, 12))
def test_lines_that_are_too_long_are_refused_by_number_and_the_others_go_on(
    text: bytes, cuts: list[int], longest: int
) -> None:
    splitter = Splitter("f", longest)

    assert cut_all(splitter, text, cuts) == [line for line in lines_of(text) if len(line) <= longest]
    assert splitter.refused == [
        Refused("f", number, len(line)) for number, line in enumerate(lines_of(text), 1) if len(line) > longest
    ]


def test_no_more_of_an_endless_line_is_held_than_the_longest_that_is_taken() -> None:
    splitter = Splitter("f", longest=100)
    for _ in range(1000):
        splitter.cut(b"x" * 60)
        assert sum(map(len, splitter._begun)) <= 100


def test_a_file_comes_in_chunks_and_its_size_is_known(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"line\n" * 500_000)

    assert b"".join(chunks(str(path), StopRequest())) == path.read_bytes()
    assert size([str(path), str(path)]) == 5_000_000


def test_a_pipe_has_no_known_size_and_reading_it_ends_when_asked_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)
    os.write(writer, b"begun")
    stop = StopRequest()
    read = chunks(str(fifo), stop)

    assert size([str(fifo)]) is None
    assert next(read) == b"begun"
    assert next(read) == b"", "nothing is there for now, which is no end"
    stop.set()
    assert list(read) == []
    os.close(writer)


def test_a_file_that_vanished_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone can't be read: No such file"):
        list(chunks(str(tmp_path / "gone"), StopRequest()))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "batch"), [(0, BATCH_LINES), (1, 1), (0.1, 1), (100, 5), (1_000_000, BATCH_LINES)])
def test_lines_go_in_portions_that_flow(rate: float, batch: int) -> None:
    assert RateLimit(rate).batch == batch


@given(st.floats(0.1, 1e6), st.lists(st.integers(1, 500), min_size=1, max_size=50))
def test_the_pace_is_kept(rate: float, batches: list[int]) -> None:
    clock = Clock()
    pace = RateLimit(rate, clock)
    for lines in batches:
        clock.now += pace.delay(lines)
    assert clock.now - 1000 == pytest.approx(sum(batches[:-1]) / rate)


def test_after_a_hold_up_at_most_one_second_is_caught_up_with() -> None:
    clock = Clock()
    pace = RateLimit(10, clock)
    pace.delay(1)
    clock.now += 60
    assert [pace.delay(1) for _ in range(11)] == [0.0] * 11
    assert pace.delay(1) == pytest.approx(0.1)


def test_without_a_rate_nothing_waits() -> None:
    assert RateLimit(0).delay(10**9) == 0


def test_made_up_text_is_the_same_for_the_same_seed() -> None:
    def lines(seed: int) -> list[bytes]:
        return [line for batch in prose.batches(seed, 200, 33) for line in batch]

    assert lines(1) == lines(1) != lines(2)
    assert len(lines(1)) == 200
    assert all(line.endswith(b".") and b"\n" not in line and 20 < len(line) < 300 for line in lines(1))


def test_made_up_text_has_ever_more_different_words() -> None:
    def distinct(lines: Iterator[bytes], count: int) -> int:
        return len({word for line in itertools.islice(lines, count) for word in line.lower().split()})

    text = prose.lines(3)
    assert distinct(text, 100) < distinct(text, 3000)


def test_a_job_reaches_the_child_that_is_to_do_it() -> None:
    job = FeedJob(Config(bootstrap_servers="h:1"), ("a b", "-c"), 2.5, "debug")
    assert FeedJob.from_arguments(*job.command()[3:]) == job


def test_progress_reaches_the_parent() -> None:
    progress = FeedProgress("f", 1, 2, 3, 4, 5, 6, 7, finished=True)
    assert FeedProgress.from_json(progress.to_json()) == progress
