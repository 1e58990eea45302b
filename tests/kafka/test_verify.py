"""`wcsup verify` on a real Kafka: it agrees with what is right, and finds what is wrong."""

import itertools
import json
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from application import Application, prose, wait_for
from click.testing import CliRunner
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from reference import recount
from rocksdict import Options, Rdict

from wcsup import _core
from wcsup.audit import reading
from wcsup.audit.recount import words
from wcsup.audit.verdict import Verdict
from wcsup.audit.verify import verify
from wcsup.cli.app import app as commands
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus
from wcsup.kafka import clients, groups, topics
from wcsup.kafka.positions import Position
from wcsup.kafka.progress import of_stage


@pytest.fixture
def counted(application: Application) -> Application:
    """An application that has counted 2,000 lines and was stopped."""
    application.feed(prose(2000, seed=11))
    application.start("map")
    application.start("reduce")
    application.wait_counted()
    drain(application)
    return application


def spelled(number: int) -> bytes:
    """Return a word that is no other number's."""
    return b"n" + str(number).translate(str.maketrans("0123456789", "abcdefghij")).encode()


def drain(application: Application) -> None:
    for worker in application.workers:
        if worker.process.poll() is None:
            assert worker.drain() == ExitStatus.DONE


def files(directory: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.rglob("*") if path.is_file()}


def test_what_was_counted_right_is_exact_and_stores_are_left_as_they_are(counted: Application) -> None:
    before = files(counted.config.state)

    verdict = verify(counted.config)

    expected = recount(prose(2000, seed=11))
    assert verdict.exact, verdict.text()
    assert (verdict.lines, verdict.words, verdict.distinct) == (2000, expected.total(), len(expected))
    assert verdict.mismatches == 0 and verdict.lines_waiting == 0
    assert verdict.stores == dict.fromkeys(range(4), "agree")
    assert verdict.text().startswith(f"exact: the totals of {len(expected):,} words equal a recount of 2,000 lines")
    assert files(counted.config.state) == before


def test_null_lines_dead_letters_and_lines_that_wait_do_not_count(application: Application) -> None:
    long = b"rest " + b"q" * (_core.MAX_WORD_BYTES + 1)
    application.feed([b"one two", None, long, b"\xff\x00 two", b""])
    application.start("map")
    application.start("reduce")
    application.wait_counted()
    drain(application)
    application.feed([b"not yet", b"not yet"])

    verdict = verify(application.config)

    assert verdict.exact, verdict.text()
    assert (verdict.lines, verdict.words, verdict.distinct) == (3, 3, 2)
    assert (verdict.null_lines, verdict.rejected_lines, verdict.lines_waiting) == (1, 1, 2)


def test_wrong_totals_and_a_missing_word_are_found_with_partition_and_offset(counted: Application) -> None:
    (high, high_total), (low, low_total), *_, (missing, missing_total) = counted.counts().most_common()
    topic = counted.config.topic("counts")
    ends = topics.ends(counted.admin, [TopicPartition(topic, p) for p in range(4)])
    wrong = {high: high_total + 1, low: low_total - 1}
    counted.write("counts", [*((word, struct.pack(">q", total)) for word, total in wrong.items()), (missing, None)])

    verdict = verify(counted.config)

    assert not verdict.exact and not verdict.holds
    assert verdict.mismatches == 3
    found = {one.word: one for one in verdict.disagreements}
    for word, total, right in ((high, wrong[high], high_total), (low, wrong[low], low_total)):
        one = found[word.decode()]
        partition = _core.partition(word, 4)
        assert (one.topic, one.partition, one.found, one.least, one.most) == (topic, partition, total, right, right)
        assert one.offset is not None and one.offset >= ends[topic, partition]
        assert f"{word.decode()}: {total:,} in {topic}, partition {partition}, offset {one.offset};" in verdict.text()
    one = found[missing.decode()]
    assert (one.found, one.offset, one.least, one.most) == (None, None, missing_total, missing_total)
    assert "nothing in" in one.what
    assert verdict.stores == dict.fromkeys(range(4), "agree"), "the stamps are below the wrong records"


