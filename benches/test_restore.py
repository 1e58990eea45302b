"""A reducer's start from an empty disk and with its stores kept, beside Kafka Streams' from the same totals.

Totals of `WCSUP_RESTORE_WORDS` words (500,000; 5 million for the figures that are published) are in `counts`, and in
the changelog topic of Kafka Streams. What is measured, in turns:

- words a second: from the first partition's turn until the last store is restored, as each program says itself;
- seconds to the first and the last commit: from the start of the process until the first and all partitions of new
  input, which waits for it, are committed; from an empty disk, and after a kill with SIGKILL with the stores kept.
  Kafka Streams has transactional stores and no longer throws them away then, but reads again what RocksDB had not
  written to disk, and of small stores that is everything. (It is a static member as wcsup is, or it would wait for its
  session's end first.)
"""

import json
import os
import re
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from application import Application, WorkerProcess, wait_for
from benches.peers import artifacts
from benches.peers.workloads import spelled
from benches.recorded import Ratios
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.cimpl import NewTopic

from wcsup import _core
from wcsup.kafka import clients, topics

WORDS = int(os.environ.get("WCSUP_RESTORE_WORDS", "500000"))
ROUNDS = int(os.environ.get("WCSUP_RESTORE_ROUNDS", "3"))
LONGEST = 120.0
Figures = dict[str, list[float]]


def words_by_partition(partitions: int) -> list[list[bytes]]:
    words: list[list[bytes]] = [[] for _ in range(partitions)]
    for number in range(WORDS):
        word = spelled(number)
        words[_core.partition(word, partitions)].append(word)
    return words


def total_of(number: int) -> int:
    return 1 + number % 1000


def fill(application: Application, topic: str, words: list[list[bytes]]) -> None:
    """Write a total of each word to a topic, as its partition's n-th word has it."""
    producer = Producer({**clients.settings(application.config), "linger.ms": 20, "compression.type": "lz4"})
    for partition, own in enumerate(words):
        for start in range(0, len(own), 50_000):
            chunk = own[start : start + 50_000]
            left = [{"key": w, "value": total_of(n).to_bytes(8, "big")} for n, w in enumerate(chunk, start)]
            while left:
                left = left[producer.produce_batch(topic, left, partition=partition) :]
                producer.poll(0.05 if left else 0)
    assert producer.flush(60) == 0


def ask_for(application: Application, words: list[list[bytes]], topic: str) -> None:
    """Write new input: the first word of each partition of `counts`, once."""
    producer = Producer(clients.settings(application.config))
    for partition, own in enumerate(words):
        as_line = topic == "lines"
        name = application.config.topic(topic)
        producer.produce(name, own[0] if as_line else None, None if as_line else own[0], partition=partition)
    assert producer.flush(30) == 0


@contextmanager
def watching(pid: int, figures: Figures, name: str) -> Iterator[Callable[[], None]]:
    """Yield what is to be called all the time; it notes the peak of resident memory and the processor time."""
    process = psutil.Process(pid)
    peak = cpu = 0.0

    def look() -> None:
        nonlocal peak, cpu
        peak = max(peak, process.memory_info().rss / 1e6)
        times = process.cpu_times()
        cpu = times.user + times.system

    yield look
    figures[f"{name}: peak MB"].append(peak)
    figures[f"{name}: processor s"].append(cpu)


def stable_ends(application: Application) -> list[int]:
    """Return up to where each partition of `counts` can be read."""
    config = application.config
    ends = topics.stable_ends(
        application.admin, [TopicPartition(config.topic("counts"), p) for p in range(config.partitions)]
    )
    return [end for _, end in sorted(ends.items())]


def commits(application: Application, before: list[int], look: Callable[[], None]) -> tuple[float, float]:
    """Return when the first and the last partition of `counts` can be read further than before."""
    first = 0.0

    def all_moved() -> bool:
        nonlocal first
        look()
        moved = [now > then for now, then in zip(stable_ends(application), before, strict=True)]
        if any(moved) and not first:
            first = time.monotonic()
        return all(moved)

    wait_for("new input is committed", all_moved, LONGEST)
    return first, time.monotonic()


def check_totals(application: Application, words: list[list[bytes]], added: int) -> None:
    """New input was added to the restored totals: these were the only ones that were written twice."""
    last: dict[bytes, int] = {}
    wanted = {own[0] for own in words}
    for _, key, value, _ in application.read("counts"):
        if key in wanted and key is not None and value is not None:
            last[key] = int.from_bytes(value, "big")
    assert last == dict.fromkeys(wanted, total_of(0) + added)


