"""Topics deleted and made again, given more partitions, cut by retention, compacted: exact, or refused."""

import re
import shutil
import signal
import time
from typing import Any

import pytest
from application import ROLES, Application, WorkerProcess, prose, wait_for
from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewPartitions
from invariants import Witness, check_counts, hold
from reference import recount
from shell import Shell

from wcsup.errors import ExitStatus
from wcsup.kafka import clients, groups, topics
from wcsup.kafka.positions import Position
from wcsup.kafka.topic_guard import FRESH_SECONDS
from wcsup.pipeline.report import Role

READER: dict[str, Role] = {"lines": "map", "words": "reduce", "counts": "reduce"}
"""Who depends on what a topic had before."""

SHORT = 1.5
"""A session time-out in seconds that a test waits for."""


def delete(application: Application, name: str) -> None:
    topic = application.config.topic(name)
    application.admin.delete_topics([topic])[topic].result()
    wait_for(f"{name} is deleted", lambda: topic not in application.admin.list_topics(timeout=10).topics)


def make_again(application: Application, name: str) -> None:
    """Delete a topic, and make it as `run` does."""
    delete(application, name)
    application.make_topics()


def ids(application: Application) -> dict[str, str]:
    return topics.identity(application.admin, application.config).topics


def started(application: Application, **changes: Any) -> dict[Role, WorkerProcess]:
    return {role: application.start(role, **changes) for role in ROLES}


def counted(application: Application, lines: list[bytes], **changes: Any) -> dict[Role, WorkerProcess]:
    """Count lines; return the mapper and the reducer, idle."""
    workers = started(application, **changes)
    application.feed(lines)
    application.wait_counted()
    wait_total(application, workers["reduce"])
    return workers


def wait_total(application: Application, reducer: WorkerProcess) -> None:
    """Wait until all is counted: a group's lag says nothing while its offsets are those of an earlier topic."""
    wait_for("all is counted", lambda: reducer.report.total == application.written.total())


def stop(worker: WorkerProcess) -> None:
    """Stop a worker until its topics have to be seen again before it commits."""
    worker.signal(signal.SIGSTOP)
    due = time.monotonic() + FRESH_SECONDS
    wait_for("they have to be seen again", lambda: time.monotonic() > due)


def said(worker: WorkerProcess, text: str) -> list[str]:
    return [line for line in worker.log if text in line]


@pytest.mark.parametrize("name", ["lines", "words"])
def test_an_input_made_again_before_a_start_is_read_from_its_start(
    application: Application, seed: int, name: str
) -> None:
    # Given committed offsets of a topic that is no more: Kafka drops them with it, but a commit may be under way then
    lines = prose(2400, seed)
    for worker in counted(application, lines[:2000], session_timeout=SHORT).values():
        assert worker.drain() == ExitStatus.DONE
    group, position = {
        "lines": (application.config.map_group, Position("ascii", ids(application)["lines"])),
        "words": (
            application.config.reduce_group,
            Position("ascii", ids(application)["words"], ids(application)["counts"]),
        ),
    }[name]
    make_again(application, name)
    wait_for("the group has no members", lambda: groups.members(application.admin, group) == 0)
    topic = application.config.topic(name)
    stale = [TopicPartition(topic, p, 10_000, position.text(10_000)) for p in range(4)]
    clients.offsets_reader(application.config, group).commit(offsets=stale, asynchronous=False)

    # When the new one has fewer records than that
    application.feed(lines[2000:2200])
    workers = started(application)
    wait_total(application, workers["reduce"])

    # Then they are counted to the first one, old totals stay, and it is said
    assert len(said(workers[READER[name]], f"{name} was made again")) == application.config.partitions
    application.feed(lines[2200:])
    wait_total(application, workers["reduce"])
    hold(application, lines)


@pytest.mark.parametrize(
    ("name", "more"),
    [("lines", 200), ("lines", 4000), ("words", 4000)],
    ids=["shorter-lines", "longer-lines", "longer-words"],
)
def test_an_input_made_again_under_a_worker(application: Application, seed: int, name: str, more: int) -> None:
    """The worker is stopped meanwhile: otherwise it may be told that the topic is gone."""
    # Given a worker that is in the middle of its input
    lines = prose(2000 + more, seed)
    workers = counted(application, lines[:2000])
    worker = workers[READER[name]]
    stop(worker)

    # When there is another topic of the name, whose records its offset may well be among
    make_again(application, name)
    application.feed(lines[2000:])
    if name == "words":
        wait_for("all lines are mapped", lambda: application.lag().lines == 0)
    worker.signal(signal.SIGCONT)

    # Then it commits nothing of it, and a new process counts all of it
    assert worker.wait() == ExitStatus.RETRY, worker.log[-3:]
    assert f"{name} was deleted and made again" in worker.log[-1]
    workers[READER[name]] = application.start(READER[name])
    wait_total(application, workers["reduce"])
    hold(application, lines)


@pytest.mark.parametrize("running", [False, True], ids=["before-a-start", "under-a-reducer"])
def test_counts_made_again_are_refused(application: Application, seed: int, running: bool) -> None:
    # Given offsets whose totals are gone
    lines = prose(2000, seed)
    reducer = counted(application, lines[:1000])["reduce"]
    if running:
        stop(reducer)
    else:
        assert reducer.drain() == ExitStatus.DONE
    make_again(application, "counts")
    application.feed(lines[1000:])
    wait_for("all lines are mapped", lambda: application.lag().lines == 0)

    # When a reducer starts or goes on, then it refuses, and says what to run
    if running:
        reducer.signal(signal.SIGCONT)
    else:
        reducer = application.start("reduce")
    assert reducer.wait() == ExitStatus.CONFIGURATION, reducer.log[-3:]
    assert "counts was deleted and made again" in reducer.log[-1]
    assert "Start over with wcsup del" in reducer.log[-1]
    assert list(application.read("counts")) == []


