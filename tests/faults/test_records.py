"""Records as strangers write them, and words and lines around every limit: nothing stops or loops a worker."""

import struct
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from application import Application, prose, wait_for
from confluent_kafka import KafkaException, Producer
from invariants import check_counts, check_stable, check_stores, hold
from reference import recount

from wcsup import _core
from wcsup.errors import ExitStatus
from wcsup.kafka import clients, topics
from wcsup.pipeline.report import Role

MAGIC = b"WCSUP\0\0\x01"


def total(value: bytes | None) -> int:
    assert value is not None
    return int.from_bytes(value, "big")


def count(number: int) -> bytes:
    return struct.pack(">q", number)


def stranger(application: Application) -> Producer:
    """Return a transactional producer that follows no rule of the application's."""
    config = application.config
    patient = replace(config, transaction_timeout=120.0)
    producer = clients.transactional_producer(patient, f"{config.app_id}-stranger")
    producer.init_transactions()
    return producer


MALFORMED_WORDS = {
    "no key and no value": (None, None),
    "no key": (None, count(5)),
    "an empty value": (b"w", b""),
    "a 4-byte value": (b"w", b"\0\0\0\1"),
    "a 7-byte value": (b"w", b"1234567"),
    "a 9-byte value": (b"w", b"123456789"),
    "a text": (b"w", b"one hundred and three"),
    "packed words of no version": (b"\0", b"WCSUP\0\0\0" + b"\1a\1"),
    "packed words cut off in a length": (b"\0", MAGIC + b"\x80"),
    "packed words cut off in a word": (b"\0", MAGIC + b"\5abc"),
    "packed words cut off before a count": (b"\0", MAGIC + b"\3abc"),
    "packed words out of order": (b"\0", MAGIC + b"\1b\1" + b"\1a\1"),
    "packed words twice": (b"\0", MAGIC + b"\1a\1" + b"\1a\1"),
    "a packed count of too many bytes": (b"\0", MAGIC + b"\1a" + b"\xff" * 10 + b"\1"),
    "a key longer than a word may be": (b"k" * (_core.MAX_WORD_BYTES + 1), count(1)),
}


def test_every_malformed_record_of_words_becomes_one_dead_letter(application: Application, seed: int) -> None:
    # Given lines, and records of strangers between them
    lines = prose(1000, seed)
    application.feed(lines[:500])
    application.write("words", MALFORMED_WORDS.values(), partition=0)

    # When all is counted
    application.start("map")
    reducer = application.start("reduce")
    application.feed(lines[500:])
    application.wait_counted()

    # Then each of them is a dead letter, as it was
    letters = [(key, value) for _, key, value, _ in application.read("dead-letters")]
    assert Counter(letters) == Counter(MALFORMED_WORDS.values())
    reasons = [dict(headers)["error"] for _, _, _, headers in application.read("dead-letters")]
    assert all(reasons)
    wait_for("they are counted", lambda: reducer.report.counters.dead_letters == len(MALFORMED_WORDS))
    hold(application, lines)


def test_packed_words_of_a_newer_version_wait_for_it(application: Application, seed: int) -> None:
    # Given lines, and a record of words as a later version may write them
    lines = prose(200, seed)
    application.write("words", [(b"\0", b"WCSUP\0\0\x03" + b"\1a\1")], partition=1)

    # When a reducer comes to it, then it ends and says what to do; nothing of it is counted, or is a dead letter
    application.start("map")
    reducer = application.start("reduce")
    application.feed(lines)
    assert reducer.wait() == ExitStatus.CONFIGURATION
    assert any("a newer wcsup wrote (partition 1, offset " in line and "upgrade wcsup" in line for line in reducer.log)
    assert not dead(application)


