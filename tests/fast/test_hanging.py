"""What hangs: how a decision is read and applied, what a worker says of it, and how brokers are asked."""

import struct
from collections.abc import Callable, Iterable

import pytest
from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import outcomes
from wcsup.kafka.addresses import host_and_port
from wcsup.kafka.connection import Connection, Scram
from wcsup.kafka.encoding import Answer, compact_array, compact_string, string
from wcsup.kafka.hanging import Examination, Hanging, told
from wcsup.kafka.outcomes import Decision, decide, partition_of
from wcsup.kafka.requests import Open, Transaction
from wcsup.pipeline.holdup import AGAIN_SECONDS, STILL_SECONDS, Holdup
from wcsup.pipeline.settling import Settling

NAME, OWN = "wcsup-9bfd4b46-map-0", "wcsup-9bfd4b46-map-1"
PLACE = ("words", 3)
OPEN = Open(*PLACE, offset=40, producer=7, epoch=2, coordinator_epoch=0)


def decision(at: int, *, commit: bool, epoch: int = 2, producer: int = 7, place: tuple[str, int] = PLACE) -> Decision:
    return Decision(producer, epoch, commit, frozenset({place, ("words", 9)}), at)


COMMIT, ABORT = decision(100, commit=True), decision(100, commit=False)


@pytest.mark.parametrize(
    ("decisions", "outcome"),
    [
        ([], None),
        ([COMMIT], True),
        ([ABORT], False),
        # what was ended before its first record was written says nothing
        ([decision(10, commit=False), COMMIT], True),
        ([decision(10, commit=True), ABORT], False),
        # a time-out, or the next process: its abort has the next epoch
        ([decision(10, commit=True), decision(100, commit=False, epoch=3)], False),
        # one marker ends both
        ([decision(60, commit=True), COMMIT], True),
        ([decision(60, commit=False), COMMIT], None),
        # clocks of two brokers: the last one is meant
        ([decision(10, commit=False), decision(49, commit=True)], True),
        # of others
        ([decision(100, commit=True, producer=8)], None),
        ([decision(100, commit=True, epoch=1)], None),
        ([decision(100, commit=True, epoch=4)], None),
        ([decision(100, commit=True, place=("words", 4))], None),
    ],
)
def test_what_is_open_ends_as_it_was_decided(decisions: list[Decision], outcome: bool | None) -> None:
    assert decide(OPEN, 50, decisions) is outcome


def test_brokers_that_do_not_verify_take_what_comes_when_all_is_over() -> None:
    assert decide(OPEN, 50, [COMMIT], verified=False) is True
    assert decide(OPEN, 101, [COMMIT], verified=False) is None
    assert decide(OPEN, None, [COMMIT], verified=False) is None


def test_without_its_first_record_the_last_decision_is_meant() -> None:
    assert decide(OPEN, None, [decision(10, commit=False), COMMIT]) is True


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        # As a broker with four partitions had them.
        ("wcsup-9bfd4b46-reduce-0", 0),
        ("wcsup-9bfd4b46-reduce-1", 3),
        ("wcsup-9bfd4b46-map-0", 0),
        ("wcsup-9bfd4b46-map-1", 3),
        ("wcsup-9bfd4b46-map-2", 2),
        ("wcsup-9bfd4b46-map-3", 1),
    ],
)
def test_the_partition_of_a_name_is_the_brokers(name: str, partition: int) -> None:
    assert partition_of(name, 4) == partition


def test_a_decision_is_read_in_both_forms_and_from_nothing_else() -> None:
    key = struct.pack(">h", 0) + string(NAME)
    numbers = struct.pack(">qhib", 7, 2, 10_000, 3)
    times = struct.pack(">qq", 100, 90)
    partitions = [struct.pack(">i", n) for n in (3, 9)]
    old = struct.pack(">h", 0) + numbers + struct.pack(">i", 1) + string("words") + struct.pack(">iii", 2, 3, 9) + times
    topic = compact_string("words") + compact_array(partitions) + b"\0"
    new = struct.pack(">h", 1) + numbers + compact_array([topic]) + times + b"\0"

    assert outcomes._decision(NAME, key, old) == outcomes._decision(NAME, key, new) == ABORT
    assert outcomes._decision(OWN, key, new) is None
    assert outcomes._decision(NAME, key, None) is None, "it was deleted"
    ongoing = struct.pack(">qhib", 7, 2, 10_000, 1)
    assert outcomes._decision(NAME, key, struct.pack(">h", 0) + ongoing + struct.pack(">i", -1) + times) is None
    with pytest.raises(KafkaException, match="BAD_MSG"):
        outcomes._decision(NAME, key, new[:20])


