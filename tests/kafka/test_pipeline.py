"""Mapper and reducer on a real Kafka: exact counts, odd input, restarts, fencing, rebalances."""

import random
import shutil
import struct
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import pytest
from application import ROLES, Application, WorkerProcess, prose, wait_for
from invariants import check_stores
from reference import recount

from wcsup import _core
from wcsup.errors import ExitStatus
from wcsup.kafka import clients
from wcsup.pipeline.report import Role

SHORT = 1.5
"""A session in seconds that a test waits for."""
COMMIT_MS = 20
"""Within so long all of a commit's records are written; a light load's commits are further apart."""


def test_counts_equal_a_plain_recount_for_text_of_every_byte(application: Application) -> None:
    rng = random.Random(7)
    every = bytes(range(256))
    lines: list[bytes | None] = [every, every[::-1], b"", None, b"\xff\xfe", b"_ __ a_b A_B a-b", b"\x00word\x00"]
    lines += [rng.randbytes(rng.randrange(300)) for _ in range(5000)]
    lines += prose(5000, seed=7)
    application.feed(lines)

    application.start("map")
    reducer = application.start("reduce")
    application.wait_counted()

    assert application.counts() == recount(lines)
    wait_for("the reducer says so", lambda: reducer.report.total == recount(lines).total())
    assert reducer.report.distinct == len(recount(lines))


def test_counts_go_on_after_a_clean_restart_of_both(application: Application) -> None:
    lines = prose(3000, seed=1)
    for half in (lines[:1500], lines[1500:]):
        application.feed(half)
        mapper, reducer = application.start("map"), application.start("reduce")
        application.wait_counted()
        assert mapper.drain() == ExitStatus.DONE
        assert reducer.drain() == ExitStatus.DONE

    assert application.counts() == recount(lines)


def test_what_librdkafka_logs_for_debugging_changes_nothing(application: Application, tmp_path: Path) -> None:
    # Under names by which a worker otherwise learns of a lost offset or connection.
    settings = tmp_path / "kafka.properties"
    settings.write_text("debug=topic,broker,protocol\n")
    lines = prose(1000, seed=4)
    application.feed(lines)
    workers = [application.start(role, kafka_config=settings) for role in ROLES]
    application.wait_counted()
    assert application.counts() == recount(lines)
    assert not [line for worker in workers for line in worker.log if "starting with a new producer" in line]


def test_huge_lines_and_words_are_counted_and_what_cannot_be_goes_to_dead_letters(application: Application) -> None:
    long_word = b"x" * 900_000
    lines = [b"small", b"many words " * 90_000, long_word, b"y " + b"z" * 999_000, b"small"]
    application.feed(lines)
    malformed = [(None, None), (None, struct.pack(">q", 5)), (b"w", b""), (b"w", b"1234"), (b"w", b"123456789")]
    application.write("words", malformed, partition=0)

    application.start("map")
    application.start("reduce")
    application.wait_counted()

    assert application.counts() == recount(lines)
    letters = list(application.read("dead-letters"))
    assert len(letters) == 5
    for _, _, _, headers in letters:
        assert [name for name, _ in headers] == ["topic", "partition", "offset", "error"]
        assert dict(headers)["topic"] == application.config.topic("words").encode()


def test_a_line_with_a_word_too_long_for_a_key_goes_to_dead_letters_whole(application: Application) -> None:
    word = b"q" * (_core.MAX_WORD_BYTES + 1)
    lines = [b"one two", b"rest " + word, b"two"]
    application.feed(lines)

    mapper = application.start("map")
    application.start("reduce")
    application.wait_counted()

    assert application.counts() == Counter({b"one": 1, b"two": 2})
    [(_, key, value, headers)] = application.read("dead-letters")
    assert (key, value) == (None, b"rest " + word)
    assert dict(headers)["offset"] == b"0"
    wait_for("the letter is reported", lambda: mapper.report.counters.dead_letters == 1)


