"""A proxy between workers and broker that is slow, stalls, cuts, and loses or delays single requests and answers."""

import random
import shutil
import struct
import time
from functools import partial
from itertools import count

import pytest
from application import Application, prose, wait_for
from confluent_kafka import KafkaError
from invariants import Witness, hold
from keeper import Slot, keeping

from wcsup import _core
from wcsup.audit.proxy import Api, Proxy, Trap
from wcsup.pipeline.report import Role

BOTH: list[Slot] = [("map", "0"), ("reduce", "0")]

SHORT = 2.0

PLAIN: dict[str, str] = {}
QUIET = {"log.connection.close": "false"}
"""librdkafka does not log then that a connection broke."""
PATIENT = {"socket.max.fails": "0", "socket.timeout.ms": "1500"}
"""It gives up on a request without breaking its connection."""


def delayed_commit(proxy: Proxy, kafka: dict[str, str]) -> Trap:
    """Have the next commit under way for long; its sender sees that its connection broke or that time is up."""
    return proxy.delay_request(Api.END_TXN) if kafka is PATIENT else proxy.hold_request(Api.END_TXN)


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_lost_answers_of_every_kind_of_request(application: Application, proxy: Proxy, seed: int, role: Role) -> None:
    """What the broker did is done, and the worker does not know."""
    kinds = [
        Api.PRODUCE,
        Api.OFFSET_FETCH,
        Api.HEARTBEAT if application.config.group_protocol == "classic" else Api.CONSUMER_GROUP_HEARTBEAT,
        Api.ADD_PARTITIONS,
        Api.ADD_OFFSETS,
        Api.TXN_OFFSET_COMMIT,
        Api.END_TXN,
        Api.INIT_PRODUCER_ID,
    ]
    random.Random(seed).shuffle(kinds)
    lines = prose(200 * len(kinds) + 200, seed)
    application.start("reduce" if role == "map" else "map")
    with keeping(application, (role, "0"), bootstrap_servers=proxy.address) as keeper, Witness(application):
        application.feed(lines[:200])
        application.wait_counted()
        for number, kind in enumerate(kinds, 1):
            trap = proxy.lose_answer(kind)
            if kind in {Api.OFFSET_FETCH, Api.INIT_PRODUCER_ID}:
                keeper.kill((role, "0"))  # these are sent at a start
            application.feed(lines[200 * number : 200 * (number + 1)])
            wait_for(f"an answer to {kind.name} is lost", trap.sprung.is_set)
            application.wait_counted()
        killed = [end for end in keeper.ends if end[1] == -9]
        assert len(killed) == 2
        assert len(keeper.ends) - len(killed) <= 2, keeper.ends
        assert keeper.aborts() <= len(kinds)
    hold(application, lines)


def test_a_producer_that_nothing_disturbs_is_kept(application: Application, seed: int) -> None:
    """Connections break while it is made, and mean nothing."""
    workers = [application.start("map"), application.start("reduce")]
    lines = prose(400, seed)
    for part in (lines[:200], lines[200:]):
        application.feed(part)
        application.wait_counted()
    wait_for("all tell of it", lambda: all(worker.report.counters.commits > 1 for worker in workers))
    assert not [line for worker in workers for line in worker.log if "new producer epoch" in line]


