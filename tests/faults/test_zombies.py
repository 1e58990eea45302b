"""Workers stopped (SIGSTOP) past a time-out, replaced, and continued: a zombie writes nothing."""

import contextlib
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from application import Application, WorkerProcess, prose, stopped, wait_for
from confluent_kafka import TopicPartition
from invariants import Witness, hold
from keeper import keeping

from wcsup.errors import ExitStatus, FencedError
from wcsup.kafka import clients
from wcsup.pipeline.report import Role
from wcsup.pipeline.transaction import AbortedError, Outbox, Transactions, outdated
from wcsup.state.directory import open_directory

SHORT, LONG = 1.5, 30.0
"""Time-outs in seconds that a test waits for, and that it never reaches."""

LOOKS, GOES_ON = "looking whether another process has this one's name", "nobody else has its name: going on"

STEPS = ("after-begin", "after-produce", "after-send-offsets", "after-commit")


def other(role: Role) -> Role:
    return "reduce" if role == "map" else "map"


def copied_name(application: Application) -> Path:
    """Return a state directory that gives its workers the same names, as a cloned machine has one."""
    to = application.elsewhere()
    to.mkdir()
    shutil.copy(application.config.state / "application.json", to)
    return to


def zombie_of(application: Application, role: Role, step: str, lines: list[bytes], **changes: Any) -> WorkerProcess:
    """Feed the lines; return a worker that is stopped at a step of its second commit."""
    application.start(other(role))
    zombie = application.start(role, crash=f"stop:{step}:2", **changes)
    application.feed(lines[: len(lines) // 2])
    wait_for("its first commit", lambda: zombie.report.counters.commits > 0 or stopped(zombie))
    application.feed(lines[len(lines) // 2 :])
    wait_for("it is stopped", lambda: stopped(zombie))
    return zombie


def wait_rejoined(zombie: WorkerProcess) -> None:
    wait_for("it lost its partitions", lambda: any(" lost" in line for line in zombie.log))
    beat = zombie.report.beat
    wait_for("it has partitions again", lambda: zombie.report.beat > beat and zombie.report.partitions and zombie.ready)


def test_a_producer_that_is_renewed_does_not_take_its_name_back(application: Application) -> None:
    # Given a member of a group whose commit was aborted, as a rebalance has it
    application.make_topics()
    config = application.config
    with contextlib.closing(clients.group_reader(config, config.map_group, "member")) as reader:
        reader.consumer.subscribe([config.topic("lines")], on_assign=lambda _, given: reader.assign(given))
        wait_for("it joins", lambda: reader.read(0.1) and reader.consumer.memberid())
        metadata = reader.consumer.consumer_group_metadata()
        outbox = Outbox(offsets=[TopicPartition(config.topic("lines"), 0, 0)])
        zombie, successor = Transactions(config, "name"), Transactions(config, "name")
        zombie.start()
        with pytest.raises(AbortedError, match=r"[Gg]eneration"):
            zombie.commit(outbox, outdated(metadata), lambda _: None)

        # When a process starts with its name, and has not joined yet
        successor.start()

        # Then it is fenced, and the other one goes on
        with pytest.raises(FencedError):
            zombie.commit(outbox, metadata, lambda _: None)
        retained: list[object] = []
        successor.commit(outbox, metadata, retained.append)
        assert retained == [{}]


def test_a_producer_that_was_fenced_is_not_replaced_where_a_successor_has_one(application: Application) -> None:
    # Given a producer that was fenced though its process has no successor: say by a late request of its own
    application.make_topics()
    config = application.config
    with contextlib.closing(clients.group_reader(config, config.map_group, "member")) as reader:
        reader.consumer.subscribe([config.topic("lines")], on_assign=lambda _, given: reader.assign(given))
        wait_for("it joins", lambda: reader.read(0.1) and reader.consumer.memberid())
        metadata = reader.consumer.consumer_group_metadata()
        outbox = Outbox(offsets=[TopicPartition(config.topic("lines"), 0, 0)])
        retained: list[object] = []
        earlier, later = Transactions(config, "name"), Transactions(config, "name")
        earlier.start()
        clients.transactional_producer(config, "name").init_transactions(30)
        with pytest.raises(FencedError):
            earlier.commit(outbox, metadata, lambda _: None)

        # When a process starts with its name, and has not joined yet
        later.start()

        # Then the earlier one makes no producer, and the later one goes on
        with pytest.raises(FencedError, match="was replaced"):
            earlier.commit(outbox, metadata, lambda _: None)
        later.commit(outbox, metadata, retained.append)
        assert retained == [{}]

        # And if it finds that the later one has died, it may have the name again
        earlier.commit(outbox, metadata, retained.append)
        assert retained == [{}, {}]


@pytest.mark.long
@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_worker_that_goes_on_leaves_its_name_to_a_successor_that_came_meanwhile(
    application: Application, seed: int, role: Role
) -> None:
    # Given a worker whose producer is fenced, and that looks for a successor
    lines = prose(2000, seed)
    application.start(other(role))
    earlier = application.start(role)
    application.feed(lines[:1000])
    application.wait_counted()
    name = open_directory(application.config).name(application.config, role, "0")

    def looks(times: int) -> bool:
        return sum(LOOKS in line for line in earlier.log) == times

    clients.transactional_producer(application.config, name).init_transactions(30)
    application.feed(lines[1000:])
    wait_for("it looks for a successor", lambda: looks(1))

    # When a successor has made its producer, and joins the group so late that the worker goes on
    clients.transactional_producer(application.config, name).init_transactions(30)
    wait_for("it goes on", lambda: any(GOES_ON in line for line in earlier.log))
    wait_for("it looks for a successor instead of making a producer", lambda: looks(2))
    later = application.start(role)

    # Then the earlier one ends, and the later one counts
    assert earlier.wait() == ExitStatus.FENCED
    application.wait_counted()
    assert later.ready
    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize("step", STEPS)
def test_a_zombie_whose_name_was_taken_ends_as_fenced(
    application: Application, seed: int, role: Role, step: str
) -> None:
    lines = prose(2000, seed)
    zombie = zombie_of(application, role, step, lines, transaction_timeout=LONG)

    # When another process with its name has done its work, and it goes on
    abroad = copied_name(application)
    with Witness(application):
        application.start(role, state=abroad)
        application.wait_counted()
        zombie.signal(signal.SIGCONT)

        # Then it finds itself fenced
        assert zombie.wait() == ExitStatus.FENCED
    assert "another process" in zombie.log[-1]
    hold(application, lines, states=[abroad])


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize(
    ("step", "aborts"),
    [("after-produce", 1), ("after-send-offsets", 0), ("after-commit", 0)],
)
def test_a_zombie_that_lost_its_partitions_rejoins(
    application: Application, seed: int, role: Role, step: str, aborts: int
) -> None:
    lines = prose(2000, seed)
    zombie = zombie_of(application, role, step, lines, session_timeout=SHORT, transaction_timeout=LONG)
    replacement = application.start(role, "1", state=application.elsewhere(), session_timeout=SHORT)

    # When its session has ended, which gives the other one all partitions, and it goes on
    with Witness(application):
        wait_for("it is replaced", lambda: len(replacement.report.partitions) == application.config.partitions)
        zombie.signal(signal.SIGCONT)

        # Then what it had sent with the offsets of its old generation counts, the rest does not, and it comes back
        wait_rejoined(zombie)
    # A static member hears that its session has ended before it commits again. A dynamic one may hear it by the commit.
    static = application.config.group_protocol == "classic"
    assert sum(zombie.report.counters.aborts.values()) - aborts in ({0} if static else {0, 1})
    hold(application, lines, states=[application.elsewhere()])


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize(
    ("step", "fenced"),
    [
        pytest.param("after-begin", False, id="before-the-broker-heard-of-it"),
        pytest.param("after-send-offsets", True, id="aborted-by-the-broker"),
    ],
)
def test_a_zombie_past_both_time_outs(application: Application, seed: int, role: Role, step: str, fenced: bool) -> None:
    lines = prose(2000, seed)
    zombie = zombie_of(application, role, step, lines, session_timeout=SHORT, transaction_timeout=SHORT)

    with keeping(application, (role, "1"), state=application.elsewhere(), session_timeout=SHORT), Witness(application):
        # When another one has counted its batch, and it goes on
        application.wait_counted()
        zombie.signal(signal.SIGCONT)

        # Then it gives the transaction up, also where Kafka did so and bumped its epoch
        wait_rejoined(zombie)
        if fenced:
            assert any(GOES_ON in line for line in zombie.log)
        else:
            assert zombie.report.counters.aborts == {"UNKNOWN_MEMBER_ID": 1}
    hold(application, lines, states=[application.elsewhere()])


def test_partitions_are_lost_under_load(application: Application, seed: int) -> None:
    # Given two workers of each role, one of each on another host
    lines = prose(60_000, seed)
    abroad = application.elsewhere()
    with (
        keeping(application, ("map", "0"), ("reduce", "0"), session_timeout=SHORT) as here,
        keeping(application, ("map", "1"), ("reduce", "1"), session_timeout=SHORT, state=abroad) as there,
    ):
        workers = [*here.running.values(), *there.running.values()]
        wait_for("all have partitions", lambda: all(w.ready and w.report.partitions for w in workers))

        def replaced(survivor: WorkerProcess) -> bool:
            return len(survivor.report.partitions) == 4

        def back(role: Role) -> bool:
            return len(there.running[role, "1"].report.partitions) < 4

        with Witness(application), application.feeding(lines, rate=10_000):
            # When one of each is stopped until the others have all, and continued
            for role in ("map", "reduce"):
                zombie, survivor = here.running[role, "0"], there.running[role, "1"]
                zombie.signal(signal.SIGSTOP)
                wait_for("it is replaced", partial(replaced, survivor))
                zombie.signal(signal.SIGCONT)
                # Then it comes back, as itself or as a new process
                wait_for("it is back", partial(back, role))
        application.wait_counted()
    hold(application, lines, states=[abroad])


def test_a_store_locked_by_a_stopped_process_is_waited_for(application: Application, seed: int) -> None:
    # Given a stopped reducer whose stores are wanted by another one of the same host
    lines = prose(2000, seed)
    application.start("map")
    holder = application.start("reduce", session_timeout=SHORT)
    application.feed(lines[:1000])
    application.wait_counted()
    holder.signal(signal.SIGSTOP)
    application.feed(lines[1000:])
    waiter = application.start("reduce", "1", session_timeout=SHORT)
    wait_for("it was given the partitions", lambda: len(waiter.report.partitions) == 4)

    # When it waits, it goes on reporting; when the holder goes on, it gets its share
    beat = waiter.report.beat
    wait_for("it beats", lambda: waiter.report.beat > beat + 20)
    assert not waiter.ready
    holder.signal(signal.SIGCONT)

    wait_for("it is ready", lambda: waiter.ready and holder.ready)
    hold(application, lines)
