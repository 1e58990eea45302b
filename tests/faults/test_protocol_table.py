"""A retriable, an abortable, a fatal, a fencing and an unflagged error at each call of the protocol, in a table."""

import itertools
import logging
import struct
import sys
import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from wcsup._core import Records
from wcsup.config import Config
from wcsup.errors import FencedError, RefusedError, RetryError
from wcsup.kafka import clients, connection, hanging, incarnation
from wcsup.kafka.failures import Failure, classify
from wcsup.kafka.incarnation import Incarnation
from wcsup.pipeline import aside, transaction
from wcsup.pipeline.records import Letter
from wcsup.pipeline.transaction import AbortedError, Outbox, Transactions

RETRIABLE = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "injected", retriable=True)
ABORTABLE = KafkaError(KafkaError.UNKNOWN_MEMBER_ID, "injected", txn_requires_abort=True)
FATAL = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "injected", fatal=True)
FENCED = KafkaError(KafkaError._FENCED, "injected", fatal=True)
UNFLAGGED = KafkaError(KafkaError._STATE, "injected")
REFUSED = KafkaError(KafkaError.INVALID_TIMESTAMP, "injected", txn_requires_abort=True)
CUT_OFF = KafkaError(KafkaError._STATE, "injected", txn_requires_abort=True)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "injected")

METADATA = b"CGMDv2:" + struct.pack("=i", 7) + b"rest"
NEVER_VALID = b"CGMDv2:" + struct.pack("=i", 2**31 - 1) + b"rest"


