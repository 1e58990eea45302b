"""Local state damaged, foreign, locked, full or read-only: counts stay exact, or the error says what to do."""

import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from application import WAIT_SECONDS, Application, WorkerProcess, prose, wait_for
from confluent_kafka import Producer
from disks import Disks
from invariants import check_stores, hold
from keeper import keeping
from shell import Shell
from totals import eight, totals

from wcsup.errors import ExitStatus, RetryError
from wcsup.kafka import clients, topics
from wcsup.state import restore
from wcsup.state.directory import open_directory
from wcsup.state.partition import Partition
from wcsup.state.store import Cached, Stamp, Store

Damage = Callable[[Path], None]


def counted_and_ended(application: Application, lines: list[bytes], *, kill: bool) -> None:
    """Count lines with workers that are gone afterwards; a killed reducer leaves its log unflushed."""
    reducer = application.store(lines)
    if kill:
        reducer.kill()
    else:
        assert reducer.drain() == ExitStatus.DONE


def stores(application: Application) -> list[Path]:
    return sorted((application.config.state / "stores").iterdir())


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("pattern", ["*.sst", "MANIFEST-*", "CURRENT"])
def test_a_flipped_byte_is_found_and_the_store_is_rebuilt(application: Application, seed: int, pattern: str) -> None:
    # Given stores with a damaged file
    lines = prose(3000, seed)
    counted_and_ended(application, lines[:2000], kill=False)
    files = [path for store in stores(application) for path in store.glob(pattern)]
    assert files
    for path in files:
        flip(path, 0.3)

    # When a reducer opens or reads them, then it says so and ends
    application.feed(lines[2000:])
    broken = application.start("reduce")
    assert broken.wait() == ExitStatus.STORE_BROKEN
    assert "is damaged and was discarded" in broken.log[-1]

    # And new ones rebuild them all: more than one where a batch had no words of some damaged store
    with keeping(application, ("reduce", "0")) as keeper:
        application.wait_counted()
    assert len(keeper.ends) < len(stores(application))
    assert {status for _, status in keeper.ends} <= {ExitStatus.STORE_BROKEN}
    hold(application, lines)


@pytest.mark.parametrize(
    "damage", [lambda log: os.truncate(log, log.stat().st_size * 2 // 3), lambda log: flip(log, 0.6)]
)
def test_a_damaged_write_ahead_log_costs_only_what_is_read_again(
    application: Application, seed: int, damage: Damage
) -> None:
    lines = prose(3000, seed)
    counted_and_ended(application, lines[:2000], kill=True)
    logs = [log for store in stores(application) for log in store.glob("*.log") if log.stat().st_size]
    assert logs
    for log in logs:
        damage(log)

    reducer = application.start("reduce")
    wait_for("it is ready", lambda: reducer.ready)
    assert reducer.report.counters.restored > 0
    application.feed(lines[2000:])
    hold(application, lines)


def test_a_lost_write_ahead_log_never_leaves_a_stamp_ahead_of_its_totals(tmp_path: Path) -> None:
    """Stamps fill the memtable and have it flushed, however few words change."""
    path = tmp_path / "store"
    top = tuple((f"a long word {number:03}" * 10, 1) for number in range(100))
    with closing(Store.open(path, Cached())) as store:
        for number in range(1, 1500):
            stamp = Stamp("cluster", "topic", 1, next_offset=number, top=top)
            store.write(totals({b"word": number}), stamp)
        # RocksDB deletes flushed logs in the background: they are not wanted anyway.
        shutil.copytree(path, tmp_path / "copy", ignore=shutil.ignore_patterns("*.log"))

    with closing(Store.open(tmp_path / "copy", Cached())) as copy:
        assert copy.stamp is not None, "some of it was flushed"
        assert copy.items() == [(b"word", eight(copy.stamp.next_offset))]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("cluster", lambda stamp: replace(stamp, cluster="another")),
        ("topic", lambda stamp: replace(stamp, topic="another")),
        ("partition count", lambda stamp: replace(stamp, partitions=7)),
        ("a later time", lambda stamp: replace(stamp, next_offset=stamp.next_offset + 1000)),
        ("another version", lambda stamp: replace(stamp, format=99)),
    ],
)
def test_a_store_of_something_else_is_rebuilt(
    application: Application, seed: int, what: str, change: Callable[[Stamp], Stamp]
) -> None:
    # Given stores that hold wrong totals under a stamp that does not fit
    lines = prose(2000, seed)
    counted_and_ended(application, lines[:1000], kill=False)
    for path in stores(application):
        with closing(Store.open(path, Cached())) as store:
            assert store.stamp is not None
            wrong = {word: 1_000_000 for word, _ in store.items()} | {b"neverwritten": 5}
            store.write(totals(wrong), change(store.stamp))

    # When a reducer is given them, then it reads all of `counts` again
    reducer = application.start("reduce")
    wait_for("it is ready", lambda: reducer.ready)
    assert any("is rebuilt" in line for line in reducer.log), what
    application.feed(lines[1000:])
    hold(application, lines)


