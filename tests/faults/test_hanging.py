"""Transactions that are decided, and whose markers Kafka drops since their partitions have no leader at that moment.

Which it does: these tests would notice a Kafka that does not (`lose_markers` has something hang, or fails).
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from application import Application, WorkerProcess, prose, stopped, wait_for
from confluent_kafka import KafkaException
from fixtures import configuration
from invariants import hold
from pair import Pair
from shell import Shell

from wcsup.audit.checks import Health
from wcsup.audit.doctor import Doctor
from wcsup.audit.proxy import Api
from wcsup.kafka.hanging import OFFSETS, Examination, Hanging
from wcsup.kafka.requests import Brokers
from wcsup.pipeline.report import Role
from wcsup.state.directory import open_directory


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two nodes, of which the one with the partitions may be killed."""
    made = Pair(tmp_path_factory.mktemp("pair"))
    try:
        made.create()
        yield made
    finally:
        made.end()


@pytest.fixture
def application(pair: Pair, tmp_path: Path) -> Iterator[Application]:
    config = configuration(pair.address, tmp_path / "state")
    pair.make_topics(config)
    under_test = Application(config)
    under_test.make_topics()
    yield under_test
    under_test.stop()


def paragraph(lines: int, seed: int) -> list[bytes]:
    """Return lines of prose, the second half of them in one line."""
    text = prose(lines, seed)
    return [*text[: lines // 2], b" ".join(text[lines // 2 :])]


def prepare(application: Application, role: Role, lines: list[bytes]) -> None:
    """Have all lines but the last one counted, and input of that one for a worker of this role, alone at work then.

    One line is one batch: the transaction of a second one would end what hangs of the first one, if begun in time.
    """
    application.feed(lines[:-1])
    mapper, reducer = application.start("map"), application.start("reduce")
    application.wait_counted()
    reducer.drain()
    if role == "map":
        mapper.drain()
    application.feed(lines[-1:])
    if role == "reduce":
        wait_for("all lines are mapped", lambda: application.lag().lines == 0)
        mapper.drain()


def lose_markers(
    pair: Pair,
    application: Application,
    role: Role,
    *,
    dies: bool = True,
    commit: bool = True,
    next_lines: Sequence[bytes] = (),
) -> WorkerProcess:
    """Start a worker; when its first transaction is decided, kill its partitions' node before they are told of it.

    `next_lines` are there for the transaction after it.
    """
    name = name_of(application, role)
    # Where it is not to die it keeps its membership, and its next transaction, for longer than a node takes to come
    # back on a busy machine.
    patience: dict[str, Any] = {} if dies else {"session_timeout": 60.0, "transaction_timeout": 60.0}
    worker = application.start(role, crash="stop:after-send-offsets", **patience)
    wait_for("a transaction is about to be committed", lambda: stopped(worker))
    application.feed(next_lines)
    lost = pair.proxy.refuse_requests(Api.WRITE_TXN_MARKERS)
    if commit:
        worker.signal(signal.SIGCONT)
    else:
        worker.kill()
        worker = application.start(role)  # which has it aborted, and waits for that
    wait_for("it is decided", lambda: state(application, name).startswith("Prepare"))
    pair.proxy.shut()
    if dies:
        worker.kill()
    pair.partitions.kill()
    # Its next one may be under way at once.
    wait_for("Kafka drops the markers", lambda: not state(application, name).startswith("Prepare"))
    pair.proxy.disarm(lost)
    pair.revive()
    return worker


def state(application: Application, name: str) -> str:
    """Return how far its coordinator is with a transaction."""
    with closing(Brokers(application.config)) as brokers:
        found = brokers.transaction(brokers.layout([]), name)
        return "" if found is None else found.state


def name_of(application: Application, role: Role) -> str:
    return open_directory(application.config).name(application.config, role, "0")


def hanging(application: Application, *, ended: str | None = None) -> list[Hanging]:
    """Return what hangs, once that can be seen; with the topic `ended` what hangs in it is ended."""
    found: list[Hanging] = []

    def look() -> bool:
        nonlocal found
        try:
            with closing(Examination(application.config)) as examination:
                found = examination.find()
                examination.end(one for one in found if one.open.topic == ended)
        except KafkaException:  # its leaders are elected
            return False
        return True

    wait_for("it can be seen what hangs", look)
    return found


def said(worker: WorkerProcess, *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in worker.log)


def finish(application: Application, lines: list[bytes], role: Role, *, states: list[Path] | None = None) -> None:
    """Give it more lines, and the worker that is missing; all has to be exact then."""
    more = prose(500, len(lines))
    application.feed(more)
    application.start("reduce" if role == "map" else "map", "9")
    application.wait_led()
    hold(application, lines + more, states=states or [])


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_commit_that_hangs_is_ended_by_the_next_process(
    pair: Pair, application: Application, seed: int, role: Role
) -> None:
    lines = paragraph(500, seed)
    prepare(application, role, lines)
    lose_markers(pair, application, role)
    found = hanging(application)
    assert {one.name for one in found} == {name_of(application, role)}
    assert {one.commit for one in found} == {True}
    assert OFFSETS in {one.open.topic for one in found}

    successor = application.start(role)

    wait_for("it is ready", lambda: successor.ready)
    assert said(successor, "was committed, and hangs", "that was made good for")
    assert not hanging(application)
    finish(application, lines, role)


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_commit_that_hangs_is_ended_by_its_own_process(
    pair: Pair, application: Application, seed: int, role: Role
) -> None:
    """Without input, too: others wait for it."""
    lines = paragraph(500, seed)
    prepare(application, role, lines)

    worker = lose_markers(pair, application, role, dies=False)

    wait_for("it ends it", lambda: said(worker, "was committed, and hangs", "that was made good for"))
    assert not hanging(application)
    finish(application, lines, role)
    assert not worker.report.counters.aborts


def test_a_commit_that_hangs_may_be_ended_by_the_commit_that_follows(
    pair: Pair, application: Application, seed: int
) -> None:
    """The next transaction may begin before its worker hears of the broken connection; its markers are commits, too."""
    lines, more = paragraph(500, seed), prose(2_000, seed + 1)
    prepare(application, "map", lines)

    worker = lose_markers(pair, application, "map", dies=False, next_lines=more)

    wait_for("nothing hangs", lambda: not hanging(application))
    finish(application, lines + more, "map")
    assert not worker.report.counters.aborts


def test_an_abort_that_hangs_stays_an_abort(pair: Pair, application: Application, seed: int) -> None:
    lines = paragraph(500, seed)
    prepare(application, "reduce", lines)
    lose_markers(pair, application, "reduce", commit=False)
    assert {one.commit for one in hanging(application)} == {False}

    successor = application.start("reduce")

    wait_for("it is ready", lambda: successor.ready)
    assert said(successor, "was aborted, and hangs", "that was made good for")
    finish(application, lines, "reduce")


def test_the_next_transaction_does_not_end_what_hangs(pair: Pair, application: Application, seed: int) -> None:
    """The marker of its commit would have an aborted batch counted, which it counts itself."""
    lines = paragraph(500, seed)
    prepare(application, "map", lines)
    lose_markers(pair, application, "map", commit=False)

    # Given words that hang, and a group that waits for nothing
    hanging(application, ended=OFFSETS)
    assert application.config.topic("words") in {one.open.topic for one in hanging(application)}

    application.start("map")
    finish(application, lines, "map")


@pytest.mark.long
@pytest.mark.parametrize("waits", ["map", "reduce"])
def test_what_hangs_of_a_name_that_is_gone_is_ended_by_who_waits_for_it(
    pair: Pair, application: Application, seed: int, waits: Role
) -> None:
    """A mapper waits for an offset, and a reducer for words."""
    lines = paragraph(500, seed)
    prepare(application, "map", lines)
    lose_markers(pair, application, "map")

    other = application.start(waits, state=application.elsewhere())

    wait_for("it says what it waits for", lambda: said(other, "waiting for", name_of(application, "map")))
    wait_for("it ends it", lambda: said(other, "taking its name over") and not hanging(application))
    finish(application, lines, waits, states=[application.elsewhere()])


def test_the_doctor_names_what_hangs_and_what_ends_it(
    pair: Pair, application: Application, seed: int, tmp_path: Path
) -> None:
    lines = paragraph(500, seed)
    prepare(application, "map", lines)
    lose_markers(pair, application, "map")
    config, wcsup = application.config, Shell(application.config, tmp_path)

    doctor = Doctor(config)
    failed = [check for check in doctor.examine() if check.health is Health.FAILED]

    assert [check.name for check in failed] == ["hanging"]
    [one] = {(one.name, one.open.producer, one.open.epoch) for one in doctor.hanging}
    assert f"{one[0]} (producer id {one[1]}, epoch {one[2]}) was committed, and hangs since 20" in failed[0].message
    assert f"{config.map_group} waits for its offset of {config.topic('lines')}, partition " in failed[0].message
    assert "wcsup txn settle" in failed[0].message
    assert not doctor.open, "what would abort it is not advised"

    done = wcsup("txn settle")
    assert done.status == 0, done.err
    assert f"ended: a transaction of {name_of(application, 'map')}" in done.out
    assert wcsup("txn settle").out == "nothing hangs\n"
    assert not [check for check in Doctor(config).examine() if check.health is Health.FAILED]
    application.start("map")
    finish(application, lines, "map")
