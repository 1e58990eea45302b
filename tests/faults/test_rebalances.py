"""Partitions that come and go in the middle of something: of a restore, of a commit, of the rebalance before."""

import random
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from application import Application, WorkerProcess, have_partitions, prose, stopped, wait_for
from invariants import Witness, hold

from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

SHORT, WHILE, LONG = 1.5, 6.0, 30.0
"""Time-outs in seconds: that a test waits for, that leaves time for two workers to start, that it never reaches."""


def has_all(application: Application, worker: WorkerProcess) -> bool:
    return len(worker.report.partitions) == application.config.partitions


@pytest.mark.parametrize(
    ("step", "lost"),
    [("open-read", False), ("open-compare", True), ("open-read", True)],
    ids=["revoked-while-reading", "lost-before-the-comparison", "lost-while-reading"],
)
def test_a_rebalance_during_a_restore(application: Application, seed: int, step: str, lost: bool) -> None:
    # Given totals, and a reducer that is stopped in the middle of restoring them
    lines = prose(1500, seed)
    application.feed(lines[:500])
    application.start("map")
    first = application.start("reduce")
    application.wait_counted()
    first.kill()
    shutil.rmtree(application.config.state / "stores")
    session = SHORT if lost else LONG
    restoring = application.start("reduce", crash=f"stop:{step}", session_timeout=session)
    wait_for("it is stopped", lambda: stopped(restoring))
    application.feed(lines[500:1000])

    with Witness(application):
        # When another one joins, and has taken partitions or is about to
        joined = application.start("reduce", "1", state=application.elsewhere(), session_timeout=session)
        if lost:
            wait_for("it has all partitions", lambda: has_all(application, joined))
        else:
            wait_for("it is joining", lambda: joined.report.beat > 0)
        restoring.signal(signal.SIGCONT)

        # Then both restore what is theirs, and go on
        wait_for(
            "both share",
            lambda: all(w.ready and 0 < len(w.report.partitions) < 4 for w in (restoring, joined)),
        )
        application.feed(lines[1000:])
        application.wait_counted()
    assert restoring.process.poll() is None and joined.process.poll() is None
    hold(application, lines, states=[application.elsewhere()])