@pytest.mark.parametrize("number", [2**63 - 1, 2**62, -(2**63)])
def test_counts_that_overflow_a_total_become_dead_letters(application: Application, seed: int, number: int) -> None:
    """They are well formed, but each try to add them would fail."""
    # Given totals, and forged counts of a word
    lines = prose(200, seed)
    word = b"overflowing"
    application.start("map")
    reducer = application.start("reduce")
    application.feed([*lines[:100], word])
    application.wait_counted()
    for _ in range(3):
        application.write("words", [(word, count(number))])
        application.wait_counted()
    application.feed(lines[100:])
    application.wait_counted()

    # Then what does not fit is in the dead letters, to the last one, and all else is counted
    assert reducer.process.poll() is None
    letters = [(key, int.from_bytes(value or b"", "big", signed=True)) for _, key, value, _ in dead(application)]
    assert letters and {key for key, _ in letters} == {word}
    found = {key: int.from_bytes(value or b"", "big", signed=True) for _, key, value, _ in application.read("counts")}
    assert found.pop(word) == 1 + 3 * number - sum(letter for _, letter in letters)
    assert found == recount(lines)


def dead(application: Application) -> list[tuple[int, bytes | None, bytes | None, list[tuple[str, bytes]]]]:
    return list(application.read("dead-letters"))


MALFORMED_COUNTS = [
    (b"neverwritten", None),
    (b"neverwritten", b""),
    (b"neverwritten", b"12345"),
    (b"neverwritten", b"a text as long as you like"),
]
"""With a key, each of them: without one a compacted topic takes no record, nor any other of its batch."""


def test_malformed_records_of_counts_are_passed_over_by_a_restore(application: Application, seed: int) -> None:
    lines = prose(1000, seed)
    application.feed(lines[:500])
    application.start("map")
    first = application.start("reduce")
    application.wait_counted()
    first.kill()
    for partition in range(4):
        application.write("counts", MALFORMED_COUNTS, partition)

    elsewhere = application.config.state.parent / "elsewhere"
    second = application.start("reduce", state=elsewhere)
    application.feed(lines[500:])
    application.wait_counted()

    assert second.process.poll() is None
    found = {key: value for _, key, value, _ in application.read("counts") if key != b"neverwritten"}
    assert {key: total(value) for key, value in found.items()} == recount(lines)
    application.stop()
    assert check_stores(application, elsewhere) == 4


@pytest.mark.parametrize("topic", ["lines", "words", "counts"])
def test_transactions_of_strangers(application: Application, seed: int, topic: str) -> None:
    # Given an aborted transaction in a topic, and one that is open
    lines = prose(1000, seed)
    one = stranger(application)
    wrong = b"wrong", count(1000)
    for end in (one.abort_transaction, None):
        one.begin_transaction()
        for partition in range(4):
            one.produce(application.config.topic(topic), wrong[1], wrong[0], partition=partition)
        one.flush()
        if end:
            end()
    application.feed(lines)

    # When workers start behind it, then they wait for its end, alive
    application.start("map")
    reducer = application.start("reduce")
    beat = reducer.report.beat
    wait_for("they go round", lambda: reducer.report.beat > beat + 20)
    assert list(application.read("counts", until=topics.stable_ends)) == []

    # And when it is aborted, all is counted and none of it
    one.abort_transaction()
    hold(application, lines)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_words_around_the_longest(application: Application, over: int) -> None:
    word = b"W" * (_core.MAX_WORD_BYTES + over)
    lines = [b"before", b"one " + word + b" two", b"after", word]
    application.feed(lines)
    application.start("map")
    application.start("reduce")
    application.wait_counted()

    dead = [value for _, _, value, _ in application.read("dead-letters")]
    if over > 0:
        assert Counter(dead) == Counter([lines[1], lines[3]])
        lines = [lines[0], lines[2]]
    else:
        assert dead == []
    hold(application, lines)