def hanging(
    name: str | None = NAME, *, commit: bool | None = True, replaced: bool = False, partition: int = 3
) -> Hanging:
    return Hanging(name, Open("words", partition, 40, 7, 2, 0), 1e9, commit, replaced)


def test_one_transaction_is_one_sentence() -> None:
    first, second = told([hanging(), hanging(partition=1), hanging(None, commit=None)])
    assert first.startswith(
        f"a transaction of {NAME} (producer id 7, epoch 2) was committed, and hangs since 2001-09-0"
    )
    assert first.endswith("since Kafka did not tell words, partition 1, 3")
    assert second.startswith("a transaction of a forgotten name (producer id 7, epoch 2) was decided, nobody knows how")


class Found(Examination):
    """An examination of brokers that are not there."""

    def __init__(self, *rounds: list[Hanging]) -> None:
        self.rounds = list(rounds)
        self.going_on = []
        self.ended: list[Hanging] = []
        self.taken: list[str] = []

    def find(self, name: str | None = None) -> list[Hanging]:
        return [one for one in self.rounds.pop(0) if name in {None, one.name}]

    def end(self, found: Iterable[Hanging]) -> None:
        self.ended += found

    def replace(self, name: str) -> None:
        self.taken.append(name)

    def close(self) -> None:
        pass


@pytest.fixture
def clock() -> list[float]:
    return [100.0]


def holdup(found: Found, clock: list[float]) -> Holdup:
    return Holdup(Config(), OWN, lambda: None, clock=lambda: clock[0], examine=lambda *_: found)


def test_what_moves_is_not_asked_about(clock: list[float]) -> None:
    looks = holdup(Found(), clock)  # which has no round
    for second in range(60):
        clock[0] += 1
        looks.look([(3, second)])
    for _ in range(60):
        clock[0] += 1
        looks.look(None)