def test_words_of_strangers_and_words_in_a_wrong_partition_are_found(counted: Application) -> None:
    config = counted.config
    stranger = next(word for word in (b"stranger", b"outsider", b"alien") if not counted.counts()[word])
    here = _core.partition(stranger, 4)
    for further, total in enumerate((7, 0, 9)):
        counted.write("counts", [(stranger, struct.pack(">q", total))], partition=(here + further) % 4)

    verdict = verify(config)

    assert {(one.partition, one.found, one.most) for one in verdict.disagreements} == {
        (here, 7, 0),
        ((here + 2) % 4, 9, 0),
    }
    assert f"the word belongs in partition {here}" in verdict.text()
    assert "somebody else wrote" in verdict.text()


def test_lines_counted_twice_are_found(counted: Application) -> None:
    line = prose(1, seed=12)[0]
    counted.write("words", [(word, struct.pack(">q", n)) for word, n in recount([line]).items()])
    counted.start("reduce")
    counted.wait_counted()
    drain(counted)

    verdict = verify(counted.config)

    assert verdict.mismatches == len(recount([line]))
    assert {one.word for one in verdict.disagreements} == {word.decode() for word in recount([line])}


def test_tampered_stores_are_found(counted: Application) -> None:
    frequent = counted.counts().most_common()
    changed, total = frequent[0]
    home = _core.partition(changed, 4)
    missing, its_total = next((word, n) for word, n in frequent if _core.partition(word, 4) != home)
    more = next(p for p in range(4) if p not in {home, _core.partition(missing, 4)})
    with opened(counted, home) as store:
        store[changed] = struct.pack(">q", total + 5)
    with opened(counted, _core.partition(missing, 4)) as store:
        del store[missing]
    with opened(counted, more) as store:
        store[b"@more"] = struct.pack(">q", 1)

    verdict = verify(counted.config)

    found = {one.word: (one.partition, one.found, one.most) for one in verdict.disagreements if one.word}
    assert found == {
        changed.decode(): (home, total + 5, total),
        missing.decode(): (_core.partition(missing, 4), None, its_total),
        "@more": (more, 1, 0),
    }
    assert verdict.mismatches == 6, "the words, and the figures of three stamps"
    assert all(one.store for one in verdict.disagreements)
    assert sorted(verdict.stores.values()) == ["agree", "differ", "differ", "differ"]


@contextmanager
def opened(application: Application, partition: int) -> Iterator[Rdict]:
    path = application.config.state / "stores" / str(partition)
    store = Rdict(str(path), Options(raw_mode=True))
    yield store
    store.close()