@pytest.mark.parametrize("kafka", [PLAIN, QUIET, PATIENT], ids=["plain", "quiet", "patient"])
@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_delayed_commit_cannot_end_a_later_transaction(
    application: Application, proxy: Proxy, seed: int, role: Role, kafka: dict[str, str]
) -> None:
    lines = prose(900, seed)
    application.start("reduce" if role == "map" else "map")
    application.start(role, bootstrap_servers=proxy.address, kafka=kafka)
    application.feed(lines[:300])
    application.wait_counted()

    # Given a commit that is under way for long: the worker sends it again, and that one succeeds
    late = delayed_commit(proxy, kafka)
    application.feed(lines[300:600])
    wait_for("a commit is delayed", late.sprung.is_set)
    application.wait_counted()

    # When it arrives in the middle of the next transaction
    middle = proxy.hold_answer(Api.ADD_PARTITIONS)
    application.feed(lines[600:])
    wait_for("the next transaction is under way", middle.sprung.is_set)
    late.release()

    # Then the broker refuses it: the transaction is of a later epoch
    throttled, error = struct.unpack_from(">ih", late.wait_answered())
    assert (throttled, error) in {(0, 47), (0, 90)}, "INVALID_PRODUCER_EPOCH or PRODUCER_FENCED"
    middle.release()
    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize(
    ("dies", "kafka"),
    [(True, PLAIN), (False, PLAIN), (False, QUIET), (False, PATIENT)],
    ids=["dies", "plain", "quiet", "patient"],
)
def test_a_delayed_commit_that_ends_a_question_commits_nothing(
    application: Application, proxy: Proxy, seed: int, *, role: Role, dies: bool, kafka: dict[str, str]
) -> None:
    """A producer asks whether it has been replaced by a transaction, which has the epoch of the commit before it."""
    # The question is about the first partition, of `words` too.
    first = next(
        word for word in (b"a" * n for n in count(1)) if not _core.partition(word, application.config.partitions)
    )
    lines = [first, *prose(300, seed)]
    application.start("reduce" if role == "map" else "map")
    worker = application.start(role, bootstrap_servers=proxy.address, kafka=kafka)

    # Given a commit that is under way for long: the worker sends it again, and that one succeeds
    late = delayed_commit(proxy, kafka)
    asks = proxy.hold_answer(Api.TXN_OFFSET_COMMIT, skip=1)
    application.feed(lines[:1])
    wait_for("a commit is delayed", late.sprung.is_set)

    # When it arrives while the worker asks
    application.feed(lines[1:])
    wait_for("the worker asks", asks.sprung.is_set)
    assert struct.pack(">h", KafkaError.ILLEGAL_GENERATION) in asks.wait_answered(), "its offsets are refused"
    late.release()
    assert struct.unpack_from(">ih", late.wait_answered()) == (0, 0), "the broker takes it"

    # Then the worker goes on, or the next one does, from where the first commit had ended
    if dies:
        worker.kill()
        application.start(role)
    asks.release()
    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize(
    ("kind", "kafka"),
    [(Api.PRODUCE, PLAIN), (Api.END_TXN, PLAIN), (Api.TXN_OFFSET_COMMIT, PLAIN), (Api.END_TXN, PATIENT)],
    ids=["produce", "end", "offsets", "end-patient"],
)
def test_a_delayed_answer(
    application: Application, proxy: Proxy, seed: int, *, role: Role, kind: Api, kafka: dict[str, str]
) -> None:
    """Later than the transaction's time-out: the broker has done it, or given up in between."""
    lines = prose(900, seed)
    application.start("reduce" if role == "map" else "map")
    changes = {"bootstrap_servers": proxy.address, "transaction_timeout": SHORT, "kafka": kafka}
    with keeping(application, (role, "0"), **changes) as keeper, Witness(application):
        application.feed(lines[:300])
        application.wait_counted()
        trap = proxy.hold_answer(kind)
        application.feed(lines[300:600])
        wait_for("an answer is delayed", trap.sprung.is_set)
        released = time.monotonic() + 1.5 * SHORT
        wait_for("it is late", lambda: time.monotonic() > released)
        trap.release()
        application.feed(lines[600:])
        application.wait_counted()
        assert len(keeper.ends) <= 1, keeper.ends
        assert keeper.aborts() <= 2
    hold(application, lines)


def test_a_slow_broker(application: Application, proxy: Proxy, seed: int) -> None:
    lines = prose(2000, seed)
    proxy.slow(0.03)
    with keeping(application, *BOTH, bootstrap_servers=proxy.address) as keeper, Witness(application):
        with application.feeding(lines, rate=1000):
            pass
        application.wait_counted()
        assert keeper.ends == []
        assert keeper.aborts() == 0
    hold(application, lines)


def test_a_start_while_the_broker_stalls_does_not_fence_itself(
    application: Application, proxy: Proxy, seed: int
) -> None:
    # Given a broker that answers nothing while a mapper asks for its producer id, more than once
    lines = prose(600, seed)
    application.start("reduce")
    late = proxy.hold_request(Api.INIT_PRODUCER_ID)
    mapper = application.start("map", bootstrap_servers=proxy.address)
    wait_for("it asks for a producer id", late.sprung.is_set)
    application.feed(lines[:300])
    application.wait_counted()

    # When a request from then arrives, in the middle of a transaction
    middle = proxy.hold_answer(Api.TXN_OFFSET_COMMIT)
    application.feed(lines[300:])
    wait_for("a transaction is under way", middle.sprung.is_set)
    late.release()
    late.wait_answered()
    middle.release()

    # Then nobody else has the name, and the mapper goes on
    wait_for("it goes on", lambda: application.lag().lines == 0)
    assert mapper.process.poll() is None
    hold(application, lines)


