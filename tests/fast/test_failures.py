"""The table of Kafka's errors knows all of them."""

import ctypes
from collections import Counter

import pytest
from confluent_kafka import KafkaError, cimpl

from wcsup.errors import ExitStatus
from wcsup.kafka import failures
from wcsup.kafka.failures import TABLE, Failure, cause, classify, meaning


class Description(ctypes.Structure):
    """`rd_kafka_err_desc` of librdkafka."""

    _fields_ = [("code", ctypes.c_int), ("name", ctypes.c_char_p), ("text", ctypes.c_char_p)]


def described() -> dict[int, str]:
    """Return the name of each code that the library knows which confluent-kafka has loaded."""
    library = ctypes.CDLL(cimpl.__file__)  # a symbol is looked for in what it depends on, too
    begin, count = ctypes.POINTER(Description)(), ctypes.c_size_t()
    library.rd_kafka_get_err_descs(ctypes.byref(begin), ctypes.byref(count))
    found = {begin[place].code: (begin[place].name or b"").decode() for place in range(count.value)}
    # The first and the last are no errors, and the array has a gap for each number that is none.
    return {code: name for code, name in found.items() if name and not name.startswith(("_BEGIN", "_END"))}


def test_every_code_that_librdkafka_has_is_known() -> None:
    known = described()
    assert len(known) > 150
    assert {name for code, name in known.items() if code not in TABLE} == set()


def test_every_code_that_confluent_kafka_has_is_known() -> None:
    named = {name: getattr(KafkaError, name) for name in dir(KafkaError)}
    assert {name for name, code in named.items() if isinstance(code, int) and code not in TABLE} == set()


def test_no_code_has_two_meanings() -> None:
    times = Counter(name for names in failures._NAMES.values() for name in names.split())
    assert {name for name, count in times.items() if count > 1} == set()


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failure.REFUSED, ExitStatus.CONFIGURATION),
        (Failure.SILENT, ExitStatus.BROKER_UNREACHABLE),
        (Failure.FENCED, ExitStatus.FENCED),
        (Failure.UNKNOWN, ExitStatus.RETRY),
    ],
)
def test_what_a_process_ends_with(failure: Failure, status: ExitStatus) -> None:
    assert failure.status is status


@pytest.mark.parametrize(
    "flags", [{"txn_requires_abort": True}, {"retriable": True}, {"fatal": True}, {}], ids=lambda flags: str([*flags])
)
@pytest.mark.parametrize(
    "code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED]
)
def test_a_refusal_stays_one_whatever_librdkafka_makes_of_it(code: int, flags: dict[str, bool]) -> None:
    assert classify(KafkaError(code, "injected", **flags)) is Failure.REFUSED


@pytest.mark.parametrize("code", [code for code, failure in TABLE.items() if failure is not Failure.REFUSED])
def test_without_a_flag_an_outcome_is_unknown(code: int) -> None:
    found = classify(KafkaError(code, "injected"))
    assert found is (Failure.FENCED if TABLE[code] is Failure.FENCED else Failure.UNKNOWN)


@pytest.mark.parametrize(
    "code",
    [KafkaError.FENCED_INSTANCE_ID, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.GROUP_MAX_SIZE_REACHED],
)
def test_the_cause_of_a_consumer_s_fatal_error_is_in_its_text(code: int) -> None:
    text = f"Fatal error: ConsumerGroupHeartbeat fatal error: {KafkaError(code).str()}"
    error = KafkaError(KafkaError._FATAL, text, fatal=True)
    assert cause(error) == code
    assert meaning(error) is TABLE[code]


def test_a_code_that_nobody_knows_has_an_unknown_outcome() -> None:
    error = KafkaError(9999, "from the future")
    assert meaning(error) is classify(error) is Failure.UNKNOWN
