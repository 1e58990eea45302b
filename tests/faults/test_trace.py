"""Traces of real workers as behaviours of the specification, and forged traces, which are none."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from application import ROLES, Application, have_partitions, prose, stopped, wait_for
from keeper import Slot, keeping
from proof.check import departure, tlc
from proof.traces import Line, NotATraceError, read, translate

from wcsup.errors import ExitStatus
from wcsup.kafka import clients
from wcsup.pipeline.report import Role
from wcsup.state.directory import open_directory

RECORDED = Path(__file__).parents[1] / "proof" / "recorded.jsonl"
"""Two mappers of a real run. The second has taken over from the first, which stood still with a batch in hand; when the
first went on, its batch was refused, and one of the second's by the rebalance."""

SHORT = 1.5
"""A session in seconds that a test waits for."""

Forge = Callable[[list[Line]], list[Line]]


@pytest.fixture(autouse=True)
def classic() -> None:
    if os.environ.get("PROTOCOL") == "consumer":
        pytest.skip("the specification has a classic group of static members")


@pytest.fixture(scope="module")
def jar() -> Path:
    return tlc()


def test_real_workers_do_what_the_specification_does(application: Application, jar: Path, tmp_path: Path) -> None:
    # Given a mapper that is killed when its offsets are sent, one that takes its place, and a reducer
    trace = tmp_path / "trace.jsonl"
    lines = prose(2000, seed=1)
    application.start("reduce", trace=trace)
    killed = application.start("map", crash="after-send-offsets:2", trace=trace)
    application.feed(lines[:500])
    wait_for("it commits", lambda: killed.report.counters.commits or killed.process.poll() is not None)
    application.feed(lines[500:1000])
    killed.wait()
    first = application.start("map", trace=trace)
    application.wait_counted()

    # When another mapper and another reducer share the work, and all end
    others = [application.start(role, "1", trace=trace) for role in ROLES]
    wait_for("all have partitions", lambda: have_partitions([first, *others]))
    application.feed(lines[1000:])
    application.wait_counted()
    for worker in application.workers:
        if worker.process.poll() is None:
            worker.drain()

    # Then all that they did is a behaviour of the specification
    for role in ROLES:
        steps, line = departure(read(trace), role, jar)
        assert line is None, read(trace)[line - 1]
        assert steps > 20


@pytest.mark.long
@pytest.mark.parametrize("role", ROLES)
def test_a_zombie_does_what_the_specification_does(
    application: Application, jar: Path, tmp_path: Path, role: Role
) -> None:
    # Given a worker that stands still with a batch in hand, until another one has its partitions and has counted it
    trace = tmp_path / "trace.jsonl"
    lines = prose(2000, seed=1)
    application.start("reduce" if role == "map" else "map")
    zombie = application.start(role, crash="stop:after-produce:2", trace=trace, session_timeout=SHORT)
    application.feed(lines[:100])
    wait_for("it commits", lambda: zombie.report.counters.commits or stopped(zombie))
    application.feed(lines[100:1000])
    wait_for("it is stopped", lambda: stopped(zombie))
    other = application.start(role, "1", state=application.elsewhere(), trace=trace, session_timeout=SHORT)
    application.wait_counted()

    # When it goes on
    zombie.signal(signal.SIGCONT)
    wait_for("it has lost its partitions", lambda: any(" lost" in line for line in zombie.log))
    wait_for("both have partitions", lambda: have_partitions([zombie, other]))
    application.feed(lines[1000:])
    application.wait_counted()
    assert (zombie.drain(), other.drain()) == (0, 0)

    # Then all that they did is a behaviour of the specification
    _, line = departure(read(trace), role, jar)
    assert line is None, read(trace)[line - 1]


@pytest.mark.long
def test_a_process_whose_name_is_taken_does_what_the_specification_does(
    application: Application, jar: Path, tmp_path: Path
) -> None:
    # Given a mapper, one that takes its name, and one that was fenced by no successor
    trace = tmp_path / "trace.jsonl"
    application.make_topics()
    name = open_directory(application.config).name(application.config, "map", "0")
    earlier = application.start("map", trace=trace)
    application.feed(prose(200, seed=1))
    wait_for("all is mapped", lambda: application.lag().lines == 0)
    later = application.start("map", trace=trace)
    assert earlier.wait() == ExitStatus.FENCED

    # When the later one goes on with a new producer
    clients.transactional_producer(application.config, name).init_transactions(30)
    application.feed(prose(200, seed=2))
    wait_for("all is mapped", lambda: application.lag().lines == 0)
    assert any("going on" in line for line in later.log)
    assert later.drain() == ExitStatus.DONE

    # Then both did what the specification does
    assert [line["successor"] for line in read(trace) if line["step"] == "verdict"] == [True, False]
    _, line = departure(read(trace), "map", jar)
    assert line is None, read(trace)[line - 1]