def test_lines_around_the_largest_that_the_topic_takes(application: Application) -> None:
    largest = 0
    lines: list[bytes] = [b"first"]
    refused = []
    for size in (1_048_499, 1_048_500, 1_048_588, 1_999_000, 2_097_000, 2_097_152, 2_200_000):
        line = (b"word " * (size // 5 + 1))[:size]
        try:
            application.write("lines", [(None, line)])
        except KafkaException as error:
            refused.append(error.args[0].name())
        else:
            lines.append(line)
            largest = size
    assert set(refused) == {"MSG_SIZE_TOO_LARGE"} and largest > 2_000_000
    application.feed(lines[:1])

    application.start("map")
    application.start("reduce")
    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize("step", ["after-produce", "after-send-offsets", "after-commit"])
def test_a_dead_letter_lands_once(application: Application, seed: int, role: Role, step: str) -> None:
    # Given a record that can't be processed in the batch that a worker dies with
    lines = prose(200, seed)
    application.start("reduce" if role == "map" else "map")
    victim = application.start(role, crash=f"{step}:2")
    application.feed(lines[:100])
    wait_for("its first commit", lambda: victim.report.counters.commits > 0 or victim.process.poll() is not None)
    odd = b"too long " + b"x" * (_core.MAX_WORD_BYTES + 1)
    if role == "map":
        application.write("lines", [(None, odd)])
    else:
        application.write("words", [(b"odd", b"odd")])
    application.feed(lines[100:])
    assert victim.wait() == -9

    # When another one goes on, then the letter is there once: it is part of the transaction
    application.start(role)
    application.wait_counted()
    assert len(list(application.read("dead-letters"))) == 1
    hold(application, lines)


def test_a_dead_letter_larger_than_its_topic_takes_is_cut(application: Application, seed: int) -> None:
    """Where a cluster lets `words` take records of many megabytes, a stranger's key alone may be too much."""
    application.configure("words", {"max.message.bytes": "8000000"})

    def taken() -> bool:
        try:
            application.write("words", [(b"k" * 3_000_000, b"odd")], partition=0)
        except KafkaException:
            return False
        return True

    wait_for("such a record is taken", taken)  # a broker says what it is to do before it does it
    application.write("words", [(b"key", b"v" * 3_000_000)], partition=0)
    lines = prose(100, seed)
    application.feed(lines)

    application.start("map")
    reducer = application.start("reduce")
    application.wait_counted()

    assert reducer.process.poll() is None
    letters = {dict(headers)["offset"]: dict(headers) for _, _, _, headers in application.read("dead-letters")}
    assert set(letters) == {b"0", b"1"}
    assert all(b"3000" in headers["cut-from-bytes"] for headers in letters.values())
    assert letters[b"0"]["key-sha256"] == sha256(b"k" * 3_000_000).hexdigest().encode()
    check_counts(application, lines)
    check_stable(application)


def test_dead_letters_fit_what_their_topic_takes(application: Application, seed: int) -> None:
    """Where somebody else made the topic: Kafka's default is less than a line may have, and a user's may be any."""
    # Given a topic of little room, a line that is too long for a word and for it, and more than it takes at once
    application.configure("dead-letters", {"max.message.bytes": "20000"})
    long = b"too long " + b"x" * (_core.MAX_WORD_BYTES + 1)
    odd = [(b"odd", b"%05d" % number) for number in range(2_000)]
    application.write("words", odd, partition=0)
    lines = prose(100, seed)
    application.feed(lines)
    application.write("lines", [(None, long)])

    # When it is counted
    application.start("map")
    application.start("reduce")
    application.wait_counted()

    # Then the line is cut, and its headers say from what
    letters = [(value, dict(headers)) for _, _, value, headers in application.read("dead-letters")]
    (value, headers), *more = [letter for letter in letters if "cut-from-bytes" in letter[1]]
    assert not more
    assert value and long.startswith(value) and 19_000 < len(value) < 20_000
    assert int(headers["value-bytes"]) == len(long)
    assert headers["value-sha256"] == sha256(long).hexdigest().encode()
    # And all the small ones are there once
    assert Counter(value for value, headers in letters if "value-bytes" not in headers) == Counter(v for _, v in odd)
    hold(application, lines)


def test_a_worker_whose_job_is_nonsense_ends_with_a_reason(application: Application) -> None:
    worker = application.start("map", words="klingon")
    assert worker.wait() != ExitStatus.DONE
