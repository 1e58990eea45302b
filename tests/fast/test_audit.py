"""The audits' parts without Kafka: the plain recount, stores, verdicts, checks, chaos on fake workers."""

import itertools
import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st
from reference import recount as reference_recount
from reference import words as reference_words
from running import Running
from totals import eight, totals

from wcsup import _core
from wcsup.audit import chaos, cluster, host, stores
from wcsup.audit.chaos import Chaos
from wcsup.audit.checks import Check, Health, healthy
from wcsup.audit.cluster import Cluster
from wcsup.audit.pending import entries
from wcsup.audit.recount import recount, words
from wcsup.audit.recovery import ChaosReport, Event
from wcsup.audit.stores import StoreCheck, StoreDifference
from wcsup.audit.verdict import Disagreement, Verdict
from wcsup.config import Config
from wcsup.errors import ConfigurationError, StoreBrokenError
from wcsup.state.directory import open_directory
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError, peek

PIECES = [b"\x01a\x01", b"\x01b\x02", b"\x00\x05", b"\x80\x00", b"\x81\x00", b"\xff" * 9]
PACKED = [b"WCSUP\0\0\x01", b"WCSUP\0\0\x02"]
lines = st.binary(max_size=60) | st.text(max_size=40).map(str.encode)


class TestRecount:
    @given(lines)
    def test_words_are_those_of_the_tests_reference_and_of_the_core(self, line: bytes) -> None:
        assert words(line) == reference_words(line) == _core.tokenize(line, "ascii")

    @given(st.lists(lines | st.none(), max_size=8))
    def test_lines_may_be_joined(self, some: list[bytes | None]) -> None:
        assert recount(some) == reference_recount(some)
        each = Counter(word for line in some if line is not None for word in _core.tokenize(line, "unicode"))
        assert recount(some, "unicode") == each


class TestPending:
    """Records of `words` are read as the core reads them, by code of its own."""

    @given(st.sampled_from(PACKED), st.dictionaries(st.binary(max_size=300), st.integers(1, 2**40), max_size=200))
    def test_packed_words_are_unpacked(self, name: bytes, counts: dict[bytes, int]) -> None:
        ordered = sorted(counts.items())
        value = name + b"".join(leb(len(word)) + word + leb(count) for word, count in ordered)
        assert entries(b"\0", value) == (ordered if ordered else [(b"\0", int.from_bytes(name, "big"))])
        assert aggregated(b"\0", value) == dict(entries(b"\0", value))

    @given(
        st.sampled_from([b"\0", b"w", b"", None]),
        st.none()
        | st.binary(max_size=10)
        | st.tuples(st.sampled_from(PACKED), st.binary(max_size=12)).map(b"".join)
        | st.tuples(st.sampled_from([*PACKED, b"WCSUP\0\0\x03"]), st.lists(st.sampled_from(PIECES)).map(b"".join)).map(
            b"".join
        ),
    )
    def test_what_the_core_rejects_has_no_words(self, key: bytes | None, value: bytes | None) -> None:
        assert aggregated(key, value) == dict(entries(key, value))


def leb(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([0x80 | number & 0x7F])
        number >>= 7
    return out + bytes([number])


def aggregated(key: bytes | None, value: bytes | None) -> dict[bytes, int]:
    """Return what a reducer makes of a record."""
    batch = _core.Aggregator(1)
    batch.own(0, 0)
    batch.add(_core.Inbox([(0, 0, key, value)]))
    words = batch.words(0)
    totals = batch.totals(0, [None] * len(words))
    return {word: int.from_bytes(total, "big", signed=True) for word, total in totals.pairs()}


class TestStores:
    def test_a_store_is_the_fold_below_its_stamp(self) -> None:
        check = StoreCheck(0, stamp=stamp(distinct=3, total=6), totals={b"a": 1, b"b": 2, b"c": 3})

        assert stores.compare(check, {b"a": (1, 0), b"b": (2, 4), b"c": (3, 5)}) == []
        assert stores.resolve(check, {}) == []
        assert check.broken is None

    def test_each_kind_of_difference_is_told(self) -> None:
        check = StoreCheck(0, stamp=stamp(distinct=4, total=18), totals={b"a": 1, b"b": 9, b"compacted": 3, b"more": 5})

        below = stores.compare(check, {b"a": (1, 0), b"b": (2, 4), b"c": (3, 5)})
        above = stores.resolve(check, {b"compacted": (7, 12)})

        assert below == [StoreDifference(b"b", 9, 2, 4), StoreDifference(b"c", None, 3, 5)]
        assert above == [StoreDifference(b"more", 5, None, None)]
        assert list(check.unresolved) == [b"compacted"], "compaction may have taken its record below the stamp"

    def test_a_stamp_outside_of_the_topic_is_of_another_time(self) -> None:
        for start, end in ((0, 9), (11, 20)):
            check = StoreCheck(0, stamp=stamp(next_offset=10), totals={b"a": 1})
            check.place(start, end)
            assert (check.result, check.stamp) == (stores.OF_ANOTHER, None)

    def test_wrong_figures_in_a_stamp_are_told(self) -> None:
        check = StoreCheck(0, stamp=stamp(distinct=1, total=2), totals={b"a": 1})
        assert stores.compare(check, {b"a": (1, 0)}) == []
        assert "a sum of 2" in str(check.broken)

    def test_peeking_leaves_no_trace_and_respects_the_lock(self, tmp_path: Path) -> None:
        path = tmp_path / "store"
        store = Store.open(path, Cached())
        store.write(totals({b"a": 5}), stamp(distinct=1, total=5))
        with pytest.raises(StoreLockedError):
            in_another_process(path)
        store.close()
        before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.iterdir()}

        found, content = peek(path)

        assert found == stamp(distinct=1, total=5) and content == {b"a": eight(5)}
        assert {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.iterdir()} == before
        with pytest.raises(StoreBrokenError):
            peek(tmp_path / "none")
        assert not (tmp_path / "none").exists()