class FakeProducer:
    """Fails each call as often as it is told to, and keeps a record of all calls."""

    def __init__(self, errors: dict[str, list[KafkaError]]) -> None:
        self._errors = errors
        self.calls: list[str] = []
        self.disturbed = False
        self.broken = False
        self.failure: tuple[str, KafkaError] | None = None

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self._errors.get(name):
            raise KafkaException(self._errors[name].pop(0))

    def init_transactions(self, _timeout: float) -> None:
        self._called("init")

    def begin_transaction(self) -> None:
        self._called("begin")

    def write(self, _topic: str, records: Records, start: int, stop: int) -> int:
        assert records[start] == (3, b"abc"[start : start + 1], b"1")
        self.calls.append("write")
        if not self._errors.get("write"):
            return stop - start
        error = self._errors["write"].pop(0)
        if error.code() != KafkaError._QUEUE_FULL:
            raise KafkaException(error)
        return 1

    def produce(self, *_: object, **__: object) -> None:
        if self._errors.get("post") and self._errors["post"][0].code() == KafkaError._QUEUE_FULL:
            self.calls.append("post")
            self._errors["post"].pop()
            raise BufferError
        self._called("post")

    def settle(self, seconds: float, left: int = 0) -> None:
        assert seconds > 0
        assert left >= 0

    def written(self) -> dict[tuple[str, int], int]:
        return {("words", 3): 7}

    def failed(self) -> tuple[str, KafkaError] | None:
        return self.failure

    def unanswered(self) -> bool:
        return self.disturbed

    def broke(self) -> bool:
        broken, self.broken = self.broken, False
        return broken

    def list_topics(self, *_: object) -> None:
        pass

    def poll(self, _timeout: float) -> None:
        pass

    def __len__(self) -> int:
        return 0

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: bytes) -> None:
        assert offsets
        self._called({METADATA: "offsets", NEVER_VALID: "offsets to refuse"}[metadata])

    def commit_transaction(self, timeout: float) -> None:
        assert timeout == transaction._SLICE_SECONDS
        self._called("commit")

    def abort_transaction(self, timeout: float) -> None:
        assert timeout == transaction._SLICE_SECONDS
        self._called("abort")


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask nobody for what hangs, nor who has the name: there is no broker. See test_hanging.py and test_zombies.py."""
    monkeypatch.setattr(hanging, "settle", lambda *_: True)
    monkeypatch.setattr(incarnation, "current", lambda *_: None)


@pytest.fixture
def attempt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[str]]]:
    """Commit one batch with errors injected; return what came of it and the calls that were made."""

    def run(errors: dict[str, list[KafkaError]], metadata: bytes = METADATA) -> tuple[str, list[str]]:
        producer = FakeProducer(errors)
        monkeypatch.setattr(clients, "transactional_producer", lambda *_: producer)
        monkeypatch.setattr(transaction, "_RETRY_PAUSE", 0)
        retained: list[object] = []
        outbox = Outbox(
            records=[("words", Records([(3, b"a", b"1"), (3, b"b", b"1"), (3, b"c", b"1")]))],
            letters=[Letter(None, b"odd", [])],
            offsets=[TopicPartition("lines", 0, 5)],
        )
        transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
        try:
            transactions.start()
            transactions.commit(outbox, metadata, retained.append)
        except (AbortedError, FencedError, RetryError, RefusedError) as error:
            assert not retained, "nothing is kept of a batch that is not known to be committed"
            return type(error).__name__, producer.calls
        assert retained == [{("words", 3): 7}]
        return "committed", producer.calls

    return run


WHOLE = ["init", "begin", "write", "post", "offsets", "commit"]


def up_to(call: str, *then: str) -> list[str]:
    return [*WHOLE[: WHOLE.index(call) + 1], *then]


def again(call: str) -> list[str]:
    return up_to(call, *WHOLE[WHOLE.index(call) :])


CALLS = ["init", "begin", "offsets", "commit"]
GIVEN = ["write", "post"]

TABLE = [
    *[(call, RETRIABLE, "committed", again(call)) for call in CALLS],
    *[(call, ABORTABLE, "AbortedError", up_to(call, "abort")) for call in CALLS[1:]],
    *[(call, FATAL, "RetryError", up_to(call)) for call in CALLS],
    *[(call, FENCED, "FencedError", up_to(call)) for call in CALLS],
    *[(call, UNFLAGGED, "RetryError", up_to(call)) for call in CALLS],
    # A record is taken or not; whether the producer lives on is for the abort to tell.
    *[(call, KafkaError(KafkaError._STATE), "AbortedError", up_to(call, "abort")) for call in GIVEN],
    *[(call, KafkaError(KafkaError._FATAL), "AbortedError", up_to(call, "abort")) for call in GIVEN],
    # What is refused for good is given up like anything else, and said.
    *[(call, TOO_LARGE, "RefusedError", up_to(call, "abort")) for call in GIVEN],
    *[(call, REFUSED, "RefusedError", up_to(call, "abort")) for call in CALLS[1:]],
    ("init", REFUSED, "RefusedError", up_to("init")),
    *[(call, KafkaError(KafkaError._QUEUE_FULL), "committed", again(call)) for call in GIVEN],
]


@pytest.mark.parametrize(
    ("call", "error", "outcome", "calls"), TABLE, ids=[f"{error.name()}-at-{call}" for call, error, _, _ in TABLE]
)
def test_an_error_at_each_call(
    attempt: Callable[..., tuple[str, list[str]]], call: str, error: KafkaError, outcome: str, calls: list[str]
) -> None:
    assert attempt({call: [error]}) == (outcome, calls)


@pytest.mark.parametrize(
    ("why", "outcome"),
    [(REFUSED, "RefusedError"), (ABORTABLE, "AbortedError"), (CUT_OFF, "AbortedError")],
    ids=["refused", "aborted", "it does not tell"],
)
def test_offsets_that_a_refusal_cut_off_are_asked_why(
    attempt: Callable[..., tuple[str, list[str]]], why: KafkaError, outcome: str
) -> None:
    assert attempt({"offsets": [CUT_OFF, why]}) == (outcome, up_to("offsets", "offsets", "abort"))


def test_a_retriable_error_is_retried_for_as_long_as_it_comes(attempt: Callable[..., tuple[str, list[str]]]) -> None:
    outcome, calls = attempt({"commit": [RETRIABLE] * 50})
    assert outcome == "committed"
    assert calls.count("commit") == 51


@pytest.mark.parametrize("call", ["init", "commit", "abort"])
def test_a_call_that_lasts_is_waited_for_and_is_no_disturbance(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """librdkafka goes on with it in the background; what had no answer is told by `unanswered`."""
    lasts = KafkaError(KafkaError._TIMED_OUT, "injected", retriable=True)
    # `init` is made by four producers for a moment each, and then waited for
    count = 4 + 3 if call == "init" else 3
    producer = FakeProducer({call: [lasts] * count, **({"offsets": [ABORTABLE]} if call == "abort" else {})})
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: producer)
    alive: list[None] = []
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0", lambda: alive.append(None))
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    transactions.start()
    if call == "abort":
        with pytest.raises(AbortedError):
            transactions.commit(outbox, METADATA, lambda _: None)
    else:
        for _ in range(2):
            transactions.commit(outbox, METADATA, lambda _: None)
        assert "abort" not in producer.calls, "it is not asked whether its name was taken"
    assert producer.calls.count(call) == count + (2 if call == "commit" else 1)
    assert len(alive) >= 3


ONE, ANOTHER = Incarnation(7, 1), Incarnation(7, 2)


@pytest.mark.parametrize(
    ("seen", "made"),
    [
        pytest.param([ONE, ANOTHER, ANOTHER, ANOTHER], True, id="nobody-came"),
        pytest.param([ONE, ANOTHER, Incarnation(7, 3)], False, id="a-later-one-came"),
        pytest.param([ONE, ANOTHER, Incarnation(8, 0)], False, id="a-later-one-came-and-epochs-were-used-up"),
        pytest.param([ONE, ANOTHER, None, ANOTHER], True, id="not-known-now"),
        pytest.param([ONE, None, ANOTHER], True, id="not-known-before"),
    ],
)
def test_a_fenced_producer_is_replaced_where_none_was_made_since(
    monkeypatch: pytest.MonkeyPatch, seen: list[Incarnation | None], made: bool
) -> None:
    """`seen` is what the coordinator has after the start, when it fences, before the next start, and after it."""
    answers = iter(seen)
    monkeypatch.setattr(incarnation, "current", lambda *_: next(answers))
    producers = [FakeProducer({"offsets": [FENCED]}), FakeProducer({})]
    left = iter(producers)
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(left))
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    transactions.start()
    with pytest.raises(FencedError):
        transactions.commit(outbox, METADATA, lambda _: None)
    if made:
        transactions.commit(outbox, METADATA, lambda _: None)
        assert producers[1].calls == ["init", "begin", "offsets", "commit"]
    else:
        with pytest.raises(FencedError, match="producer id 7 with epoch 2 was replaced"):
            transactions.commit(outbox, METADATA, lambda _: None)
        assert not producers[1].calls
        assert not transactions.started
    assert list(answers) == []


class Stuck:
    """Two producers; the first one's offsets wait until a gate is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, reached: bool, gate_at: int) -> None:
        monkeypatch.setattr(aside, "_SLICE_SECONDS", 0.01)
        monkeypatch.setattr(transaction, "_BREAK_SECONDS", 0.03)
        monkeypatch.setattr(transaction, "_OFFSETS_SECONDS", 0.05)
        monkeypatch.setattr(connection, "break_all", self.connect)
        self.first, self.next = FakeProducer({}), FakeProducer({})
        self.gate, self.connected, self._gate_at, self._waits = threading.Event(), 0, gate_at, itertools.count()
        producers = iter([self.first, self.next])
        monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(producers))
        monkeypatch.setattr(self.first, "send_offsets_to_transaction", lambda *_: self.gate.wait())
        config = Config(bootstrap_servers="nowhere:1", transaction_timeout=0.05)
        self.transactions = Transactions(config, "wcsup-test-map-0", self._alive, reached=lambda: reached)
        self.transactions.start()

    def connect(self) -> None:
        self.connected += 1

    def _alive(self) -> None:
        if next(self._waits) == self._gate_at:
            self.gate.set()

    def commit(self) -> None:
        self.transactions.commit(Outbox(offsets=[TopicPartition("lines", 0, 5)]), METADATA, lambda _: None)