def test_a_damaged_store_is_said_and_one_of_another_topic_is_not_compared(counted: Application) -> None:
    stores = counted.config.state / "stores"
    largest = max((stores / "0").glob("*.sst"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 3] ^= 0xFF
    largest.write_bytes(content)
    with opened(counted, 1) as store:
        stamp = store[b""]
        assert stamp is not None
        store[b""] = json.dumps({**json.loads(stamp), "topic": "another"}).encode()

    verdict = verify(counted.config)

    assert verdict.stores[0] == "damaged"
    assert verdict.stores[1].startswith("of another topic")
    assert [one.partition for one in verdict.disagreements] == [0] and "checksum" in verdict.text()
    assert files(stores / "0")[largest][1] == bytes(content), "it was left as it is"


def test_stores_behind_the_topic_agree_and_those_in_use_are_said(counted: Application, tmp_path: Path) -> None:
    elsewhere = counted.start("reduce", "1", state=tmp_path / "elsewhere")
    counted.start("map")
    counted.feed(prose(500, seed=13))
    counted.wait_counted()

    behind = verify(counted.config)
    in_use = verify(replace(counted.config, state_dir=tmp_path / "elsewhere"))

    assert behind.exact and in_use.exact, behind.text() + in_use.text()
    assert behind.stores == dict.fromkeys(range(4), "agree")
    assert in_use.stores == dict.fromkeys(range(4), "in use")
    assert elsewhere.process.poll() is None


def test_what_is_mapped_and_not_reduced_is_exact_too(application: Application) -> None:
    application.feed(prose(1000, seed=14))
    application.start("map")
    reducer = application.start("reduce")
    application.wait_counted()
    assert reducer.drain() == ExitStatus.DONE
    # So many distinct words are written packed.
    application.feed([*prose(1000, seed=15), *(b" ".join(spelled(n) for n in range(p, 40_000, 20)) for p in range(20))])
    wait_for("all is mapped", lambda: application.lag().lines == 0)

    verdict = verify(application.config)
    assert verdict.exact and verdict.lines == 2020, verdict.text()
    assert verdict.distinct > 40_000

    word, total = application.counts().most_common(1)[0]
    application.write("counts", [(word, struct.pack(">q", total - 1))])
    verdict = verify(application.config)
    assert [(one.word, one.found, one.least, one.most) for one in verdict.disagreements] == [
        (word.decode(), total - 1, total, total)
    ]


def test_what_waits_in_records_of_other_partitions_is_exact_too(application: Application) -> None:
    # Given a mapper that writes the words of all partitions to one
    def is_mixed() -> bool:
        application.feed(prose(5, seed=16))
        return bool(application.mixed())

    application.start("map")
    reducer = application.start("reduce")
    wait_for("words are mixed", is_mixed)
    application.wait_counted()

    # When its reducer dies, whose partitions are its name's as yet
    reducer.kill()
    application.feed(prose(50, seed=17))
    wait_for("all is mapped", lambda: application.lag().lines == 0)
    config = application.config
    progress = of_stage(application.admin, config, "words")
    assert [bool(one.lag) for one in progress] == [True, False, False, False]

    verdict = verify(application.config)
    assert verdict.exact and not verdict.loose, verdict.text()


def test_a_live_application_is_within_bounds_and_a_wrong_total_is_not(application: Application) -> None:
    application.start("map")
    application.start("reduce")
    verdicts: list[Verdict] = []

    def look() -> bool:
        verdicts.append(verify(application.config))
        return len(verdicts) > 2 and any(verdict.loose for verdict in verdicts)

    with load(application) as fed:
        wait_for("some are counted", application.counts)
        wait_for("it was live", look)
        application.write("counts", [(b"never_written", struct.pack(">q", 3))])
        assert [one.word for one in verify(application.config).disagreements] == ["never_written"]
        application.write("counts", [(b"never_written", None)])
    application.wait_counted()
    final = verify(application.config)

    for verdict in verdicts:
        assert verdict.holds, verdict.text()
    assert final.exact and final.lines == len(fed), final.text()


@contextmanager
def load(application: Application) -> Iterator[list[bytes]]:
    """Feed 2,000 lines a second in the background; the list is what was fed, once the block has ended."""
    fed: list[bytes] = []
    enough = threading.Event()

    def work() -> None:
        for seed in itertools.count():
            if enough.is_set():
                return
            lines = prose(500, seed)
            application.feed(lines, rate=2000)
            fed.extend(lines)
            enough.wait(0.25)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield fed
    finally:
        enough.set()
        thread.join()


def test_lines_gone_by_retention_leave_it_undecided(counted: Application) -> None:
    topic = counted.config.topic("lines")
    for future in counted.admin.delete_records([TopicPartition(topic, 0, 100)]).values():
        future.result()

    verdict = verify(counted.config)

    assert not verdict.exact and not verdict.holds and verdict.mismatches == 0
    assert verdict.text().startswith("undecided: nothing disagrees")
    assert "retention" in verdict.text()
    # What is left still bounds the totals from below.
    word, _ = counted.counts().most_common(1)[0]
    counted.write("counts", [(word, struct.pack(">q", 1))])
    assert [one.word for one in verify(counted.config).disagreements] == [word.decode()]


def test_lines_deleted_and_made_again_leave_it_undecided(counted: Application) -> None:
    admin, config = counted.admin, counted.config
    wait_for("the members' sessions end", lambda: groups.members(admin, config.map_group) == 0)
    request = ConsumerGroupTopicPartitions(
        config.map_group,
        [
            TopicPartition(config.topic("lines"), p, 900, Position("ascii", "another-topic-id").text(900))
            for p in range(4)
        ],
    )
    admin.alter_consumer_group_offsets([request])[config.map_group].result()
    assert "topic lines was deleted and made again" in verify(config).text()

    # Kafka forgets the offsets of a topic that is deleted.
    admin.delete_topics([config.topic("lines")])[config.topic("lines")].result()
    wait_for("it is gone", lambda: config.topic("lines") not in admin.list_topics(timeout=10).topics)
    counted.make_topics()
    verdict = verify(config)
    assert not verdict.holds and verdict.mismatches == 0
    assert "though words were counted" in verdict.text()


def test_an_open_transaction_of_a_stranger_leaves_it_undecided(
    counted: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "HELD_SECONDS", -9.0)
    config = counted.config
    stranger = clients.transactional_producer(config, "holds")
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(config.topic("counts"), struct.pack(">q", 1), b"open", partition=2)
    stranger.flush()

    verdict = verify(config)
    stranger.abort_transaction()

    assert not verdict.holds
    assert f"{config.topic('counts')} back at partition 2" in verdict.text()
    assert verify(config).exact


def test_unicode_words_are_recounted_by_the_rule_that_they_were_counted_by(app: Config) -> None:
    application = Application(replace(app, words="unicode"))
    application.make_topics()
    lines = ["Straße STRASSE naïve 42 words".encode(), b"\xff\xfe", "Ünïcode can\u2019t".encode()]
    application.feed(lines)
    try:
        application.start("map")
        application.start("reduce")
        application.wait_counted()
        verdict = verify(app)
    finally:
        application.stop()

    assert verdict.exact and verdict.words == len(words(b" ".join(lines), "unicode")), verdict.text()
    assert "Python has no UAX 29" in verdict.text()


def test_nothing_counted_yet_is_said(app: Config) -> None:
    with pytest.raises(ConfigurationError, match="nothing was counted yet"):
        verify(app)


def test_the_command_says_it_and_ends_with_it(counted: Application) -> None:
    config = counted.config
    arguments = ["verify", "--bootstrap-servers", config.bootstrap_servers or "", "--app-id", config.app_id]
    arguments += ["--topic-prefix", config.topic_prefix, "--state-dir", str(config.state)]

    right = CliRunner().invoke(commands, [*arguments, "--json"], standalone_mode=False)
    document = json.loads(right.output)
    assert right.return_value == ExitStatus.DONE
    assert document["exact"] is True and document["mismatches"] == 0
    assert document["lines"] == 2000 and document["words"] == sum(counted.counts().values())
    assert document["distinct"] == len(counted.counts())

    frequent = counted.counts().most_common(5)
    counted.write("counts", [(word, struct.pack(">q", 10**6 + n)) for n, (word, _) in enumerate(frequent)])
    wrong = CliRunner().invoke(commands, [*arguments, "--most", "2"], standalone_mode=False)
    assert wrong.return_value == ExitStatus.CHECK_FAILED
    assert wrong.output.startswith("WRONG: 5 of")
    assert wrong.output.count(" in test") == 2 and "and 3 more" in wrong.output
    document = json.loads(CliRunner().invoke(commands, [*arguments, "--json"], standalone_mode=False).output)
    assert document["exact"] is False and document["mismatches"] == 5
    assert {one["word"] for one in document["disagreements"]} == {word.decode() for word, _ in frequent}
