"""What brokers refuse under a run: rights taken away, a password changed, a limit. It is tried for a while, and said.

A real broker with ACLs. Each worker has a user of its own, and waits as long as in earnest: so they do it side by side.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from application import Application, WorkerProcess, prose, wait_for
from invariants import hold
from secured import Door, SecuredBroker
from shell import Shell

from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.kafka import rights
from wcsup.kafka.rights import Right
from wcsup.pipeline.patience import REFUSED_SECONDS
from wcsup.pipeline.report import Role

_PASSWORD, _ANOTHER = "open-sesame-8", "open-sesame-9"
TOPIC, GROUP, NAME = "topic", "group", "transactional-id"
READ, WRITE = "READ", "WRITE"


@dataclass(frozen=True)
class Case:
    """A right that a worker needs."""

    role: Role
    right: Callable[[Config], Right]
    restores: bool = False
    """Whether the worker starts on an empty state directory when it is gone."""
    protocol: str = "classic"
    """--group-protocol of the workers."""


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
    "READ group map, KIP-848": Case("map", lambda config: Right(GROUP, config.map_group, READ), protocol="consumer"),
    "READ topic words, KIP-848": Case(
        "reduce", lambda config: Right(TOPIC, config.topic("words"), READ), protocol="consumer"
    ),
}


LINES = prose(100, 1)
_END_SECONDS = 4 * REFUSED_SECONDS
"""How long a worker may take to end: a busy machine refuses it late."""
ROLES: tuple[Role, Role] = ("map", "reduce")


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
        secured.set_password(name, _PASSWORD)
        secured.allow(self.rights(), name)

    def rights(self) -> list[Right]:
        """All that workers need."""
        return rights.by_purpose(self.config)["wcsup run and its workers"]

    def start(self, role: Role, door: Door = Door.SCRAM, **changes: Any) -> WorkerProcess:
        kafka = self.secured.client(door, user=self.user, password=_PASSWORD)
        return self.application.start(role, kafka=kafka, bootstrap_servers=self.secured.address(door), **changes)

    def count(self, lines: list[bytes]) -> None:
        """Have lines counted that are none yet, and wait for it."""
        self.application.feed(lines)
        self.application.wait_counted()

    def take(self, right: Right) -> None:
        self.secured.take(right, user=self.user)

    def allow(self, right: Right) -> None:
        self.secured.allow([right], self.user)

    def lock_out(self) -> None:
        """Give the user another password."""
        self.secured.set_password(self.user, _ANOTHER)

    def let_in(self) -> None:
        """Give the user its password back."""
        self.secured.set_password(self.user, _PASSWORD)


Ended = tuple[Guarded, list[tuple[int, str]]]
"""The application, and of each worker its status and log."""


def said(worker: WorkerProcess) -> str:
    """The lines of its log that are no ordinary ones."""
    return "\n".join(line for line in worker.log if '"level": "info"' not in line)


def refuse(guarded: Guarded, case: Case, lines: list[bytes]) -> WorkerProcess:
    """Return a worker that counted the first half of the lines, and to which a right is refused then."""
    application = guarded.application
    workers = {role: guarded.start(role, group_protocol=case.protocol) for role in ROLES}
    worker = workers[case.role]
    half = len(lines) // 2
    guarded.count(lines[:half])
    if case.restores:
        worker.kill()
    guarded.take(case.right(guarded.config))
    if case.restores:
        worker = guarded.start(case.role, state=application.elsewhere(), group_protocol=case.protocol)
    application.feed(lines[half:])
    waits(worker)
    return worker


def waits(worker: WorkerProcess) -> None:
    """Wait until a worker says that it is refused something, and is not ready for it."""
    wait_for("it says so", lambda: "trying again" in said(worker))
    wait_for("it is not ready", lambda: not worker.ready)


def goes_on(worker: WorkerProcess) -> None:
    """Wait until a worker is ready that was refused something."""
    wait_for("it is ready", lambda: worker.ready)
    assert any("refused no more" in line for line in worker.log)
    assert worker.process.poll() is None


def gone_for_good(guarded: Guarded, name: str) -> list[WorkerProcess]:
    return [refuse(guarded, CASES[name], LINES)]


def locked_out(guarded: Guarded, _: str) -> list[WorkerProcess]:
    """Return workers that count behind a door where the password is asked for again every few seconds."""
    workers = [guarded.start(role, Door.SHORT) for role in ROLES]
    guarded.count(LINES[:50])
    guarded.lock_out()
    guarded.application.feed(LINES[50:])
    for worker in workers:
        waits(worker)
    return workers


def unusual(guarded: Guarded, name: str) -> list[WorkerProcess]:
    """Return workers with a time-out that the brokers don't allow."""
    changes: dict[str, Any] = dict(TIME_OUTS[name][0])
    workers = [guarded.start(role, **changes) for role in ROLES]
    for worker in workers:
        waits(worker)
    return workers


TIME_OUTS = {
    "a short session": ({"session_timeout": 1.0}, "a session of 1 s (--session-timeout)"),
    "a long transaction": ({"transaction_timeout": 1000.0}, "transactions of 1000 s (--transaction-timeout)"),
}