@pytest.mark.parametrize(
    ("role", "step"), [("map", "after-produce"), ("map", "after-send-offsets"), ("reduce", "after-send-offsets")]
)
def test_a_rebalance_during_a_commit(application: Application, seed: int, role: Role, step: str) -> None:
    # Given a worker that is stopped in a commit
    lines = prose(1500, seed)
    application.start("reduce" if role == "map" else "map")
    committing = application.start(role, crash=f"stop:{step}:2", session_timeout=LONG, transaction_timeout=LONG)
    application.feed(lines[:500])
    wait_for("its first commit", lambda: committing.report.counters.commits > 0 or stopped(committing))
    application.feed(lines[500:1000])
    wait_for("it is stopped", lambda: stopped(committing))

    with Witness(application):
        # When another one joins, so that the group rebalances before the commit is over
        joined = application.start(role, "1", state=application.elsewhere(), session_timeout=LONG)
        wait_for("it is joining", lambda: joined.report.beat > 0)
        committing.signal(signal.SIGCONT)

        # Then the commit counts or its batch is read again, by whoever has the partitions then
        wait_for("both share", lambda: all(w.ready and w.report.partitions for w in (committing, joined)))
        application.feed(lines[1000:])
        application.wait_counted()
    assert committing.process.poll() is None and joined.process.poll() is None
    hold(application, lines, states=[application.elsewhere()])


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_kill_between_the_two_rounds_of_a_rebalance(
    make_application: Callable[[int], Application], seed: int, role: Role
) -> None:
    # Given two workers with three partitions each
    application = make_application(6)
    lines = prose(1000, seed)
    application.feed(lines[:500])
    application.start("reduce" if role == "map" else "map")
    giving = application.start(role, crash="released:2")
    wait_for("it has all partitions", lambda: has_all(application, giving))
    gone = application.start(role, "1", state=application.elsewhere(), session_timeout=WHILE)
    wait_for("both share", partial(have_partitions, [giving, gone]))

    # When one is gone for good, and two others join before the group knows
    gone.kill()
    joined = [application.start(role, str(n), state=application.elsewhere(n)) for n in (2, 3)]

    # And the first dies when it has given up the one partition that the third still lacks: those that were free it has
    assert giving.wait() == -9, "the crash point was passed"
    # They need not be ready: the one that is gone may have left a transaction open, for as long as its time-out.
    wait_for("both have partitions", lambda: all(worker.report.partitions for worker in joined))
    assert sorted(len(worker.report.partitions) for worker in joined) == [1, 2]

    # When it is started again at once: then the broker takes its group for stable
    again = application.start(role)

    # Then what nobody has is found, and all is counted
    workers = [again, *joined]
    wait_for("every partition has an owner", lambda: {p for w in workers for p in w.report.partitions} == {*range(6)})
    application.feed(lines[500:])
    application.wait_counted()
    told = [line for worker in workers for line in worker.log if "have no owner" in line]
    # Under KIP-848 the broker itself assigns every partition.
    assert len(told) == (1 if application.config.group_protocol == "classic" else 0)
    hold(application, lines, states=[application.elsewhere(n) for n in (1, 2, 3)])


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_new_worker_has_its_share_before_its_next_heartbeat(
    application: Application, tmp_path: Path, seed: int, role: Role
) -> None:
    if application.config.group_protocol == "consumer":
        pytest.skip("under KIP-848 brokers decide how often a member sends heartbeats")
    # Given a worker with all partitions
    lines = prose(1000, seed)
    application.start("reduce" if role == "map" else "map")
    giving = application.start(role)
    application.feed(lines[:500])
    wait_for("it has all partitions", lambda: has_all(application, giving))

    # When another one joins that would be told of what was given up for it after 28 s
    settings = tmp_path / "kafka.properties"
    settings.write_text("heartbeat.interval.ms=28000\n")
    joined = application.start(role, "1", state=application.elsewhere(), session_timeout=LONG, kafka_config=settings)

    # Then it has joined again of its own accord
    wait_for("both share", lambda: len(joined.report.partitions) == 2 and have_partitions((giving, joined)), 20)
    application.feed(lines[500:])
    application.wait_counted()
    hold(application, lines, states=[application.elsewhere()])


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_worker_that_ends_for_good_leaves_its_partitions_to_others(
    application: Application, seed: int, role: Role
) -> None:
    # Given two workers that share, and sessions that last longer than this test
    lines = prose(1000, seed)
    application.start("reduce" if role == "map" else "map")
    staying = application.start(role, session_timeout=LONG)
    ending = application.start(role, "1", state=application.elsewhere(), session_timeout=LONG)
    wait_for("both share", partial(have_partitions, [staying, ending]))
    application.feed(lines[:500])
    wait_for("its first commit", lambda: ending.report.counters.commits > 0)

    # When one is ended for good
    with Witness(application):
        ending.signal(signal.SIGINT)
        assert ending.wait() == ExitStatus.DONE

        # Then the other has its partitions long before its session is over
        wait_for("one has all", lambda: staying.ready and has_all(application, staying), 20)
        application.feed(lines[500:])
        application.wait_counted()
    hold(application, lines, states=[application.elsewhere()])


def test_three_reducers_come_and_two_go_at_once_under_load(application: Application, seed: int) -> None:
    chance = random.Random(seed)
    lines = prose(20_000, seed)
    application.start("map")
    states = [application.config.state, application.elsewhere(1), application.elsewhere(2)]
    staying = application.start("reduce", state=states[0], session_timeout=SHORT)

    def alone(worker: WorkerProcess) -> bool:
        return worker.ready and has_all(application, worker)

    with Witness(application), application.feeding(lines, rate=2000):
        for _ in range(3):
            # Given three reducers of three hosts, started at once
            coming = [application.start("reduce", str(n), state=states[n], session_timeout=SHORT) for n in (1, 2)]
            reducers = [staying, *coming]
            wait_for("all have partitions", partial(have_partitions, reducers))

            # When two of them go at once, drained or killed
            chance.shuffle(reducers)
            staying, *going = reducers
            for reducer in going:
                reducer.signal(chance.choice([signal.SIGTERM, signal.SIGKILL]))
            assert {reducer.wait() for reducer in going} <= {ExitStatus.DONE, -signal.SIGKILL}

            # Then the third has everything
            wait_for("one has all", partial(alone, staying))
            if staying.job_name != "reduce-0":
                # The slot that stays has to be free next time: it moves.
                assert staying.drain() == ExitStatus.DONE
                staying = application.start("reduce", state=states[0], session_timeout=SHORT)
        application.wait_counted()
    hold(application, lines, states=states)