@pytest.mark.parametrize("reached", [True, False])
def test_offsets_that_wait_though_brokers_answer_have_it_connect_anew(
    monkeypatch: pytest.MonkeyPatch, reached: bool
) -> None:
    stuck = Stuck(monkeypatch, reached=reached, gate_at=4 if reached else 30)
    stuck.commit()
    assert stuck.first.calls == ["init", "begin", "commit"], "an abort would abort what hangs of the one before, too"
    assert stuck.connected == int(reached), "it waits for as long as nobody answers"


def test_offsets_that_are_never_taken_are_sent_by_a_new_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(monkeypatch, reached=True, gate_at=1000)
    with pytest.raises(AbortedError, match="a new producer sends them"):
        stuck.commit()
    assert not stuck.transactions.started
    stuck.commit()
    stuck.gate.set()
    assert stuck.first.calls == ["init", "begin"], "it can't abort, nor be asked anything"
    assert stuck.next.calls == ["init", "begin", "offsets", "commit"]


def test_a_question_that_is_never_answered_is_not_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(monkeypatch, reached=True, gate_at=1000)
    stuck.first.disturbed = True
    stuck.commit()
    stuck.gate.set()
    assert stuck.first.calls == ["init", "begin"], "librdkafka refuses an abort while offsets are being sent"
    assert stuck.next.calls == ["init", "begin", "offsets", "commit"]


