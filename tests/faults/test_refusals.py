"""What brokers refuse under a run: rights taken away, a password changed, a limit. It is tried for a while, and said.

A real broker with ACLs. Each worker has a user of its own, and waits as long as in earnest: so they do it side by side.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from application import Application, WorkerProcess, prose, wait_for
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType
from invariants import hold
from secured import Door, Right, SecuredBroker

from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.kafka import rights
from wcsup.pipeline.patience import REFUSED_SECONDS
from wcsup.pipeline.report import Role

PASSWORD = "open-sesame-8"
TOPIC, GROUP, NAME = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
READ, WRITE = AclOperation.READ, AclOperation.WRITE


@dataclass(frozen=True)
class Case:
    """A right that a worker needs."""

    role: Role
    right: Callable[[Config], Right]
    restores: bool = False
    """Whether the worker starts on an empty state directory when it is gone."""


CASES = {
    "READ topic lines": Case("map", lambda config: Right(TOPIC, config.topic("lines"), READ)),
    "WRITE topic words": Case("map", lambda config: Right(TOPIC, config.topic("words"), WRITE)),
    "WRITE topic positions": Case("map", lambda config: Right(TOPIC, config.topic("positions"), WRITE)),
    "READ group map": Case("map", lambda config: Right(GROUP, config.map_group, READ)),
    "WRITE transactional-id": Case("map", lambda config: Right(NAME, f"{config.app_id}-", WRITE, prefix=True)),
    "READ topic words": Case("reduce", lambda config: Right(TOPIC, config.topic("words"), READ)),
    "WRITE topic counts": Case("reduce", lambda config: Right(TOPIC, config.topic("counts"), WRITE)),
    "WRITE topic top": Case("reduce", lambda config: Right(TOPIC, config.topic("top"), WRITE)),
    "READ group reduce": Case("reduce", lambda config: Right(GROUP, config.reduce_group, READ)),
    "READ topic counts": Case("reduce", lambda config: Right(TOPIC, config.topic("counts"), READ), restores=True),
}


class Guarded:
    """An application on a broker that lets each of its workers in by a user's password, and asks for rights."""

    def __init__(self, secured: SecuredBroker, place: Path, name: str) -> None:
        self.secured, self.user = secured, name
        place.mkdir()
        self.config = Config(
            bootstrap_servers=secured.address(),
            app_id=name,
            topic_prefix=f"{name}.",
            state_dir=place / "state",
            partitions=2,
        )
        self.application = Application(self.config)
        self.application.make_topics()
        secured.set_password(name, PASSWORD)
        secured.allow(self.rights(), name)

    def rights(self) -> list[Right]:
        """All that workers need."""
        config = self.config
        topics = [
            Right(TOPIC, right.name, AclOperation[right.operation])
            for right in [*rights.of_run(config), *rights.checked(config, ["lines", "words", "counts", "dead-letters"])]
        ]
        groups = [Right(GROUP, group, READ) for group in (config.map_group, config.reduce_group)]
        return [*topics, *groups, Right(NAME, f"{config.app_id}-", WRITE, prefix=True)]

    def start(self, role: Role, door: Door = Door.SCRAM, **changes: object) -> WorkerProcess:
        kafka = self.secured.client(door, user=self.user, password=PASSWORD)
        return self.application.start(role, kafka=kafka, bootstrap_servers=self.secured.address(door), **changes)

    def take(self, right: Right) -> None:
        self.secured.take(right, user=self.user)

    def allow(self, right: Right) -> None:
        self.secured.allow([right], self.user)


def said(worker: WorkerProcess) -> str:
    """The lines of its log that are no ordinary ones."""
    return "\n".join(line for line in worker.log if '"level": "info"' not in line)


@pytest.fixture
def guard(secured: SecuredBroker, tmp_path: Path) -> Iterator[Callable[[str], Guarded]]:
    made: list[Guarded] = []

    def make(name: str) -> Guarded:
        made.append(Guarded(secured, tmp_path / name, name))
        return made[-1]

    yield make
    for one in made:
        one.application.stop()


def refuse(guarded: Guarded, case: Case, lines: list[bytes]) -> WorkerProcess:
    """Return a worker that counted the first half of the lines, and to which a right is refused then."""
    application, right = guarded.application, case.right(guarded.config)
    workers = {"map": guarded.start("map"), "reduce": guarded.start("reduce")}
    worker = workers[case.role]
    half = len(lines) // 2
    application.feed(lines[:half])
    application.wait_counted()
    wait_for("it is ready", lambda: worker.ready)
    if case.restores:
        worker.kill()
    guarded.take(right)
    if case.restores:
        worker = guarded.start(case.role, state=application.elsewhere())
    application.feed(lines[half:])
    wait_for("it says so", lambda: "trying again" in said(worker))
    wait_for("it is not ready", lambda: not worker.ready)
    return worker


def at_once(call: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(call, names))


def test_each_right_that_is_gone_for_good_ends_a_worker_and_is_named(
    guard: Callable[[str], Guarded], seed: int
) -> None:
    lines = prose(100, seed)
    guarded = {name: guard(f"gone{number}") for number, name in enumerate(CASES)}

    def check(name: str) -> None:
        worker = refuse(guarded[name], CASES[name], lines)
        assert worker.wait(2 * REFUSED_SECONDS) == ExitStatus.CONFIGURATION, said(worker)
        right = CASES[name].right(guarded[name].config)
        kind = {TOPIC: "topic", GROUP: "group", NAME: "transactional-id"}[right.kind]
        command = rf"kafka-acls\.sh .* --operation {right.operation.name.title()} .*--{kind} {re.escape(right.name)}"
        assert re.search(f"does not allow user {guarded[name].user} to .*{command}", worker.log[-1]), said(worker)

    at_once(check, list(CASES))


def test_a_right_that_is_given_back_in_time_is_waited_for(guard: Callable[[str], Guarded], seed: int) -> None:
    lines = prose(100, seed)
    guarded = {name: guard(f"back{number}") for number, name in enumerate(CASES)}

    def check(name: str) -> None:
        worker = refuse(guarded[name], CASES[name], lines)
        guarded[name].allow(CASES[name].right(guarded[name].config))
        guarded[name].application.wait_counted()
        wait_for("it is ready", lambda: worker.ready)
        assert worker.process.poll() is None
        assert "refused no more" in worker.log[-1] or any("refused no more" in line for line in worker.log)

    at_once(check, list(CASES))
    for one in guarded.values():
        hold(one.application, lines)