@pytest.mark.parametrize("nth", range(6))
def test_a_start_whose_connection_breaks_asks_again(application: Application, proxy: Proxy, nth: int) -> None:
    """Cluster and topics are asked for by several requests; an error of one is no reason to end the whole run."""
    trap = proxy.lose_answer(Api.METADATA, skip=nth)
    mapper = application.start("map", bootstrap_servers=proxy.address)
    wait_for("it is ready or ends", lambda: mapper.ready or mapper.process.poll() is not None)
    assert trap.sprung.is_set()
    assert mapper.ready, mapper.log[-1]


@pytest.mark.parametrize("nth", range(3))
def test_a_restore_whose_connection_breaks_asks_again(
    application: Application, proxy: Proxy, seed: int, nth: int
) -> None:
    """What it would take for the end of `counts` else lies before its start: nothing would be restored."""
    # Given totals whose stores are lost
    lines = prose(2000, seed)
    application.feed(lines[:1000])
    application.start("map")
    first = application.start("reduce")
    application.wait_counted()
    first.kill()
    shutil.rmtree(application.config.state / "stores")

    # When a connection breaks while a new reducer asks where `counts` starts and ends
    trap = proxy.lose_answer(Api.LIST_OFFSETS, skip=nth)
    with keeping(application, ("reduce", "0"), bootstrap_servers=proxy.address) as keeper:
        wait_for("an answer is lost", trap.sprung.is_set)
        application.feed(lines[1000:])
        application.wait_counted()
        assert keeper.ends == []
    hold(application, lines)


def test_a_stalled_broker(application: Application, proxy: Proxy, seed: int) -> None:
    """For longer than sessions and transactions may last."""
    lines = prose(10_000, seed)
    changes = {"bootstrap_servers": proxy.address, "session_timeout": SHORT, "transaction_timeout": SHORT}
    with keeping(application, *BOTH, **changes) as keeper, Witness(application):
        with application.feeding(lines, rate=2000) as feeding:
            wait_for("they work", lambda: all(w.report.counters.commits > 1 for w in keeper.running.values()))
            proxy.stall()
            lagging = application.lag().lines
            wait_for("all lines wait", lambda: not feeding.is_alive())
            proxy.resume()
        assert application.lag().lines >= lagging
        application.wait_counted()
        assert len(keeper.ends) <= 4, keeper.ends
        assert keeper.aborts() <= 6
    hold(application, lines)


def test_connections_are_cut_again_and_again(application: Application, proxy: Proxy, seed: int) -> None:
    rng = random.Random(seed)
    lines = prose(20_000, seed)
    cuts = 20

    def mapped_to(left: int) -> bool:
        return application.lag().lines <= left

    with keeping(application, *BOTH, bootstrap_servers=proxy.address) as keeper, Witness(application):
        for number in range(cuts):
            application.feed(lines[1000 * number : 1000 * (number + 1)])
            written = application.lag().lines
            left = rng.randrange(written + 1)
            wait_for("some of it is mapped", partial(mapped_to, left))
            proxy.cut()
        application.wait_counted()
        assert len(keeper.ends) <= cuts // 4, keeper.ends
        assert keeper.aborts() <= 2 * cuts
    hold(application, lines)


def test_a_broker_out_of_reach(application: Application, proxy: Proxy, seed: int) -> None:
    lines = prose(10_000, seed)
    with keeping(application, *BOTH, bootstrap_servers=proxy.address) as keeper, Witness(application):
        with application.feeding(lines, rate=2500) as feeding:
            wait_for("they work", lambda: all(w.report.counters.commits > 1 for w in keeper.running.values()))
            proxy.shut()
            wait_for("all lines wait", lambda: not feeding.is_alive())
            proxy.reopen()
        application.wait_counted()
        assert len(keeper.ends) <= 2, keeper.ends
        assert keeper.aborts() <= 4
    hold(application, lines)