def test_the_wait_for_a_locked_store_is_bounded(application: Application) -> None:
    now = 0.0
    directory = open_directory(application.config)
    identity = topics.identity(application.admin, application.config)
    opening = restore.Restore(application.config, directory, application.admin, identity, clock=lambda: now)
    with closing(Store.open(directory.store(0), Cached())):
        opening.begin(0)
        now = restore.LOCK_SECONDS
        assert opening.step(lambda _: None) == {}
        now += 0.1
        with pytest.raises(RetryError, match="held by another process"):
            opening.step(lambda _: None)
    assert (directory.store(0) / "LOCK").exists()


Mount = Callable[[str], Path]


@pytest.fixture
def tmpfs(disks: Disks, application: Application) -> Mount:
    """Mount the state directory with given options, and change them later."""
    state = application.config.state

    def mount(options: str) -> Path:
        disks.memory(state, options)
        return state

    return mount


def wide(lines: list[bytes], seed: int) -> list[bytes]:
    """Return lines with a word each that is long and nowhere else."""
    chance = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [b"%s %s" % (line, "".join(chance.choices(letters, k=400)).encode()) for line in lines]


def test_a_full_disk_is_said_and_nothing_is_lost(application: Application, seed: int, tmpfs: Mount) -> None:
    # Given a disk that is full before all words are stored
    state = tmpfs("size=1500k")
    lines = wide(prose(8000, seed), seed)
    application.start("map")
    reducer = application.start("reduce")
    application.feed(lines[:6000])

    # When the store can't be written any more, then the reducer says so and ends
    assert reducer.wait() == ExitStatus.DISK, reducer.log[-3:]
    assert "no space is left" in reducer.log[-1]
    left = {path: path.stat().st_ino for path in stores(application)}
    again = application.start("reduce")
    assert again.wait() == ExitStatus.DISK, again.log[-3:]
    assert "no space is left" in again.log[-1]
    assert not again.report.partitions, "it asks for none that it can't work on"
    assert {path: path.stat().st_ino for path in stores(application)} == left

    # And with room it goes on where it was
    tmpfs("size=100m")
    application.start("reduce")
    application.feed(lines[6000:])
    hold(application, lines)
    assert check_stores(application, state)


def test_a_host_whose_disk_is_full_ends_and_the_other_one_counts_on(disks: Disks, wcsup: Shell, seed: int) -> None:
    # Given two hosts, one of which has a disk that fills up
    application = wcsup.application
    application.make_topics()
    small, large = application.config.state, wcsup.place / "large"
    disks.memory(small, "size=1500k")
    lines = wide(prose(18_000, seed), seed)
    here = wcsup.start("run --mappers 1 --reducers 2 --plain --log-file small.log")
    there = wcsup.start(f"run --mappers 1 --reducers 1 --plain --log-file large.log --state-dir {large}")
    wcsup.wait_ready()
    wait_for("the other host is ready", lambda: wcsup(f"status --json --state-dir {large}").json.get("ready"))

    # When they count, then the run on that host ends, as no reducer of its can work, and says why
    application.feed(lines[:16_000])
    _, err = here.communicate(timeout=WAIT_SECONDS)
    assert here.returncode == ExitStatus.CONFIGURATION, err
    assert b"no space is left on the device of" in err.splitlines()[-1]
    assert "starts again in" in (wcsup.place / "small.log").read_text()

    # And so does a worker in the foreground
    alone = wcsup("reduce 7")
    assert alone.status == ExitStatus.CONFIGURATION, alone
    assert "no space is left on the device of" in alone.err

    # And the other host counts all of it
    application.wait_counted()
    assert there.poll() is None
    # And with room the first one comes back with the stores that it had
    left = {path: path.stat().st_ino for path in stores(application)}
    assert left
    disks.memory(small, "size=100m")
    back = wcsup.start("run --mappers 1 --reducers 2 --plain --log-file back.log")
    wcsup.wait_ready()
    application.feed(lines[16_000:])
    application.wait_counted()
    assert {path: path.stat().st_ino for path in stores(application)}.items() >= left.items()
    for run, state in ((back, small), (there, large)):
        assert wcsup(f"drain --wait --state-dir {state}").status == 0
        assert run.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines, states=[small, large])


def test_a_read_only_directory_is_refused(application: Application, seed: int, tmpfs: Mount) -> None:
    lines = prose(1000, seed)
    tmpfs("size=20m")
    counted_and_ended(application, lines[:500], kill=False)
    application.stop()
    tmpfs("ro")

    for role in ("map", "reduce"):
        worker: WorkerProcess = application.start(role)
        assert worker.wait() == ExitStatus.CONFIGURATION, worker.log[-3:]
        assert "can't be used: Read-only file system" in worker.log[-1]

    tmpfs("rw")
    application.feed(lines[500:])
    application.start("map")
    application.start("reduce")
    hold(application, lines)


