"""Consumer groups of the newer protocol (KIP-848): members are dynamic there, and the broker assigns partitions."""

import random
import signal
from dataclasses import replace
from functools import partial
from typing import get_args

import pytest
from application import Application, WorkerProcess, prose, wait_for
from feeding import fed
from invariants import Witness, hold

from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

ROLES: tuple[Role, ...] = get_args(Role)


@pytest.fixture
def newer(application: Application) -> Application:
    application.config = replace(application.config, group_protocol="consumer")
    return application


def owned(worker: WorkerProcess) -> int:
    """Return of how many partitions a worker has read all that it needs."""
    return len(worker.report.partitions) if worker.ready else 0


def share(first: WorkerProcess, second: WorkerProcess) -> bool:
    return owned(first) == owned(second) == 2


@pytest.mark.parametrize("role", ROLES)
def test_workers_are_killed_come_and_go_under_load(newer: Application, seed: int, role: Role) -> None:
    chance = random.Random(seed)
    newer.start("reduce" if role == "map" else "map")
    first = newer.start(role)
    with Witness(newer):
        with fed(newer, seed) as lines:
            wait_for("one has all", lambda: owned(first) == 4)

            # When another one comes, and takes its share
            second = newer.start(role, "1", state=newer.elsewhere())
            wait_for("both share", partial(share, first, second))

            # When either is killed and started again, which has its share back when the dead member's session is over
            for _ in range(2):
                committed = second.report.counters.commits
                wait_for("it commits", lambda: second.report.counters.commits > committed)  # noqa: B023 - called here
                if chance.random() < 0.5:
                    first.kill()
                    first = newer.start(role)
                else:
                    second.kill()
                    second = newer.start(role, "1", state=newer.elsewhere())
                wait_for("both share", partial(share, first, second))

            # When one ends, however it is told to, then the other has everything at once
            second.signal(chance.choice([signal.SIGTERM, signal.SIGINT]))
            assert second.wait() == ExitStatus.DONE
            wait_for("one has all", lambda: owned(first) == 4)
        newer.wait_counted()
    hold(newer, lines, states=[newer.elsewhere()])


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_is_fenced_by_another_one_of_its_name(newer: Application, seed: int, role: Role) -> None:
    lines = prose(2000, seed)
    newer.start("reduce" if role == "map" else "map")
    older = newer.start(role)
    newer.feed(lines[:1000])
    wait_for("its first commit", lambda: older.report.counters.commits > 0)
    with Witness(newer):
        successor = newer.start(role)
        wait_for("it is at work", lambda: successor.report.beat > 0)
        newer.feed(lines[1000:])
        assert older.wait() == ExitStatus.FENCED
        wait_for("it has all", lambda: owned(successor) == 4)
        newer.wait_counted()
    hold(newer, lines)