def in_another_process(path: Path) -> None:
    """Peek in a child, as `wcsup verify` is not the worker that has the store."""
    pid = os.fork()
    if not pid:
        try:
            peek(path)
        except StoreLockedError:
            os._exit(3)
        finally:
            os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3:
        raise StoreLockedError


def stamp(next_offset: int = 10, distinct: int = 0, total: int = 0) -> Stamp:
    return Stamp("cluster", "topic", 4, next_offset, distinct=distinct, total=total)


class TestVerdict:
    def test_exact_is_only_what_is_decided_and_tight(self) -> None:
        assert Verdict("ascii").exact
        assert not Verdict("ascii", loose=1).exact and Verdict("ascii", loose=1).holds
        assert not Verdict("ascii", undecided=["x"]).holds
        wrong = Verdict("ascii")
        wrong.add(Disagreement("a: 1", "a", "counts", 0, 3, 1, 2, 2))
        assert not wrong.holds and not wrong.exact

    def test_the_worst_disagreements_are_kept_and_all_are_counted(self) -> None:
        verdict = Verdict("ascii", shown=3)
        for size in range(5000):
            verdict.add(Disagreement(f"word {size}", f"w{size}", "counts", 0, 1, size, 0, 0))
        verdict.finish(1.0)

        assert verdict.mismatches == 5000
        assert [one.word for one in verdict.disagreements] == ["w4999", "w4998", "w4997"]
        assert "and 4,997 more" in verdict.text()
        assert json.loads(json.dumps(verdict.to_json()))["mismatches"] == 5000


class TestHost:
    def test_a_state_directory_of_another_application_fails(self, tmp_path: Path) -> None:
        open_directory(Config(app_id="other", state_dir=tmp_path))
        config = Config(bootstrap_servers="h:1", app_id="mine", state_dir=tmp_path)
        assert "belongs to an application with app_id 'other'" in message(host.examine(config), "state", Health.FAILED)

    def test_a_state_directory_that_can_not_be_made_fails(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        config = Config(bootstrap_servers="h:1", state_dir=tmp_path / "file" / "state")
        assert "choose another --state-dir" in message(host.examine(config), "state", Health.FAILED)

    def test_a_secret_that_everybody_can_read_is_told(self, tmp_path: Path) -> None:
        file = tmp_path / "client.properties"
        file.write_text(f"sasl.password=geheim\nsasl.username=${{dir:{tmp_path}:user}}\n")
        (tmp_path / "user").write_text("ann\n")
        config = Config(bootstrap_servers="h:1", state_dir=tmp_path / "state", kafka_config=file)
        file.chmod(0o644)
        said = message(host.examine(config), "secrets", Health.WARNING)
        assert f"can read sasl.password in {file}: chmod o-r" in said
        assert "geheim" not in said
        file.chmod(0o640)
        assert "secrets" not in {check.name for check in host.examine(config)}
        file.write_text(f"sasl.password=${{dir:{tmp_path}:user}}\n")
        file.chmod(0o644)
        assert "secrets" not in {check.name for check in host.examine(config)}

    @pytest.mark.parametrize(
        ("free", "health"), [(1 << 20, Health.FAILED), (1 << 30, Health.WARNING), (9 << 30, Health.OK)]
    )
    def test_little_room_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, health: Health
    ) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
        message(host.examine(Config(bootstrap_servers="h:1", state_dir=tmp_path)), "disk (state)", health)


def message(checks: Iterator[Check], name: str, health: Health) -> str:
    [check] = [check for check in checks if check.name == name]
    assert check.health is health, check
    return check.message