def run_to_its_end(guarded: Guarded, place: Path) -> tuple[int, str]:
    """Return how `wcsup run` ended whose mapper was refused a right, and was not ready before; and what it said."""
    place.mkdir()
    file = place / "client.properties"
    settings = guarded.secured.client(Door.SCRAM, user=guarded.user, password=_PASSWORD)
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    address = guarded.secured.address(Door.SCRAM)
    wcsup = Shell(replace(guarded.config, bootstrap_servers=address, kafka_config=file), place)
    process = wcsup.start("run --mappers 1 --reducers 1 --plain")
    try:
        wcsup.wait_ready()
        guarded.take(CASES["WRITE topic words"].right(guarded.config))
        guarded.application.feed(LINES)
        wait_for("it is not ready", lambda: not wcsup.status()["ready"])
        _, err = process.communicate(timeout=_END_SECONDS)
    finally:
        wcsup.stop()
    return process.returncode, err.decode()


SCENES: dict[str, Callable[[Guarded, str], list[WorkerProcess]]] = {
    **dict.fromkeys(CASES, gone_for_good),
    "another password": locked_out,
    **dict.fromkeys(TIME_OUTS, unusual),
}
"""What leads to workers that are refused something for good."""


@pytest.fixture(scope="module")
def ended(secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ended]]:
    """How the workers of each scene ended: all wait side by side."""
    place = tmp_path_factory.mktemp("refused")
    guarded = {name: Guarded(secured, place / str(number), f"gone{number}") for number, name in enumerate(SCENES)}

    run = Guarded(secured, place / "run", "gone-run")

    def wait(name: str) -> Ended:
        workers = SCENES[name](guarded[name], name)
        return guarded[name], [(worker.wait(_END_SECONDS), said(worker)) for worker in workers]

    with ExitStack() as ends, ThreadPoolExecutor(len(SCENES) + 1) as threads:
        for one in guarded.values():
            ends.callback(one.application.stop)
        futures = {name: threads.submit(wait, name) for name in SCENES}
        of_run = threads.submit(run_to_its_end, run, place / "shell")
        yield {name: future.result() for name, future in futures.items()} | {"a run": (run, [of_run.result()])}


@pytest.mark.parametrize("name", CASES)
def test_a_right_that_is_gone_for_good_ends_a_worker_and_is_named(ended: dict[str, Ended], name: str) -> None:
    guarded, [(status, log)] = ended[name]
    assert status == ExitStatus.CONFIGURATION, log
    right = CASES[name].right(guarded.config)
    command = rf"kafka-acls\.sh .* --operation {right.operation.title()} .*--{right.kind} {right.name}( |$|\")"
    assert re.search(f"does not allow user {guarded.user} to .*{command}", log.splitlines()[-1]), log


def test_a_run_ends_with_its_worker_and_says_why(ended: dict[str, Ended]) -> None:
    _, [(status, err)] = ended["a run"]
    assert status == ExitStatus.CONFIGURATION, err
    assert "does not allow user gone-run to WRITE topic gone-run.words: kafka-acls.sh" in err.splitlines()[-1], err


def test_another_password_ends_workers_that_say_so(ended: dict[str, Ended]) -> None:
    guarded, workers = ended["another password"]
    for status, log in workers:
        assert status == ExitStatus.CONFIGURATION, log
        assert f"does not let user {guarded.user} in" in log.splitlines()[-1], log
        assert _PASSWORD not in log


@pytest.mark.parametrize("name", TIME_OUTS)
def test_a_time_out_that_the_brokers_do_not_allow_ends_workers_that_say_so(ended: dict[str, Ended], name: str) -> None:
    for status, log in ended[name][1]:
        assert status == ExitStatus.CONFIGURATION, log
        assert TIME_OUTS[name][1] in log.splitlines()[-1], log


@pytest.fixture
def guard(secured: SecuredBroker, tmp_path: Path) -> Iterator[Callable[[str], Guarded]]:
    """Make as many applications as a test wants."""
    with ExitStack() as ends:

        def make(name: str) -> Guarded:
            guarded = Guarded(secured, tmp_path / name, name)
            ends.callback(guarded.application.stop)
            return guarded

        yield make


@pytest.mark.long
def test_a_right_that_is_given_back_in_time_is_waited_for(guard: Callable[[str], Guarded]) -> None:
    guarded = {name: guard(f"back{number}") for number, name in enumerate(CASES)}

    def check(name: str) -> None:
        one, case = guarded[name], CASES[name]
        worker = refuse(one, case, LINES)
        one.allow(case.right(one.config))
        one.application.wait_counted()
        goes_on(worker)

    def check_password() -> None:
        workers = locked_out(locked, "")
        locked.let_in()
        locked.application.wait_counted()
        for worker in workers:
            goes_on(worker)

    locked = guard("locked")
    with ThreadPoolExecutor(len(CASES) + 1) as threads:
        for future in [*[threads.submit(check, name) for name in CASES], threads.submit(check_password)]:
            future.result()
    for one in [*guarded.values(), locked]:
        hold(one.application, LINES)


DRAINED = ["WRITE topic words", "WRITE transactional-id", "WRITE topic counts", "READ topic counts"]


def test_a_worker_that_is_refused_drains_and_loses_nothing(guard: Callable[[str], Guarded]) -> None:
    guarded = {name: guard(f"drained{number}") for number, name in enumerate(DRAINED)}

    def check(name: str) -> None:
        one, case = guarded[name], CASES[name]
        worker = refuse(one, case, LINES)
        assert worker.drain() == ExitStatus.DONE, said(worker)
        one.allow(case.right(one.config))
        one.start(case.role)
        one.application.wait_counted()

    with ThreadPoolExecutor(len(DRAINED)) as threads:
        list(threads.map(check, DRAINED))
    for one in guarded.values():
        hold(one.application, LINES)
