"""The programs of `examples/`, as their pages in docs/ show them, on a real Kafka."""

import gzip
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from application import WAIT_SECONDS, prose, wait_for
from confluent_kafka import TopicPartition
from jars import fetched
from reference import recount
from shell import Shell

from wcsup.broker import jars, java
from wcsup.broker.pinned import Jar
from wcsup.kafka import topics

EXAMPLES = Path(__file__).parents[2] / "examples"
ECJ = Jar("org.eclipse.jdt:ecj:3.43.0", 3329190, "c786468c65e906498e7e36ece4e0d04c6d3dd34c9a61b34a3a5b512801911a82")


def command(example: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / example), *map(str, arguments)]


def call(example: str, *arguments: object, text: bytes = b"") -> str:
    """Call an example that ends, and return what it prints."""
    done = subprocess.run(
        command(example, *arguments), input=text, capture_output=True, timeout=WAIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def names(shell: Shell) -> tuple[str, str]:
    """The address of Kafka, and the topic `lines`."""
    assert shell.config.bootstrap_servers
    return shell.config.bootstrap_servers, shell.config.topic("lines")


@pytest.fixture
def counting(wcsup: Shell) -> Iterator[Shell]:
    """An application with a run that counts."""
    run = wcsup.start("run --mappers 1 --reducers 1 --plain", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wcsup.wait_ready()
    yield wcsup
    run.send_signal(signal.SIGINT)
    assert run.wait(WAIT_SECONDS) == 0


def counted(shell: Shell, lines: Iterable[bytes]) -> dict[str, int]:
    """Wait until these lines, and no others, are counted, and return how often each word is in them."""
    wanted = recount(lines)
    wait_for("the lines are counted", lambda: shell.application.counts() == wanted)
    return {word.decode(): count for word, count in wanted.items()}


def test_a_producer_and_a_reader_of_ones_own(counting: Shell) -> None:
    servers, lines = names(counting)
    text = prose(500, seed=1)
    call("producer.py", servers, lines, text=b"\n".join(text))
    wanted = counted(counting, text)
    shown = dict(line.split() for line in call("totals.py", servers, counting.config.topic("counts")).splitlines())
    assert shown == {word: str(count) for word, count in wanted.items()}


def test_a_producer_in_java(counting: Shell, tmp_path: Path) -> None:
    # Given the example, compiled: the demo's Java has no compiler of its own
    program, path = str(java.find().program), ":".join(map(str, jars.fetch(quiet=True)))
    compiler, source = str(fetched(ECJ, "a compiler for Java")), str(EXAMPLES / "LineProducer.java")
    subprocess.run([program, "-jar", compiler, "-17", "-cp", path, "-d", str(tmp_path), source], check=True)

    # When it writes a text
    text = prose(500, seed=2)
    writing = [program, "-cp", f"{tmp_path}:{path}", "LineProducer", *names(counting)]
    subprocess.run(writing, input=b"\n".join(text), check=True, timeout=WAIT_SECONDS)

    # Then each of its lines is counted
    assert counted(counting, text)


def test_a_live_log_is_counted_as_it_is_written(counting: Shell) -> None:
    log = counting.place / "service.log"
    log.touch()
    tail = ["tail", "-n", "+1", "-F", str(log)]
    with subprocess.Popen(tail, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as follow:
        assert follow.stdout
        feeding = counting.start("gen -", stdin=follow.stdout.fileno())
        try:
            for number in (30, 70):  # the lines come while `wcsup gen` waits for some
                with log.open("a") as file:
                    subprocess.run(command("live_log/make_log.py", number), stdout=file, check=True)
                counted(counting, log.read_bytes().splitlines())
            assert feeding.poll() is None
        finally:
            follow.kill()
    assert feeding.wait(WAIT_SECONDS) == 0


def test_a_corpus_is_fed_once_whatever_feeder_dies(counting: Shell) -> None:
    servers, lines = names(counting)
    corpus = counting.place / "corpus"
    call("corpus/make_corpus.py", corpus, 6, 3000)
    text = [line for one in corpus.glob("*.gz") for line in gzip.decompress(one.read_bytes()).splitlines()]
    options = ("--bootstrap-servers", servers, "--topic", lines, "--done-topic", f"{lines}-done", corpus)

    # A feeder dies when it has written a part of a file: the file is a pipe that has no more to read. Before it, it has
    # written part-000: 3,000 lines, and a marker in each of four partitions at most.
    file = corpus / "part-002.txt.gz"
    whole = file.read_bytes()
    file.unlink()
    os.mkfifo(file)
    with subprocess.Popen(command("corpus/feed.py", "--share", "1/2", *options)) as dying, file.open("wb") as half:
        half.write(whole[: len(whole) // 2])
        half.flush()
        wait_for("some lines of part-002 are in the topic", lambda: _written(counting) > 3000 + 4)
        dying.kill()
    file.unlink()
    file.write_bytes(whole)

    shown = call("corpus/feed.py", "--share", "2/2", *options) + call("corpus/feed.py", *options)
    assert "part-000.txt.gz: was done" in shown
    assert "part-002.txt.gz: 3,000 lines" in shown
    assert set(call("corpus/feed.py", *options).splitlines()) == {f"part-{n:03}.txt.gz: was done" for n in range(6)}
    counted(counting, text)


def test_a_database_has_the_totals_of_its_offsets_whenever_its_reader_dies(counting: Shell) -> None:
    servers, lines = names(counting)
    counts, path = counting.config.topic("counts"), counting.place / "words.db"
    options = ("--bootstrap-servers", servers, "--topic", counts, path)
    text = prose(3000, seed=2)

    def written() -> tuple[dict[str, int], dict[int, int]]:
        with closing(sqlite3.connect(path)) as connection:
            return (
                dict(connection.execute("SELECT word, total FROM totals")),
                dict(connection.execute("SELECT partition, next FROM offsets")),
            )

    for part in range(3):
        with subprocess.Popen(command("database/into_sqlite.py", *options)) as reader:
            call("producer.py", servers, lines, text=b"\n".join(text[part * 1000 : part * 1000 + 1000]))
            wanted = counted(counting, text[: part * 1000 + 1000])
            wait_for("the reader has written something", lambda: path.exists() and _sum(path))
            reader.kill()
        totals, offsets = written()
        assert totals == {
            str((message.key() or b""), "ascii"): int.from_bytes(bytes(message.value() or b""), "big")
            for message in counting.application.messages("counts")
            if (message.offset() or 0) < offsets[message.partition() or 0]
        }
    call("database/into_sqlite.py", "--once", *options)
    assert written()[0] == wanted

    report = subprocess.run(
        ["sqlite3", str(path)],
        input=(EXAMPLES / "database" / "report.sql").read_text(),
        cwd=EXAMPLES / "database",
        capture_output=True,
        text=True,
        check=True,
    )
    kinds = dict(line.split(",") for line in (EXAMPLES / "database" / "kinds.csv").read_text().split()[1:])
    by_kind: Counter[str] = Counter()
    for word, count in wanted.items():
        by_kind[kinds.get(word, "other")] += count
    shown = {row.split()[0]: int(row.split()[2]) for row in report.stdout.splitlines()[2:]}
    assert shown == by_kind


def _written(shell: Shell) -> int:
    """Count the records of `lines`, committed or not, and the markers of transactions."""
    config = shell.config
    partitions = [TopicPartition(config.topic("lines"), partition) for partition in range(config.partitions)]
    return sum(topics.ends(shell.application.admin, partitions).values())


def _sum(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT sum(total) FROM totals").fetchone()[0]
    return int(found or 0)