@pytest.mark.parametrize("name", ["lines", "counts"])
def test_a_topic_deleted_under_its_workers_is_said(wcsup: Shell, seed: int, name: str) -> None:
    """By idle ones, too."""
    application = wcsup.application
    application.make_topics()
    lines = prose(400, seed)
    running = wcsup.start("run --mappers 1 --reducers 1 --plain")
    wcsup.wait_ready()
    application.feed(lines)
    application.wait_counted()

    delete(application, name)

    _, err = running.communicate(timeout=60)
    assert running.returncode == ExitStatus.CONFIGURATION, err.decode()
    assert f"topic {application.config.topic(name)} was deleted under its workers" in err.decode()
    if name == "counts":
        assert "Start over with wcsup del" in err.decode()
    else:
        check_counts(application, lines)


@pytest.mark.parametrize("running", [False, True], ids=["before-a-start", "under-a-mapper"])
def test_lines_that_retention_took_are_said_and_the_rest_is_counted(
    application: Application, seed: int, running: bool
) -> None:
    # Given a mapper that lags
    lines = prose(4000, seed)
    mapper = counted(application, lines[:2000])["map"]
    if running:
        mapper.signal(signal.SIGSTOP)
    else:
        assert mapper.drain() == ExitStatus.DONE
    application.feed(lines[2000:])

    # When what it has not read is deleted in two of four partitions
    topic = application.config.topic("lines")
    cut = {0: 700, 2: 999}
    futures = application.admin.delete_records([TopicPartition(topic, p, offset) for p, offset in cut.items()])
    for future in futures.values():
        future.result()
    if running:
        mapper.signal(signal.SIGCONT)
    else:
        mapper = application.start("map")

    # Then it says which, though it may have had some of them already, or all of one partition, and counts all others
    application.wait_counted()
    told = re.compile(rf"(\d+) offsets of topic {re.escape(topic)}, partition (\d), from (\d+) on, were deleted")
    lost = {int(p): range(int(at), int(at) + int(n)) for n, p, at in told.findall("\n".join(mapper.log))}
    assert lost and all(gone.stop == cut[partition] for partition, gone in lost.items())
    assert running or {partition: gone.start for partition, gone in lost.items()} == dict.fromkeys(cut, 500)
    assert mapper.process.poll() is None
    more = prose(200, seed + 1)
    application.feed(more)
    hold(application, [line for n, line in enumerate(lines) if n // 4 not in lost.get(n % 4, ())] + more)


@pytest.mark.parametrize("name", ["lines", "words", "counts"])
def test_a_topic_with_more_partitions_is_refused(wcsup: Shell, seed: int, name: str) -> None:
    # Given a worker at work
    application = wcsup.application
    application.make_topics()
    lines = prose(2000, seed)
    worker = counted(application, lines[:1000])[READER[name]]

    # When its topic is given more partitions, then it ends, and counts nothing wrong until then
    topic = application.config.topic(name)
    with application.feeding(lines[1000:], rate=2000):
        application.admin.create_partitions([NewPartitions(topic, 6)])[topic].result()
        assert worker.wait() == ExitStatus.CONFIGURATION, worker.log[-3:]
    said_so = f"topic {topic} has 6 partitions and the application 4, for good"
    assert said_so in worker.log[-1]
    seen = application.counts()
    assert all(seen[word] <= total for word, total in recount(lines).items())

    # Nor does a run start
    refused = wcsup("run --mappers 1 --reducers 1 --plain")
    assert refused.status == ExitStatus.CONFIGURATION, refused.err
    assert said_so in refused.err


def readable(application: Application) -> int:
    return sum(1 for _ in application.read("counts", until=topics.stable_ends))


def compact_eagerly(application: Application) -> None:
    """Have the log cleaner compact `counts` within moments; a segment is only closed by the next record."""
    settings = {"min.cleanable.dirty.ratio": "0.01", "segment.ms": "200", "max.compaction.lag.ms": "200"}
    application.configure("counts", settings)


def test_restores_from_a_compacted_changelog_are_exact(application: Application, seed: int) -> None:
    lines = prose(3000, seed)
    abroad = application.config.state.parent / "elsewhere"
    with Witness(application):
        # Given the stores of a reducer that ended early
        first = counted(application, lines[:500])["reduce"]
        assert first.drain() == ExitStatus.DONE

        # And another one, killed when the log cleaner had taken totals that the first one's stores have not
        second = application.start("reduce", "1", state=abroad, session_timeout=SHORT)
        at = 500
        for _ in range(5):
            application.feed(lines[at : at + 200])
            application.wait_counted()
            at += 200
        before = readable(application)
        compact_eagerly(application)

        def compacted() -> bool:
            nonlocal at
            application.feed(lines[at : at + 4])
            at += 4
            return readable(application) < before * 0.8

        wait_for("counts is compacted", compacted)
        application.wait_counted()
        second.kill()

        # When the first one goes on, then it reads what is left; and one without any stores does, too
        behind = application.start("reduce", session_timeout=SHORT)
        application.feed(lines[at : at + 50])
        application.wait_counted()
        assert behind.report.counters.restored > 0
        behind.kill()
        shutil.rmtree(application.config.state / "stores")
        empty = application.start("reduce", session_timeout=SHORT)
        application.feed(lines[at + 50 :])
        application.wait_counted()
        assert empty.report.counters.restored >= len(recount(lines[:at]))
    hold(application, lines)