def test_a_directory_that_becomes_read_only_ends_the_run_with_the_reason(disks: Disks, wcsup: Shell, seed: int) -> None:
    # Given a run at work
    application = wcsup.application
    application.make_topics()
    disk = disks.image(application.config.state, wcsup.place / "image")
    lines = wide(prose(8000, seed), seed)
    running = wcsup.start("run --mappers 1 --reducers 2 --plain --log-file run.log")
    wcsup.wait_ready()
    application.feed(lines[:2000])
    application.wait_counted()

    # When the kernel makes its disk read-only, as for an error that it finds, then it ends with a message
    disk.become_read_only()
    application.feed(lines[2000:])
    _, err = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == ExitStatus.CONFIGURATION, err
    assert b"Read-only file system" in err.splitlines()[-1]
    assert "Traceback" not in err.decode() + (wcsup.place / "run.log").read_text()

    # And after a start of the host all is counted
    disk.mount_anew()
    again = wcsup.start("run --mappers 1 --reducers 2 --plain --log-file again.log")
    wcsup.wait_ready()
    application.wait_counted()
    assert wcsup("drain --wait").status == 0
    assert again.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines)


def test_a_file_in_the_place_of_a_store_is_replaced(application: Application, seed: int) -> None:
    lines = prose(1000, seed)
    counted_and_ended(application, lines[:500], kill=True)
    for path in stores(application):
        shutil.rmtree(path)
        path.write_text("not a directory")

    assert application.start("reduce").wait() == ExitStatus.STORE_BROKEN
    application.start("reduce")
    application.feed(lines[500:])
    hold(application, lines)


def test_words_without_a_stamp_are_of_a_load_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "store"
    words = {b"%06d" % number: number for number in range(1, 1000)}
    with closing(Store.open(path, Cached())) as store:
        was_empty = store.empty
        store.load(totals(words))
        assert (was_empty, store.empty) == (True, False)

    with closing(Store.open(path, Cached())) as half:
        assert (half.stamp, half.empty) == (None, False)
        assert half.items() == [(word, eight(number)) for word, number in sorted(words.items())]


def test_a_file_that_a_killed_process_was_loading_from_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(path, Cached()).close()
    (path / "load.sst").write_bytes(b"half of a file")
    with closing(Store.open(path, Cached())) as store:
        assert store.empty
        assert not list(path.glob("*.sst"))


@pytest.mark.parametrize("resident_bytes", [1 << 30, 100_000, 0], ids=["resident", "in-part", "looked-up"])
def test_a_partition_that_does_not_fit_memory_is_restored_in_parts(
    application: Application, monkeypatch: pytest.MonkeyPatch, resident_bytes: int
) -> None:
    """Also where a later part changes and deletes words of an earlier one."""
    # Given four times the bound, and one turn at a time
    monkeypatch.setattr(restore, "_FOLD_BYTES", 1 << 20)
    monkeypatch.setattr(restore, "_TURN_RECORDS", 1)
    monkeypatch.setattr(restore, "_BATCH_RECORDS", 5000)
    config = application.config
    producer = Producer(clients.settings(config))
    expected: list[dict[bytes, int]] = [{} for _ in range(config.partitions)]
    for partition in (0, 2):
        for total in (1, 2):
            for number in range(60_000):
                word = b"w%06d" % (number * total)
                gone = total == 2 and number % 1000 == 0
                value = None if gone else eight(number + total)
                expected[partition][word] = number + total
                if gone:
                    del expected[partition][word]
                producer.produce(config.topic("counts"), value, word, partition=partition)
            assert producer.flush(30) == 0  # its queue has room for a pass, not for all

    # When the stores are restored
    directory = open_directory(config)
    opening = restore.Restore(config, directory, application.admin, topics.identity(application.admin, config))
    opening.resident_bytes = resident_bytes
    for partition in range(config.partitions):
        opening.begin(partition)
    opened: dict[int, Partition] = {}
    seen: list[float | None] = []

    def all_open() -> bool:
        opened.update(opening.step(lambda partitions: dict.fromkeys(partitions, 0)))
        seen.append(opening.remaining())
        return not opening.pending

    wait_for("all are open", all_open)

    # Then each is the fold of its partition, and says so
    assert opening.read == 240_000
    assert any(seconds is not None and seconds > 0 for seconds in seen)
    for partition, found in opened.items():
        want = expected[partition]
        assert found.store.items() == [(word, eight(total)) for word, total in sorted(want.items())]
        assert (found.stamp.distinct, found.stamp.total) == (len(want), sum(want.values()))
        assert found.store.stamp == (found.stamped if want else None)
        found.store.close()