def test_records_of_an_older_word_count_are_continued(application: Application) -> None:
    application.write("counts", [(b"old", struct.pack(">i", 40)), (b"new", struct.pack(">q", 7)), (b"gone", None)])
    application.write("words", [(b"old", None), (b"old", None), (b"new", None)])

    application.start("reduce")
    application.wait_counted()

    found = {key: value for _, key, value, _ in application.read("counts")}
    assert found[b"old"] == struct.pack(">q", 42)
    assert found[b"new"] == struct.pack(">q", 8)


def test_a_restart_with_kept_state_reads_only_what_it_missed(
    application: Application, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = prose(2000, seed=2)
    first = application.store(lines)
    first.kill()

    second = application.start("reduce", session_timeout=SHORT)
    wait_for("it is ready", lambda: second.ready)
    assert second.report.counters.restored == 0

    # What another host counts meanwhile is what this one missed.
    assert second.drain() == ExitStatus.DONE
    abroad = tmp_path_factory.mktemp("elsewhere")
    elsewhere = application.start("reduce", "1", state=abroad, session_timeout=SHORT)
    more = [b"fresh words only", b"fresh start"]
    application.feed(more)
    application.wait_counted()
    assert elsewhere.drain() == ExitStatus.DONE
    third = application.start("reduce")
    wait_for("it is ready", lambda: third.ready)

    assert third.report.counters.restored == len(recount(more))
    assert third.report.total == recount(lines + more).total()
    assert application.counts() == recount(lines + more)


def test_a_reducer_that_starts_makes_its_stores_after_its_first_commits(application: Application) -> None:
    # Given more words than the totals of a commit that are kept from the stores later on
    words = [bytes(letters) for letters in product(b"abcdefghijklmnopqrst", repeat=3)]
    application.feed([b" ".join(words[start::100]) for start in range(100)])
    application.start("map")
    wait_for("all lines are mapped", lambda: application.lag().lines == 0)

    reducer = application.start("reduce")

    wait_for("all of them are kept", lambda: reducer.report.kept_words == len(words))
    reducer.wait_stored(len(words))
    reducer.kill()
    assert check_stores(application, application.config.state) == 4


def test_a_reducer_killed_before_it_wrote_its_stores_reads_what_they_lack(application: Application) -> None:
    # Given stores of two thousand lines, and commits of few words that they are yet to be given
    lines = prose(2000, seed=5)
    first = application.store(lines)
    more = [b"%b only seen of late" % line for line in lines[:40]]
    application.feed(more)
    wait_for("some is kept", lambda: first.report.kept_words > 0)
    application.wait_counted()

    # When the reducer is killed
    first.kill()
    second = application.start("reduce")
    wait_for("the next one is ready", lambda: second.ready)

    # Then the next one reads at most those words again, and has the totals
    assert 0 < second.report.counters.restored <= sum(len(recount([line])) for line in more)
    assert second.report.total == recount(lines + more).total()
    assert application.counts() == recount(lines + more)


def test_a_restart_with_deleted_state_gives_the_same_counts(application: Application) -> None:
    lines = prose(3000, seed=3)
    application.feed(lines[:2000])
    application.start("map")
    first = application.start("reduce")
    application.wait_counted()
    assert first.drain() == ExitStatus.DONE
    before = application.counts()
    shutil.rmtree(application.config.state / "stores")

    second = application.start("reduce")
    application.feed(lines[2000:])
    application.wait_counted()

    assert second.report.counters.restored >= len(before)
    assert application.counts() == recount(lines)


def test_aborted_and_open_transactions_of_strangers_are_not_counted(application: Application) -> None:
    config = application.config
    stranger = clients.transactional_producer(config, "stranger")
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(config.topic("words"), struct.pack(">q", 1000), b"aborted", partition=0)
    stranger.flush()
    stranger.abort_transaction()
    stranger.begin_transaction()
    stranger.produce(config.topic("words"), struct.pack(">q", 1000), b"open", partition=0)
    stranger.flush()
    lines = prose(500, seed=4)
    application.feed(lines)

    application.start("map")
    reducer = application.start("reduce")
    wait_for("the others are counted", lambda: reducer.report.total > 0)
    assert b"open" not in application.counts()
    stranger.abort_transaction()
    application.wait_counted()

    assert application.counts() == recount(lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
def test_a_second_instance_of_a_name_fences_the_first(application: Application, role: Role) -> None:
    other: Role = "reduce" if role == "map" else "map"
    application.start(other)
    first = application.start(role)
    lines = prose(4000, seed=5)
    application.feed(lines[:2000])
    wait_for("the first works", lambda: first.report.counters.commits > 0)

    second = application.start(role)

    assert first.wait() == ExitStatus.FENCED
    assert "another process" in first.log[-1]
    application.feed(lines[2000:])
    application.wait_counted()
    assert application.counts() == recount(lines)
    assert second.process.poll() is None


def joined(worker: WorkerProcess) -> bool:
    return worker.ready and bool(worker.report.partitions)


def test_workers_come_and_go_in_mid_flow(application: Application) -> None:
    lines = prose(30_000, seed=6)
    application.start("map", "0")
    application.start("reduce", "0")
    with application.feeding(lines, rate=5000):
        guests = [application.start("map", "1"), application.start("reduce", "1"), application.start("reduce", "2")]
        for guest in guests:
            wait_for("it joined", partial(joined, guest))
            assert guest.drain() == ExitStatus.DONE
        again = application.start("reduce", "1")
        wait_for("it joined again", lambda: again.ready)
    application.wait_counted()

    assert application.counts() == recount(lines)
    # A member rejoins in the background: a commit that was under way then is refused, and its batch read again.
    for worker in application.workers:
        assert set(worker.report.counters.aborts) <= {"ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS"}, worker.job_name


def test_top_words_are_published_once_a_second_by_each_partition_at_a_time_of_its_own(application: Application) -> None:
    # Given a light load that keeps changing the top words of all partitions
    application.start("map")
    reducer = application.start("reduce")
    wait_for("it joined", partial(joined, reducer))
    began = time.monotonic()
    application.feed(prose(4000, seed=9), rate=1000)
    application.wait_counted()
    seconds = time.monotonic() - began

    # Then none published more often than that
    published = [(message.timestamp()[1], message.partition()) for message in application.messages("top")]
    assert max(Counter(partition for _, partition in published).values()) <= seconds + 2
    # And not all in the same few commits, each of which would take longer for it: one of all four partitions would be
    # a quarter as many
    commits = 1 + sum(later - at > COMMIT_MS for (at, _), (later, _) in pairwise(sorted(published)))
    assert 3 * commits > len(published)


def test_words_of_a_light_load_share_a_record_where_one_reducer_has_their_partitions(application: Application) -> None:
    # Given a reducer that has all partitions, and a light load for longer than a mapper takes to look who has them
    lines = prose(2500, seed=10)
    application.start("map")
    reducer = application.start("reduce")
    wait_for("it joined", partial(joined, reducer))
    application.feed(lines, rate=500)
    application.wait_counted()

    # Then words of all partitions came in records of the first
    mixed = application.mixed()
    assert len(mixed) > 10 and set(mixed) == {0}
    assert application.counts() == recount(lines)


def test_a_word_rule_is_kept_by_the_application(application: Application) -> None:
    application.feed([b"a b"])
    application.start("map")
    application.start("reduce")
    application.wait_counted()
    application.stop()

    other = Application(replace(application.config, words="unicode", state_dir=application.config.state / "other"))
    worker = other.start("map")

    assert worker.wait() == ExitStatus.CONFIGURATION
    assert "counts ascii words" in worker.log[-1]