@pytest.mark.parametrize(
    ("at_abort", "outcome"),
    [(RETRIABLE, "AbortedError"), (ABORTABLE, "AbortedError"), (FATAL, "AbortedError"), (FENCED, "FencedError")],
)
def test_an_error_of_the_abort(
    attempt: Callable[..., tuple[str, list[str]]],
    caplog: pytest.LogCaptureFixture,
    at_abort: KafkaError,
    outcome: str,
) -> None:
    with caplog.at_level(logging.INFO):
        assert attempt({"offsets": [ABORTABLE], "abort": [at_abort]})[0] == outcome
    assert "rebalanced: the batch is read again" in caplog.text


def test_a_refused_transaction_that_the_coordinator_does_not_know_is_refused(
    attempt: Callable[..., tuple[str, list[str]]],
) -> None:
    unknown = KafkaError(KafkaError.INVALID_TXN_STATE, "injected", fatal=True)
    assert attempt({"offsets": [REFUSED], "abort": [unknown]}) == ("RefusedError", up_to("offsets", "abort"))
    assert attempt({"offsets": [ABORTABLE], "abort": [unknown]}) == ("AbortedError", up_to("offsets", "abort"))


@pytest.mark.parametrize("first", [ABORTABLE, REFUSED])
def test_of_an_abort_that_is_refused_the_refusal_is_told(
    attempt: Callable[..., tuple[str, list[str]]], first: KafkaError
) -> None:
    assert attempt({"offsets": [first], "abort": [REFUSED]}) == ("RefusedError", up_to("offsets", "abort"))


def test_a_producer_that_a_refusal_ended_is_replaced_without_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    code = KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    ended = KafkaError(code, "injected", fatal=True)
    first, refused = FakeProducer({"offsets": [ended], "abort": [ended]}), FakeProducer({"init": [ended]})
    last = FakeProducer({})
    producers = iter([first, refused, last])
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(producers))
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    transactions.start()
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"kafka-acls\.sh.*--operation Write --transactional-id wcsup-"):
            transactions.commit(outbox, METADATA, lambda _: None)
        assert not transactions.started
    transactions.commit(outbox, METADATA, lambda _: None)
    assert transactions.started
    calls = [first.calls, refused.calls, last.calls]
    assert calls == [["init", "begin", "offsets"], ["init"], ["init", "begin", "offsets", "commit"]]


def test_the_topic_of_records_that_a_broker_refused_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "ProduceRequest for my.words [3] with 1 message(s) failed: Broker: Invalid timestamp (broker 1)"
    error = KafkaError(KafkaError.INVALID_TIMESTAMP, text, txn_requires_abort=True)
    producer = FakeProducer({"offsets": [error]})
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: producer)
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    transactions.start()
    with pytest.raises(RefusedError, match=r"--topic my\.words "):
        transactions.commit(Outbox(offsets=[TopicPartition("lines", 0, 5)]), METADATA, lambda _: None)


