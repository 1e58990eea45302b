"""Records with words of several partitions, which a mapper writes for the reducer that owns all of them: owners change.

Here they are written by the test, so that it is known who is to have them.
"""

import signal
import time
from functools import partial
from pathlib import Path

import pytest
from application import Application, WorkerProcess, have_partitions, prose, stopped, wait_for
from invariants import Witness, hold

from wcsup.process.crash import POINTS

SHORT, LONG = 1.5, 30.0
"""Time-outs in seconds that a test waits for, and that it never reaches."""


def forwarded(application: Application, origin: int) -> int:
    """Return how many records of `words` are in other partitions than that one."""
    return sum(partition != origin for partition, *_ in application.read("words"))


def sharing(application: Application, crash: str | None = None) -> tuple[WorkerProcess, int]:
    """Start two reducers; return the one that crashes, when both have partitions, and one of its own."""
    application.start("reduce", "1", state=application.elsewhere())
    reducer = application.start("reduce", crash=crash)
    wait_for("both share", partial(have_partitions, application.workers))
    return reducer, reducer.report.partitions[0]


@pytest.mark.parametrize(
    "name", [name for name in POINTS if not name.startswith(("open-", "released", "joined", "scanned"))]
)
def test_a_kill_at_each_step_of_a_commit_that_forwards(application: Application, name: str) -> None:
    lines = prose(3000, seed=len(name))
    victim, origin = sharing(application, crash=f"{name}:2")

    with Witness(application):
        application.write_mixed(lines[:1000], origin)
        wait_for("its first commit", lambda: victim.report.counters.commits > 0 or victim.process.poll() is not None)
        application.write_mixed(lines[1000:2000], origin)
        assert victim.wait() == -9, "the crash point was passed"
        application.write_mixed(lines[2000:], origin)
        application.start("reduce")
        application.wait_counted()

    assert forwarded(application, origin)
    hold(application, lines, states=[application.elsewhere()])


def test_words_go_back_and_forth_while_owners_change(application: Application, seed: int) -> None:
    lines = prose(6000, seed)
    application.start("reduce")
    states = [application.elsewhere(n) for n in (1, 2)]
    coming = {str(n): state for n, state in enumerate(states, 1)}

    with Witness(application):
        for begin in range(0, len(lines), 1000):
            # Words of all partitions in each of them, while reducers come and go, killed and drained
            for partition in range(4):
                application.write_mixed(lines[begin + 250 * partition : begin + 250 * (partition + 1)], partition)
            workers = [application.start("reduce", slot, state=coming[slot], session_timeout=SHORT) for slot in coming]
            wait_for("all share", partial(have_partitions, workers))
            workers[begin // 1000 % 2].signal(signal.SIGKILL)
            workers[1 - begin // 1000 % 2].signal(signal.SIGTERM)
            for worker in workers:
                worker.wait()
        application.wait_counted()

    hold(application, lines, states=states)


def test_the_next_owner_waits_for_totals_that_came_with_words_of_another_partition(
    application: Application, tmp_path: Path
) -> None:
    # Given a reducer of all partitions that is stopped in a commit whose offsets the broker has, and its totals not yet
    slow = tmp_path / "slow.properties"
    slow.write_text("linger.ms=20000\n")
    lines = prose(1500, seed=5)
    zombie = application.start(
        "reduce",
        crash="stop:after-send-offsets:2",
        session_timeout=SHORT,
        transaction_timeout=LONG,
        kafka_config=slow,
    )
    application.write_mixed(lines[:500], 0)
    wait_for("its first commit", lambda: zombie.report.counters.commits > 0 or stopped(zombie))
    application.write_mixed(lines[500:1000], 0)
    wait_for("it is stopped", lambda: stopped(zombie))

    with Witness(application):
        # When its session is over, and others have its partitions
        others = [
            application.start("reduce", str(n), state=application.elsewhere(n), session_timeout=SHORT) for n in (1, 2)
        ]
        # One may have all of them until the other one has its share.
        wait_for("they share all", lambda: sorted(len(worker.report.partitions) for worker in others) == [2, 2])
        away = next(worker for worker in others if 0 not in worker.report.partitions)
        until = time.monotonic() + 1
        while time.monotonic() < until:
            # Then the one that has none with records in this commit waits as well
            assert not away.ready
            time.sleep(0.02)

        # Until it is committed
        zombie.signal(signal.SIGCONT)
        wait_for("both go on", lambda: all(worker.ready for worker in others))
        application.write_mixed(lines[1000:], 0)
        application.wait_counted()
    hold(application, lines, states=[application.elsewhere(n) for n in (1, 2)])