class TestCluster:
    """Brokers that lack something; tests/fast/test_checks.py has their settings."""

    def test_every_broker_has_to_have_what_is_needed(self) -> None:
        new = dict.fromkeys(["InitProducerId", "TxnOffsetCommit", "OffsetFetch", "JoinGroup", "Metadata"], 12)
        old = {**new, "TxnOffsetCommit": 2}
        assert not healthy(cluster.features(of({"a:1": new, "b:1": old})))
        [check] = cluster.features(of({"a:1": new, "b:1": old}))
        assert "b:1 lacks fencing" in check.message and "2.5" in check.message
        assert healthy(cluster.features(of({"a:1": new})))
        [check] = cluster.features(replace(of({"a:1": new}), config=Config(group_protocol="consumer")))
        assert "KIP-848" in check.message and check.health is Health.FAILED

    def test_the_apis_of_brokers_are_heard_in_librdkafkas_log(self) -> None:
        heard = cluster._Features()
        line = "APIVERSION [thrd:h:1/1]: sasl_ssl://h:9092/1:   ApiKey TxnOffsetCommit (28) Versions 0..5"
        heard.emit(logging.makeLogRecord({"msg": line}))
        assert heard.by_broker == {"sasl_ssl://h:9092": {"TxnOffsetCommit": 5}}


def of(apis: dict[str, dict[str, int]]) -> Cluster:
    return Cluster(Config(), AdminClient({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}), None, apis)


class TestChaos:
    """On a real supervisor with fake workers; a fence needs real ones."""

    @pytest.fixture
    def running(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
        monkeypatch.setattr(chaos, "ACTIONS", ("kill", "stop", "restart"))
        monkeypatch.setattr(chaos, "_PAUSES", (0.0, 0.1))
        monkeypatch.setattr(chaos, "_SHORT_STOP", (0.01, 0.1))
        monkeypatch.setattr(chaos, "_LONG", 0.0)
        with Running(tmp_path / "state", options={"mappers": 2, "reducers": 2}) as running:
            running.until_ready()
            yield running

    def test_workers_are_harmed_and_all_come_back(self, running: Running) -> None:
        events: list[Event] = []
        before = {worker["pid"] for worker in running.status()["workers"]}

        outcome = Chaos(Config(state_dir=running.state), 3, events.append).run(4)

        assert outcome.survived and outcome.events == events
        assert {event.action for event in events} == {"kill", "stop", "restart"}
        status = running.status()
        assert status["ready"] and {worker["pid"] for worker in status["workers"]} != before
        killed = sum(event.action == "kill" for event in events)
        assert killed and sum(worker["restarts"] for worker in status["workers"]) >= killed
        assert "kill" in outcome.summary(chaos.ACTIONS)

    def test_a_seed_makes_the_same_choices(self, running: Running) -> None:
        def choices() -> list[tuple[str, str]]:
            made: list[tuple[str, str]] = []

            class EnoughError(Exception):
                pass

            def take(event: Event) -> None:
                made.append((event.action, event.slot))
                if len(made) == 5:
                    raise EnoughError

            with pytest.raises(EnoughError):
                Chaos(Config(state_dir=running.state), 9, take).run(60)
            return made

        assert choices() == choices()

    def test_an_interrupted_one_leaves_nobody_stopped(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chaos, "ACTIONS", ("stop",))
        monkeypatch.setattr(chaos, "_SHORT_STOP", (60.0, 60.0))
        looked = itertools.count()
        harm = Chaos(Config(state_dir=running.state), 1)
        wait = harm._wait

        def interrupted(*child: Any) -> None:
            wait(*child)
            if next(looked) == 3:
                [process] = harm._stopped.values()
                assert process.status() == psutil.STATUS_STOPPED
                raise KeyboardInterrupt

        monkeypatch.setattr(harm, "_wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            harm.run(60)

        assert running.until(lambda status: status["ready"])
        for worker in running.status()["workers"]:
            assert psutil.Process(worker["pid"]).status() != psutil.STATUS_STOPPED

    def test_a_run_that_ends_under_it_is_told(self, running: Running) -> None:
        def end(_event: Event) -> None:
            running.request("drain")
            running.end()

        outcome = Chaos(Config(state_dir=running.state), 1, end).run(60)

        assert outcome.ended and not outcome.survived
        assert "the run ended" in outcome.summary(chaos.ACTIONS)

    def test_nothing_is_harmed_but_the_supervisors_children(self, running: Running) -> None:
        harm = Chaos(Config(state_dir=running.state), 1)
        harm._look()
        with pytest.raises(ConfigurationError, match="is not a child"):
            harm._process({"slot": "map-0", "pid": os.getpid()})

    def test_a_slot_that_does_not_come_back_is_told(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chaos, "RECOVERY_SECONDS", 0.3)
        monkeypatch.setattr(chaos, "ACTIONS", ("kill",))
        running.behave({"*": "slow"})
        events: list[Event] = []
        began = time.monotonic()

        outcome = Chaos(Config(state_dir=running.state), 1, events.append).run(0.1)

        assert time.monotonic() - began < 20
        assert not outcome.survived
        assert events[0].recovered is None and "NOT at work again" in events[0].what


def test_an_outcome_without_harm_survived() -> None:
    assert ChaosReport().survived