def test_an_abort_for_records_that_were_refused_tells_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`2 message(s) failed delivery` is all that librdkafka says of it where the commit itself meets it."""
    producer = FakeProducer({"commit": [KafkaError(KafkaError._INCONSISTENT, "injected", txn_requires_abort=True)]})
    producer.failure = "my.counts", KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: producer)
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    transactions.start()
    with pytest.raises(RefusedError, match=r"topic my\.counts takes no record that large"):
        transactions.commit(Outbox(offsets=[TopicPartition("lines", 0, 5)]), METADATA, lambda _: None)
    assert producer.calls[-1] == "abort"


def test_the_producer_of_an_aborted_transaction_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    aborted, next_one = FakeProducer({"offsets": [ABORTABLE]}), FakeProducer({})
    producers = iter([aborted, next_one])
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(producers))
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    transactions.start()
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    with pytest.raises(AbortedError):
        transactions.commit(outbox, METADATA, lambda _: None)
    transactions.commit(outbox, METADATA, lambda _: None)
    # But to ask whether its name was taken meanwhile, which sends no records, and offsets that are refused.
    assert aborted.calls == ["init", "begin", "offsets", "abort", "begin", "offsets to refuse", "abort"]
    assert next_one.calls == ["init", "begin", "offsets", "commit"]


@pytest.mark.parametrize("what", ["disturbed", "broken"])
def test_a_producer_whose_request_had_no_answer_or_whose_connection_broke_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    first, next_one = FakeProducer({}), FakeProducer({})
    producers = iter([first, next_one])
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(producers))
    transactions = Transactions(Config(bootstrap_servers="nowhere:1"), "wcsup-test-map-0")
    transactions.start()
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    transactions.commit(outbox, METADATA, lambda _: None)
    setattr(first, what, True)
    for _ in range(2):
        transactions.commit(outbox, METADATA, lambda _: None)
    commit = ["begin", "offsets", "commit"]
    assert first.calls == ["init", *commit, "begin", "offsets to refuse", "abort"]
    assert next_one.calls == ["init", *commit, *commit]


def test_that_a_transaction_was_overdue_is_known_until_its_producer_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka fences its producer then, which the question for its name meets: nobody else has to have the name."""
    overdue, next_one = FakeProducer({"offsets": [ABORTABLE]}), FakeProducer({})
    producers = iter([overdue, next_one])
    monkeypatch.setattr(clients, "transactional_producer", lambda *_: next(producers))
    config = Config(bootstrap_servers="nowhere:1", transaction_timeout=1e-9)
    transactions = Transactions(config, "wcsup-test-map-0")
    transactions.start()
    outbox = Outbox(offsets=[TopicPartition("lines", 0, 5)])
    known = [transactions.overdue]
    with pytest.raises(AbortedError):
        transactions.commit(outbox, METADATA, lambda _: None)
    known.append(transactions.overdue)
    transactions.commit(outbox, METADATA, lambda _: None)
    assert next_one.calls == ["init", "begin", "offsets", "commit"]
    assert [*known, transactions.overdue] == [False, True, False]


def test_a_member_that_has_not_joined_commits_nothing(attempt: Callable[..., tuple[str, list[str]]]) -> None:
    assert attempt({}, b"CGMDv2:" + struct.pack("=i", -1)) == ("AbortedError", ["init"])
    assert attempt({}, b"CGMDv9:" + struct.pack("=i", 1)) == ("RetryError", ["init"])
    assert sys.byteorder == "little", "the format is the machine's own"


@pytest.mark.parametrize(
    ("code", "flags", "failure"),
    [
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, {"retriable": True}, Failure.RETRY),
        (KafkaError._TIMED_OUT, {"retriable": True}, Failure.RETRY),
        (KafkaError._TIMED_OUT, {"txn_requires_abort": True}, Failure.ABORT),
        (KafkaError.ILLEGAL_GENERATION, {"txn_requires_abort": True}, Failure.ABORT),
        (KafkaError.UNKNOWN_MEMBER_ID, {"txn_requires_abort": True}, Failure.ABORT),
        (KafkaError.FENCED_INSTANCE_ID, {"txn_requires_abort": True}, Failure.ABORT),
        (KafkaError.FENCED_INSTANCE_ID, {}, Failure.FENCED),
        (KafkaError.FENCED_INSTANCE_ID, {"fatal": True}, Failure.FENCED),
        (KafkaError.INVALID_PRODUCER_EPOCH, {"fatal": True}, Failure.FENCED),
        (KafkaError.PRODUCER_FENCED, {}, Failure.FENCED),
        (KafkaError._FENCED, {"fatal": True}, Failure.FENCED),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, {"fatal": True}, Failure.REFUSED),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, {"txn_requires_abort": True}, Failure.REFUSED),
        (KafkaError._FATAL, {}, Failure.UNKNOWN),
        # None of librdkafka's flags: the outcome is unknown.
        (KafkaError._STATE, {}, Failure.UNKNOWN),
        (KafkaError._TIMED_OUT, {}, Failure.UNKNOWN),
        (KafkaError._TRANSPORT, {}, Failure.UNKNOWN),
        (KafkaError.UNKNOWN, {}, Failure.UNKNOWN),
    ],
)
def test_what_an_error_means(code: int, flags: dict[str, bool], failure: Failure) -> None:
    assert classify(KafkaError(code, "injected", **flags)) is failure


def test_a_consumer_s_fatal_error_is_told_by_its_text() -> None:
    text = f"Fatal error: {KafkaError(KafkaError.FENCED_INSTANCE_ID).str()}"
    assert classify(KafkaError(KafkaError._FATAL, text, fatal=True)) is Failure.FENCED
    assert classify(KafkaError(KafkaError._FATAL, "Fatal error: something else", fatal=True)) is Failure.UNKNOWN
