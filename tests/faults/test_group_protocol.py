"""Consumer groups of the newer protocol (KIP-848): members are dynamic there, and the broker assigns partitions."""

import random
import signal
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from application import ROLES, Application, WorkerProcess, prose, wait_for
from feeding import fed
from invariants import Witness, hold

from wcsup.errors import ExitStatus
from wcsup.kafka import groups
from wcsup.pipeline.report import Role

LONG = 30.0
"""A session in seconds that no test waits for."""


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
    newer.config = replace(newer.config, session_timeout=LONG)
    groups.set_sessions(newer.admin, newer.config)
    newer.start("reduce" if role == "map" else "map")
    first = newer.start(role)
    with Witness(newer):
        with fed(newer, seed) as lines:
            wait_for("one has all", lambda: owned(first) == 4)

            # When another one comes, and takes its share
            second = newer.start(role, "1", state=newer.elsewhere())
            wait_for("both share", partial(share, first, second))

            # When either is killed and started again, then it has its share back, since the dead member leaves
            for _ in range(2):
                committed = second.report.counters.commits
                wait_for("it commits", lambda: second.report.counters.commits > committed)  # noqa: B023 - called here
                if chance.random() < 0.5:
                    first.kill()
                    first = again = newer.start(role)
                else:
                    second.kill()
                    second = again = newer.start(role, "1", state=newer.elsewhere())
                wait_for("both share", partial(share, first, second))
                assert any("has left it" in line for line in again.log)

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


@dataclass
class Host:
    """A mapper and a reducer with a state directory of their own."""

    application: Application
    number: int
    workers: list[WorkerProcess] = field(default_factory=list)

    def start(self, protocol: str) -> None:
        state = self.application.elsewhere(self.number)
        self.workers = [self.application.start(role, state=state, group_protocol=protocol) for role in ROLES]

    def end(self) -> None:
        """End the workers as `wcsup drain --leave` does."""
        for worker in self.workers:
            worker.signal(signal.SIGINT)
        assert [worker.wait() for worker in self.workers] == [ExitStatus.DONE] * 2

    def owns(self, partitions: int) -> bool:
        return all(owned(worker) == partitions for worker in self.workers)

    def says(self, text: str) -> bool:
        return all(any(text in line for line in worker.log) for worker in self.workers)


def test_an_application_moves_from_one_protocol_to_the_other_and_back_host_by_host(
    application: Application, seed: int
) -> None:
    first, second = Host(application, 1), Host(application, 2)
    with Witness(application), fed(application, seed, 500) as lines:
        first.start("classic")
        wait_for("one has all", lambda: first.owns(4))
        second.start("classic")
        wait_for("both share", lambda: first.owns(2) and second.owns(2))

        # When a host moves on, then it waits for the other one, which has everything meanwhile
        first.end()
        first.start("consumer")
        wait_for("the other one has all", lambda: second.owns(4))
        wait_for("it says so", lambda: first.says("goes on when they are gone"))
        assert not any(worker.ready for worker in first.workers)
        # And can be ended meanwhile
        first.end()
        first.start("consumer")
        wait_for("it says so", lambda: first.says("goes on when they are gone"))
        # And goes on when that one has ended, too
        second.end()
        wait_for("it has all", lambda: first.owns(4))
        second.start("consumer")
        wait_for("both share", lambda: first.owns(2) and second.owns(2))

        # When they move back, then both kinds of members share the partitions
        first.end()
        first.start("classic")
        wait_for("both share", lambda: first.owns(2) and second.owns(2))
        second.end()
        wait_for("the one has all", lambda: first.owns(4))
        second.start("classic")
        wait_for("both share", lambda: first.owns(2) and second.owns(2))
    hold(application, lines, states=[application.elsewhere(1), application.elsewhere(2)])