@pytest.mark.long
def test_workers_that_are_killed_do_what_the_specification_does(
    application: Application, jar: Path, tmp_path: Path, seed: int
) -> None:
    # Given two workers of each role
    trace, rng, rounds = tmp_path / "trace.jsonl", random.Random(seed), 8
    lines = prose(100 * rounds, seed)
    slots: list[Slot] = [(role, number) for role in ROLES for number in "01"]
    with keeping(application, *slots, trace=trace) as kept:
        wait_for("all have partitions", lambda: have_partitions(kept.running.values()))

        # When one after the other is killed at any moment
        for k in range(rounds):
            application.feed(lines[100 * k : 100 * (k + 1)])
            time.sleep(rng.random() / 2)
            kept.kill(rng.choice(slots))
        application.wait_counted()

    # Then all that they did is a behaviour of the specification
    for role in ROLES:
        _, line = departure(read(trace), role, jar)
        assert line is None, read(trace)[line - 1]


def test_the_recorded_trace_is_a_behaviour(jar: Path) -> None:
    steps, line = departure(read(RECORDED), "map", jar)
    assert line is None
    assert steps == 67


def where(lines: list[Line], step: str, slot: str, nth: int = 1) -> int:
    """Return the index of the n-th line of a slot that has this step."""
    return [k for k, line in enumerate(lines) if (line["step"], line["slot"]) == (step, slot)][nth - 1]


def without(step: str, slot: str, nth: int = 1) -> Forge:
    def forge(lines: list[Line]) -> list[Line]:
        gone = where(lines, step, slot, nth)
        return lines[:gone] + lines[gone + 1 :]

    return forge


def changed(step: str, slot: str, nth: int, **what: object) -> Forge:
    def forge(lines: list[Line]) -> list[Line]:
        at = where(lines, step, slot, nth)
        return [*lines[:at], {**lines[at], **what}, *lines[at + 1 :]]

    return forge


def swapped(lines: list[Line]) -> list[Line]:
    """Return the lines with the first commit before its offsets."""
    at = where(lines, "offsets", "map-0")
    sent, committed = lines[at], lines[at + 1]
    return [*lines[:at], {**committed, "at": sent["at"]}, {**sent, "at": committed["at"]}, *lines[at + 2 :]]


def not_renewed(lines: list[Line]) -> list[Line]:
    """Return the lines as of a worker that goes on with the producer of an aborted transaction."""
    lines = changed("begin", "map-1", 3, producer="usable")(lines)
    return without("producer", "map-1", 2)(without("asked", "map-1")(lines))


def not_fenced(lines: list[Line]) -> list[Line]:
    """Return the lines as of a broker that takes offsets of an earlier generation."""
    at = where(lines, "abort", "map-0")
    begin = lines[where(lines, "begin", "map-0", 2)]
    more = [{**lines[at], "step": "offsets", "offsets": begin["offsets"]}, {**lines[at], "step": "commit"}]
    return [*lines[:at], *more, *lines[at + 1 :]]


@pytest.mark.parametrize(
    ("forge", "place"),
    [
        pytest.param(swapped, ("commit", "map-0", 1), id="steps-swapped"),
        pytest.param(without("offsets", "map-0"), ("commit", "map-0", 1), id="a-commit-without-offsets"),
        pytest.param(without("assigned", "map-1"), ("found", "map-1", 1), id="a-partition-that-nobody-gave"),
        pytest.param(without("abort", "map-1"), ("revoked", "map-1", 1), id="a-batch-in-hand-at-a-release"),
        pytest.param(without("asked", "map-1"), ("producer", "map-1", 2), id="a-new-producer-without-the-question"),
        pytest.param(not_renewed, ("begin", "map-1", 3), id="no-renewal-after-an-abort"),
        pytest.param(not_fenced, ("offsets", "map-0", 2), id="offsets-of-an-earlier-generation"),
        pytest.param(
            changed("found", "map-1", 1, offsets={"0": 0, "1": 25, "2": 25, "3": 25}),
            ("found", "map-1", 1),
            id="an-offset-before-the-committed-one",
        ),
        pytest.param(
            changed("offsets", "map-0", 1, offsets={"0": 25, "1": 25, "2": 25, "3": 50}),
            ("offsets", "map-0", 1),
            id="offsets-beyond-the-batch",
        ),
        pytest.param(
            changed("produced", "map-0", 1, records={"words": 4, "positions": 0}),
            ("produced", "map-0", 1),
            id="no-positions",
        ),
    ],
)
def test_a_forged_trace_is_refused_where_it_departs(jar: Path, forge: Forge, place: tuple[str, str, int]) -> None:
    lines = forge(read(RECORDED))
    _, line = departure(lines, "map", jar)
    assert line == where(lines, *place) + 1


def test_what_is_no_trace_is_told(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.write_text("")
    other.write_text("some text\n")
    for path, why in ((empty, "no step"), (other, "not a trace"), (tmp_path / "missing", "not a trace")):
        with pytest.raises(NotATraceError, match=why):
            read(path)
    with pytest.raises(NotATraceError, match="no worker of the role reduce"):
        translate(read(RECORDED), "reduce")
