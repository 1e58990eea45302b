"""The commands as a user has them: real processes on a real Kafka."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import terminals
from application import WAIT_SECONDS, prose, wait_for
from reference import recount
from shell import Shell

from wcsup.errors import INTERRUPTED, ExitStatus


def text_of(lines: Sequence[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def table(out: str) -> dict[str, str]:
    """The first column of a table and what is in the second."""
    rows = (re.split(r"\s{2,}", line.strip()) for line in out.splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def by_frequency(counts: Counter[bytes]) -> list[dict[str, object]]:
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"word": word.decode(), "count": count} for word, count in ordered]


# From a file to the counts


def test_run_feeds_files_counts_them_exactly_and_sums_up(wcsup: Shell) -> None:
    rng = random.Random(11)
    texts = [
        text_of(prose(20_000, seed=3)),
        bytes(range(256)) * 3 + b"\n\n\nno newline at the end",
        b"",
        b"\n".join(rng.randbytes(rng.randrange(200)) for _ in range(2_000)),
    ]
    files = " ".join(f"--input {wcsup.file(f'text{n}', text)}" for n, text in enumerate(texts))
    expected = recount(texts)
    lines = sum(text.count(b"\n") + bool(text and not text.endswith(b"\n")) for text in texts)

    done = wcsup(f"run --mappers 2 --reducers 2 {files} --exit-when-done")

    assert done.status == 0, done.err
    shown = table(done.out)
    assert shown["lines"] == f"{lines:,}"
    assert shown["words"] == f"{expected.total():,}"
    assert shown["distinct words"] == f"{len(expected):,}"
    assert "most frequent words" in done.out
    assert wcsup.application.counts() == expected
    frequent = by_frequency(expected)
    assert [shown[str(row["word"])] for row in frequent[:10]] == [f"{row['count']:,}" for row in frequent[:10]]

    assert wcsup("top --json").json == frequent[:20]
    assert wcsup("top -n 100 --json").json == frequent[:100]
    assert wcsup("top -n 1000000 --json").json == frequent
    assert len(wcsup("top -n 7").out.splitlines()) == 7
    word = str(frequent[0]["word"])
    assert wcsup(f"count {word.upper()} neverthere --json").json == [frequent[0], {"word": "neverthere", "count": 0}]
    assert table(wcsup(f"count {word}").out) == {word: f"{frequent[0]['count']:,}"}
    nothing = {"lines_lag": 0, "words_lag": 0, "lines_retention_seconds": None, "oldest_uncounted_seconds": 0.0}
    assert wcsup.status() == {"workers": [], **nothing}

    again = wcsup("run --exit-when-done")
    assert again.status == 0, again.err
    assert table(again.out)["lines"] == "0"
    assert table(again.out)["distinct words"] == f"{len(expected):,}"


def test_words_by_unicode_rules(wcsup: Shell) -> None:
    text = wcsup.file("text", "Straße STRASSE don't\nÉcole école\n".encode())
    assert wcsup(f"run --words unicode --input {text} --exit-when-done").status == 0

    done = wcsup("count --words unicode --json straße École don't")
    assert done.json == [
        *({"word": "strasse", "count": 2}, {"word": "école", "count": 2}, {"word": "don't", "count": 1})
    ]
    assert wcsup("count --json don't").err == 'wcsup: "don\'t" is not one word; lines have it counted as don and t\n'
    refused = wcsup("run --exit-when-done")
    assert (refused.status, refused.out) == (3, "")
    assert "words" in refused.err.splitlines()[-1]


def test_a_line_that_is_too_long_is_left_out_and_said(wcsup: Shell) -> None:
    text = wcsup.file("text", b"first\n" + b"x" * 3_000_000 + b"\nlast\n")

    done = wcsup(f"run --input {text} --exit-when-done")

    assert done.status == 1
    assert "text:2: the line of 3,000,000 bytes is left out" in done.err
    assert done.err.endswith("wcsup: 1 lines of the input were left out\n")
    assert wcsup.application.counts() == recount([b"first", b"last"])


def test_a_terminal_shows_the_run_and_then_the_summary(wcsup: Shell) -> None:
    text = wcsup.file("text", text_of(prose(30_000, seed=5)))
    ours, theirs = pty.openpty()
    line = f"run --mappers 2 --reducers 1 --input {text} --rate 15000 --exit-when-done"
    process = wcsup.start(line, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = terminals.read_out(ours)

    assert process.wait(WAIT_SECONDS) == 0
    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    for part in ("lines a second", "catch-up", "latency", "map-1", "reduce-0", "feed", "ready", "30,000 lines of text"):
        assert part in plain
    assert shown.count(b"\x1b[?1049h") == shown.count(b"\x1b[?1049l") == 1, "the screen is given back"
    summary = shown.partition(b"\x1b[?1049l")[2].decode()
    assert re.search(r"^lines +30,000  [\d,]+ a second\r$", summary, re.MULTILINE)
    assert re.search(r"^restarts +0\r$", summary, re.MULTILINE)
    assert re.search(r"^latency +p50 [\d.]+ m?s  p99 [\d.]+ m?s\r$", summary, re.MULTILINE)


def test_a_run_that_is_ended_before_it_is_done_says_so_by_its_status(wcsup: Shell) -> None:
    text = wcsup.file("text", text_of(prose(10_000, seed=6)))
    process = wcsup.start(f"run --mappers 1 --reducers 1 --input {text} --rate 10 --exit-when-done")
    wcsup.wait_ready()

    process.send_signal(signal.SIGINT)

    out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert b"lines were read" in out
    for row in (b"lines", b"words", b"distinct words", b"seconds", b"restarts", b"latency"):
        assert any(line.startswith(row) for line in out.splitlines())


# gen


def test_gen_writes_the_bytes_between_newlines_and_spreads_them(wcsup: Shell) -> None:
    rng = random.Random(2)
    lines = [rng.randbytes(rng.randrange(150)).replace(b"\n", b"") for _ in range(40_000)] + [b"", b"\r", b"end"]
    first, second = lines[:15_000], lines[15_000:]

    done = wcsup(f"gen {wcsup.file('a', text_of(first))} -", stdin=text_of(second)[:-1])

    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("40,003 lines written in ")
    written = wcsup.lines()
    assert Counter(line for _, line in written) == Counter(lines)
    spread = Counter(partition for partition, _ in written)
    assert max(spread.values()) - min(spread.values()) <= 1000


def test_gen_takes_standard_input_where_it_is_no_terminal(wcsup: Shell) -> None:
    assert wcsup("gen", stdin=b"one\ntwo").out.startswith("2 lines written in ")
    assert sorted(line or b"" for _, line in wcsup.lines()) == [b"one", b"two"]


def test_gen_invents_nothing_where_nobody_asks_for_it(wcsup: Shell) -> None:
    """As from cron or a container, whose standard input is neither text nor a terminal."""
    process = wcsup.start("gen --rate 0", stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, out) == (ExitStatus.USAGE, b"")
    assert b"ask for made-up text with --demo" in err
    closed = subprocess.run(["bash", "-c", f"{sys.executable} -m wcsup.cli gen <&-"], capture_output=True, check=False)
    assert closed.returncode == ExitStatus.USAGE, closed.stderr


@pytest.mark.parametrize("asked", ["--demo", "on a terminal"])
def test_gen_makes_up_text_where_somebody_asks_for_it(asked: str, wcsup: Shell) -> None:
    wcsup.application.make_topics()
    ours, theirs = pty.openpty()
    try:
        if asked == "--demo":
            process = wcsup.start("gen --demo --rate 500", stdin=subprocess.DEVNULL)
        else:
            process = wcsup.start("gen --rate 500", stdin=theirs)
        wait_for("lines come", wcsup.lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == INTERRUPTED
    finally:
        os.close(ours)
        os.close(theirs)


def test_gen_passes_lines_on_as_they_come(wcsup: Shell) -> None:
    wcsup.application.make_topics()
    process = wcsup.start("gen")
    assert process.stdin is not None

    def written(count: int) -> bool:
        return len(wcsup.lines()) == count

    for count in (1, 2):
        process.stdin.write(b"a line\n")
        process.stdin.flush()
        wait_for(f"{count} lines are there", partial(written, count))
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"2 lines written")


def test_gen_makes_up_text_at_a_rate(wcsup: Shell) -> None:
    began = time.monotonic()
    done = wcsup("gen --lines 41 --rate 20 --seed 7")
    assert (done.status, done.err) == (0, "")
    assert time.monotonic() - began >= 2.0
    first = wcsup.lines()
    assert len(first) == 41

    assert wcsup("gen --lines 41 --rate 0 --seed 7").status == 0
    assert set(Counter(line for _, line in wcsup.lines()).values()) == {2}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_gen_says_what_it_wrote_when_interrupted(number: signal.Signals, status: int, wcsup: Shell) -> None:
    wcsup.application.make_topics()
    process = wcsup.start("gen --rate 500 --seed 1")
    wait_for("lines come", wcsup.lines)
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_SECONDS)

    assert (process.returncode, err) == (status, b"")
    match = re.match(rb"([\d,]+) lines written", out)
    assert match
    assert int(match[1].replace(b",", b"")) == len(wcsup.lines())


def test_gen_refuses_a_line_that_the_topic_cannot_take_and_goes_on(wcsup: Shell) -> None:
    longest = 2_097_152 - 100
    text = b"a\n" + b"x" * longest + b"\n" + b"y" * (longest + 1) + b"\nb"
    done = wcsup(f"gen {wcsup.file('text', text)}")

    assert done.status == 1
    assert done.out.startswith("3 lines written in ")
    refused, total = done.err.splitlines()
    assert refused.startswith("wcsup: text:3: the line of 2,097,053 bytes is left out: topic ")
    assert total == "wcsup: 1 lines were left out"
    assert {line for _, line in wcsup.lines()} == {b"a", b"x" * longest, b"b"}


# Steering


def test_a_run_is_looked_at_scaled_restarted_drained_and_deleted(wcsup: Shell) -> None:
    running = wcsup.start("run --mappers 1 --reducers 1 --log-file run.log")
    before = wcsup.wait_ready()
    assert {"role", "slot", "pid", "state", "restarts", "partitions", "cpu_percent", "rss_bytes"} <= set(
        before["workers"][0]
    )
    shown = wcsup("status").out
    for part in (f"supervisor {before['pid']}", "ready", "map-0", "reduce-0", "0-3", "left to count: 0 lines"):
        assert part in shown
    wcsup("gen --lines 100 --rate 0")

    assert wcsup("scale --mappers 2 --wait").out == "map-0 running, map-1 running, reduce-0 running\n"
    assert [worker["slot"] for worker in wcsup.status()["workers"]] == ["map-0", "map-1", "reduce-0"]
    measured = wcsup("restart map-0 --measure --json").json
    assert measured["pauses"].keys() == {"map-0"}
    assert 0 < measured["longest"] <= measured["seconds"]
    after = wcsup.status()["workers"][0]
    assert after["pid"] != before["workers"][0]["pid"]
    assert after["restarts"] == 1
    too_many = wcsup("scale --mappers 5")
    assert (too_many.status, too_many.out) == (2, "")
    assert "5 workers of a kind are too many" in too_many.err
    refused = wcsup("restart map-9")
    assert (refused.status, refused.out) == (2, "")
    assert "map-9" in refused.err
    wait_for("all is counted", lambda: wcsup.status()["lines_lag"] == 0 == wcsup.status()["words_lag"])
    assert wcsup("top").out.count("\n") == 20

    second = wcsup("run")
    assert (second.status, second.out) == (3, "")
    assert "already" in second.err.splitlines()[-1]
    taken = wcsup("map map-0")
    assert (taken.status, taken.out) == (ExitStatus.CONFIGURATION, "")
    assert "runs map-0: take another name" in taken.err
    still = wcsup("del")
    assert (still.status, still.out) == (3, "")
    assert "stop it first" in still.err
    assert wcsup("drain --wait").out == "drained: no workers are left\n"
    assert running.wait(WAIT_SECONDS) == 0

    deleted = wcsup("del")
    assert deleted.status == 0, deleted.err
    for name in ("lines", "words", "counts", "top", "dead-letters"):
        assert f"deleted topic {wcsup.config.topic(name)}\n" in deleted.out
    assert f"deleted consumer group {wcsup.config.map_group}\n" in deleted.out
    assert f"deleted local state {wcsup.config.state}\n" in deleted.out
    assert wcsup("del").out == "nothing was there to delete\n"
    nothing = wcsup("top")
    assert (nothing.status, nothing.out) == (3, "")
    assert nothing.err.startswith("wcsup: nothing was counted yet: topic ")


def test_del_with_force_stops_the_run_that_is_in_its_way(wcsup: Shell) -> None:
    running = wcsup.start("run --mappers 1 --reducers 1 --log-file run.log")
    wcsup.wait_ready()

    done = wcsup("del --force")

    assert done.status == 0, done.err
    assert running.wait(WAIT_SECONDS) == 0
    assert f"deleted local state {wcsup.config.state}" in done.out
    assert not (wcsup.config.state / "stores").exists()


@pytest.mark.parametrize(("answer", "deletes"), [(b"\n", False), (b"n\n", False), (b"y\n", True)])
def test_del_shows_on_a_terminal_what_it_deletes_and_asks(answer: bytes, deletes: bool, wcsup: Shell) -> None:
    wcsup.application.make_topics()
    wcsup.application.feed([b"a line"] * 1200)
    ours, theirs = pty.openpty()
    process = wcsup.start("del", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, answer)
    shown = terminals.read_out(ours)

    assert process.wait(WAIT_SECONDS) == (ExitStatus.DONE if deletes else ExitStatus.CHECK_FAILED), shown
    text = shown.decode()
    assert re.search(rf"topic {re.escape(wcsup.config.topic('lines'))} +1,200 records +(\d+) kB", text)
    assert f"delete all of application {wcsup.config.app_id}? [y/N]" in text
    assert ("deleted topic" in text) == deletes
    assert ("nothing was deleted" in text) != deletes
    assert len(wcsup.lines() if not deletes else []) == (0 if deletes else 1200)


def test_del_refuses_while_a_worker_runs_in_the_foreground(wcsup: Shell) -> None:
    worker = wcsup.start("map 0")
    assert worker.stderr is not None
    assert any(b"assigned partitions" in line for line in worker.stderr)

    refused = wcsup("del")

    assert (refused.status, refused.out) == (3, "")
    assert "1 workers of group" in refused.err.splitlines()[-1]
    worker.send_signal(signal.SIGINT)
    assert worker.wait(WAIT_SECONDS) == 0


def test_a_second_worker_of_one_name_takes_the_firsts_place(wcsup: Shell) -> None:
    first = wcsup.start("map same")
    assert first.stderr is not None
    assert any(b"assigned partitions" in line for line in first.stderr)
    second = wcsup.start("map map-same")

    assert first.wait(WAIT_SECONDS) == 4
    last = first.stderr.read().decode().splitlines()[-1]
    assert last.startswith("wcsup: another process")
    assert second.poll() is None
    second.send_signal(signal.SIGTERM)
    assert second.wait(WAIT_SECONDS) == 0


def test_the_state_is_watched_as_it_changes(wcsup: Shell) -> None:
    watching = wcsup.start("status --watch --json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["lines_lag"] is None
    wcsup.application.make_topics()
    wcsup.application.feed([b"a line"])
    while json.loads(watching.stdout.readline())["lines_lag"] != 1:
        pass
    watching.send_signal(signal.SIGINT)
    assert watching.wait(WAIT_SECONDS) == 0


def test_top_is_watched_as_it_changes(wcsup: Shell) -> None:
    wcsup.application.make_topics()
    wcsup.start("run --mappers 1 --reducers 1 --log-file run.log")
    watching = wcsup.start("top --watch --json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline()) == []

    wcsup("gen -", stdin=b"b a b\n")

    # Each word has a partition of its own, which are committed together or one after the other.
    both = [{"word": "b", "count": 2}, {"word": "a", "count": 1}]
    while (shown := json.loads(watching.stdout.readline())) != both:
        assert len(shown) == 1
        assert shown[0] in both
    watching.send_signal(signal.SIGINT)
    assert watching.wait(WAIT_SECONDS) == 0


def test_top_words_that_nobody_published_are_read_from_counts(wcsup: Shell) -> None:
    wcsup.application.make_topics()
    of_an_older_word_count = [(b"old", b"\0\0\0\3"), (b"older", b"\0\0\0\2")]
    wcsup.application.write("counts", of_an_older_word_count)

    assert wcsup("top --json").json == [{"word": "old", "count": 3}, {"word": "older", "count": 2}]


# Bad input


def occupied(shell: Shell) -> str:
    state = shell.config.state
    assert shell("run --exit-when-done").status == 0
    return f"run --app-id another --topic-prefix another. --state-dir {state}"


def below_a_file(shell: Shell) -> str:
    return f"run --state-dir {shell.file('file', b'')}/state"


def other_partitions(shell: Shell) -> str:
    shell.application.make_topics()
    return "run --partitions 5"


def uncompacted(shell: Shell) -> str:
    shell.application.make_topics()
    shell.application.configure("counts", {"cleanup.policy": "delete"})
    return "run"


@pytest.mark.parametrize(
    ("arrange", "said"),
    [
        (occupied, "belongs to an application with app_id"),
        (below_a_file, "can't be used: Not a directory"),
        (other_partitions, "counts in 4 partitions and was started with --partitions 5"),
        (uncompacted, "cleanup.policy=delete and would forget totals"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_does_not_fit_is_status_3_and_one_line(arrange: Callable[[Shell], str], said: str, wcsup: Shell) -> None:
    done = wcsup(arrange(wcsup))

    assert (done.status, done.out) == (3, "")
    assert re.fullmatch(r"wcsup: [^\n]+\n", done.err)
    assert said in done.err


def test_no_broker_at_the_address_is_status_6_and_one_line(wcsup: Shell) -> None:
    # At the same time, since each waits for one
    started = [wcsup.start(f"{line} --bootstrap-servers 127.0.0.1:1") for line in ("run", "gen --lines 1")]
    for process in started:
        out, err = process.communicate(timeout=WAIT_SECONDS)

        assert (process.returncode, out) == (6, b"")
        assert err.decode().splitlines()[-1].startswith("wcsup: no Kafka broker answered at 127.0.0.1:1 ")
        assert b"Traceback" not in err