@pytest.mark.parametrize(
    "one", [hanging(replaced=True), hanging(OWN), hanging(None, commit=None, replaced=True)], ids=str
)
def test_what_nobody_else_can_be_writing_to_is_ended_at_once(
    one: Hanging, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    found = Found([one])
    looks = holdup(found, clock)
    looks.look("counts")
    clock[0] += STILL_SECONDS
    looks.look("counts")
    assert found.ended == [one] and not found.taken
    assert "waiting for 5 s: a transaction of" in caplog.text


def test_a_name_is_taken_over_when_nobody_comes(clock: list[float]) -> None:
    one, other = hanging(), hanging("wcsup-9bfd4b46-map-2", partition=5)
    found = Found([one], [one, other], [hanging(replaced=True)])
    looks = holdup(found, clock)
    looks.look("counts")
    clock[0] += STILL_SECONDS
    looks.look("counts")
    assert not found.ended and not found.taken, "its process may be starting"
    clock[0] += AGAIN_SECONDS
    looks.look("counts")
    assert found.taken == [NAME]
    assert found.ended == [hanging(replaced=True)]


def test_what_moves_in_between_is_waited_for_anew(clock: list[float]) -> None:
    found = Found([hanging()], [hanging()])
    looks = holdup(found, clock)
    for what in ("counts", "offsets"):
        looks.look(what)
        clock[0] += AGAIN_SECONDS
        looks.look(what)
    assert not found.taken


def test_what_ends_by_itself_is_said(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    found = Found([])
    found.going_on = [Transaction(NAME, "Ongoing", 7, 2, frozenset({PLACE}))]
    looks = holdup(found, clock)
    looks.look("counts")
    clock[0] += STILL_SECONDS
    looks.look("counts")
    assert f"waiting for 5 s for a transaction of {NAME}, which is Ongoing and ends by its time-out" in caplog.text


class Examined(Examination):
    """An examination that ends nothing."""

    def __init__(self) -> None:
        pass


def test_nothing_is_ended_whose_decision_is_not_known() -> None:
    with pytest.raises(ConfigurationError, match=r"nobody knows how.*wcsup txn settle --as"):
        Examined().end([hanging(), hanging(commit=None)])


@pytest.mark.parametrize(
    ("algorithm", "client", "challenge", "proof", "final"),
    [
        (  # RFC 7677, section 3
            "sha256",
            "rOprNGfwEbeRWgbNEkqO",
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
        (  # RFC 5802, section 5
            "sha1",
            "fyko+d2lbbFgONRv9qkxdawL",
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
    ],
)
def test_scram_is_as_its_rfcs_have_it(
    algorithm: str, client: str, challenge: bytes, proof: bytes, final: bytes
) -> None:
    scram = Scram(algorithm, "user", "pencil", client)
    assert scram.first() == f"n,,n=user,r={client}".encode()
    assert scram.proof(challenge) == proof
    scram.check(final)
    with pytest.raises(KafkaException, match="prove"):
        scram.check(b"v=" + final[2:].swapcase())
    with pytest.raises(KafkaException, match="nonce"):
        Scram(algorithm, "user", "pencil", "another").proof(challenge)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("kafka:9093", ("kafka", 9093)),
        (" PLAINTEXT://kafka:19092", ("kafka", 19092)),
        ("kafka", ("kafka", 9092)),
        ("[::1]:9094", ("::1", 9094)),
        ("[::1]", ("::1", 9092)),
    ],
)
def test_an_address_is_read_as_librdkafka_reads_it(address: str, parts: tuple[str, int]) -> None:
    assert host_and_port(address) == parts


@pytest.mark.parametrize(
    "given",
    [
        {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"},
        {"security.protocol": "SASL_PLAINTEXT"},
        {"security.protocol": "ssl", "ssl.keystore.location": "keys.p12"},
        {"security.protocol": "ssl", "ssl.ca.location": "/no/such/file"},
    ],
    ids=str,
)
def test_what_only_librdkafka_can_do_is_left_to_it(given: dict[str, object]) -> None:
    with pytest.raises(KafkaException, match="_UNSUPPORTED_FEATURE"):
        Connection("127.0.0.1", 9, given)


def test_an_answer_passes_over_what_later_versions_added() -> None:
    answer = Answer(compact_string("words") + b"\x02\x00\x03new\x07\x01!" + struct.pack(">i", 5))
    assert answer.compact_string() == "words"
    answer.tags()
    assert answer.number("i") == 5


def transport() -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TRANSPORT, "no route"))


@pytest.mark.parametrize(
    ("answers", "answered", "calls"),
    [
        ([True], True, 1),
        ([False, False, True], True, 3),
        # brokers are out of reach for anybody: it waits
        ([transport()] * 20 + [True], False, 21),
        # for us alone
        ([transport()] * 20, True, 5),
        ([KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))] * 20 + [True], True, 21),
        ([KafkaException(KafkaError(KafkaError._UNSUPPORTED_FEATURE, "Kerberos"))] * 20, True, 1),
    ],
)
def test_a_transaction_waits_until_it_is_known_what_hangs(
    answers: list[bool | KafkaException], answered: bool, calls: int
) -> None:
    left = list(answers)

    def settle(_config: Config, name: str, _alive: Callable[[], None]) -> bool:
        assert name == OWN
        answer = left.pop(0)
        if isinstance(answer, KafkaException):
            raise answer
        return answer

    settling = Settling(Config(), OWN, lambda: None, settle=settle, sleep=lambda _: None)
    settling.finish(lambda: answered)
    assert len(answers) - len(left) == calls
    assert not settling.due
    settling.finish(lambda: answered)
    settling.look()
    assert len(answers) - len(left) == calls, "until a connection breaks it is known"


def test_without_a_transaction_nothing_is_waited_for() -> None:
    left: list[bool] = [False, True]
    settling = Settling(Config(), OWN, lambda: None, settle=lambda *_: left.pop(0))
    settling.look()
    settling.look()
    assert settling.due and left == [True], "it is asked again a second later"