def wcsup_rounds(application: Application, words: list[list[bytes]], figures: Figures) -> None:
    def all_reported(worker: WorkerProcess) -> bool:
        report = worker.report
        return report.ready and report.counters.records == len(words) and not report.kept_words

    for kept in (False, True):
        name = "wcsup, kept" if kept else "wcsup, empty"
        ask_for(application, words, "words")
        before = stable_ends(application)
        began = time.monotonic()
        worker = application.start("reduce")
        with watching(worker.process.pid, figures, name) as look:
            first, last = commits(application, before, look)
        figures[f"{name}: s to first commit"].append(first - began)
        figures[f"{name}: s to last commit"].append(last - began)
        wait_for("all is reported and in the stores", partial(all_reported, worker))
        restored = worker.report.counters.restored
        if kept:
            assert restored == 0
        else:
            assert restored == WORDS
            said = next(filter(None, (re.search(r"restored .* in ([\d.]+) s", line) for line in worker.log)))
            figures["wcsup: words a second"].append(WORDS / float(said[1]))
        worker.kill()


def streams_rounds(application: Application, words: list[list[bytes]], figures: Figures, directory: Path) -> None:
    program = artifacts.program("streams")
    config = application.config
    name = f"{config.app_id}-streams"
    changelog = f"{name}-totals-changelog"
    topic = NewTopic(changelog, config.partitions, 1, config={"cleanup.policy": "compact"})
    application.admin.create_topics([topic])[changelog].result()
    fill(application, changelog, words)
    for kept in (False, True):
        round_name = "streams, killed" if kept else "streams, empty"
        ask_for(application, words, "lines")
        before = stable_ends(application)
        log = directory / f"{round_name}.log"
        arguments = (config.bootstrap_servers, config.topic_prefix, name, 1000, 2, directory / "streams", "member")
        began = time.monotonic()
        with log.open("wb") as output:
            running = subprocess.Popen(program.command("2g", *arguments), stdout=output, stderr=output)
        try:
            with watching(running.pid, figures, round_name) as look:
                first, last = commits(application, before, look)
        finally:
            running.kill()
            running.wait()
        figures[f"{round_name}: s to first commit"].append(first - began)
        figures[f"{round_name}: s to last commit"].append(last - began)
        said = [(int(at), int(n)) for at, n in re.findall(r"^restore (\d+) (\d+)$", log.read_text(), re.MULTILINE)]
        if not kept:
            assert sum(n for _, n in said) == WORDS
            figures["streams: words a second"].append(WORDS * 1000 / (max(said)[0] - min(said)[0]))


@pytest.mark.timeout(1800)
def test_restore_against_kafka_streams(
    make_application: Any, benchmark: Any, ratios: Ratios, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least as many words a second; with the stores kept, what was missed is all that is read."""
    try:
        artifacts.program("streams")
        without = ""
    except artifacts.MissingError as missing:
        without = f"Kafka Streams is left out: {missing}"
    words = words_by_partition(12)
    figures: Figures = defaultdict(list)
    for number in range(ROUNDS):
        application = make_application()
        fill(application, application.config.topic("counts"), words)
        wcsup_rounds(application, words, figures)
        check_totals(application, words, added=2)
        if not without:
            application = make_application()
            directory = tmp_path / f"round{number}"
            directory.mkdir()
            streams_rounds(application, words, figures, directory)
            check_totals(application, words, added=2)

    report = {
        name: [round(n, 3) for n in (statistics.median(found), min(found), max(found))]
        for name, found in figures.items()
    }
    if not without:
        pairs = zip(figures["wcsup: words a second"], figures["streams: words a second"], strict=True)
        ratios["restore: words a second / Kafka Streams"] = statistics.median(mine / other for mine, other in pairs)
        pairs = zip(
            figures["streams, killed: s to first commit"], figures["wcsup, kept: s to first commit"], strict=True
        )
        ratios["killed: seconds to the first commit, Kafka Streams / restore"] = statistics.median(
            other / mine for other, mine in pairs
        )
    benchmark.extra_info.update(words=WORDS, **report)
    with capsys.disabled():
        print(
            f"\n{WORDS:,} words, {ROUNDS} rounds: median, least, most", without, json.dumps(report, indent=1), sep="\n"
        )
    benchmark.pedantic(lambda: None)
