"""The store of a partition by itself: totals that are kept for a later write, and what is on the disk."""

import os
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from application import wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from totals import eight, totals

from wcsup import _core
from wcsup.errors import StoreBrokenError
from wcsup.state.partition import Partition
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError, peek

STAMP = Stamp("cluster", "topic", 1, next_offset=7)


def deleting(word: bytes) -> _core.Totals:
    """Return totals as a restore reads them where a record of `counts` deletes the word."""
    changelog = _core.Changelog()
    changelog.own(0, 0)
    changelog.add(_core.Inbox([(0, 0, word, None)]))
    return changelog.totals(0, [eight(1)])


def batch_of(*words: bytes) -> _core.Aggregator:
    batch = _core.Aggregator(1)
    batch.own(0, 0)
    batch.add(_core.Inbox((0, offset, word, None) for offset, word in enumerate(words)))
    return batch


def unwritten_since(partition: Partition) -> float | None:
    return partition.unwritten_since


def looked_up(partition: Partition, words: list[bytes]) -> list[int]:
    """Return the totals of words, 0 for new ones, as a batch finds them."""
    totals = partition.new_totals(batch_of(*words), 0)
    return [int.from_bytes(total) - 1 for _, total in totals.pairs()]


def test_unwritten_totals_are_found_at_once_and_written_by_the_next_write(tmp_path: Path) -> None:
    # Given a partition that took two commits after its store was written
    with closing(Store.open(tmp_path / "store", Cached())) as store:
        store.write(totals({b"a": 1, b"b": 2, b"c": 3}), STAMP)
        partition = Partition.of(store, replace(STAMP, distinct=3))
        assert partition.totals.unwritten == 0
        partition.take(totals({b"a": 10, b"d": 4}), 8, own=True)
        since = unwritten_since(partition)
        partition.take(totals({b"a": 11}), 12, own=True)
        assert partition.totals.unwritten == 2
        assert since is not None and unwritten_since(partition) == since

        # Then its words have the newest totals, while the disk has the old ones with their own stamp
        assert looked_up(partition, [b"a", b"b", b"c", b"d", b"e"]) == [11, 2, 3, 4, 0]
        assert store.items() == [(b"a", eight(1)), (b"b", eight(2)), (b"c", eight(3))]
        assert store.stamp == STAMP

        # And a write with newer totals of its own writes all of it, with its stamp
        partition.take(totals({b"d": 5}), 13, own=True)
        partition.write()
        assert store.items() == [(b"a", eight(11)), (b"b", eight(2)), (b"c", eight(3)), (b"d", eight(5))]
        assert (store.stamp, partition.totals.unwritten) == (partition.stamped, 0)
        assert partition.stamped.next_offset == 13
        assert unwritten_since(partition) is None
        assert looked_up(partition, [b"a"]) == [11]


def test_a_new_store_is_locked_at_once_and_made_by_its_first_write(tmp_path: Path) -> None:
    # Given a new store that keeps totals
    path = tmp_path / "stores" / "0"
    with closing(Store.open(path, Cached())) as store:
        partition = Partition.of(store, replace(STAMP, next_offset=0))
        partition.take(totals({b"a": 1}), 3, own=True)
        assert (looked_up(partition, [b"a", b"b"]), store.items(), store.size) == ([1, 0], [], 0)

        # Then it is nobody else's, and nothing but its lock is on the disk
        with pytest.raises(StoreLockedError):
            Store.open(path, Cached())
        with pytest.raises(StoreLockedError):
            peek(path)
        assert [file.name for file in path.iterdir()] == ["LOCK"]

        # And the first write makes it, locked as before
        partition.take(totals({b"b": 2}), 7, own=True)
        partition.write()
        with pytest.raises(StoreLockedError):
            peek(path)
    assert peek(path) == (partition.stamped, {b"a": eight(1), b"b": eight(2)})


def test_a_store_that_was_never_written_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(path, Cached()).close()
    assert peek(path) == (None, {})
    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.empty) == (None, True)


def test_words_to_delete_are_unwritten_too(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "store", Cached())) as store:
        store.write(totals({b"a": 1, b"b": 2}), STAMP)
        partition = Partition.of(store, replace(STAMP, distinct=2))
        partition.take(deleting(b"a"), 9, own=False)
        assert (looked_up(partition, [b"a", b"b"]), len(store.items())) == ([0, 2], 2)
        partition.write()
        assert store.items() == [(b"b", eight(2))]
        assert (partition.stamp.distinct, partition.totals.unwritten) == (1, 0)


def test_what_is_unwritten_when_a_store_is_closed_was_never_in_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        store.write(totals({b"a": 1}), STAMP)
        Partition.of(store, STAMP).take(totals({b"a": 2, b"b": 1}), 9, own=True)

    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.items()) == (STAMP, [(b"a", eight(1))])


def test_what_a_process_knew_of_a_partition_counts_where_its_store_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        before = Partition.of(store, replace(STAMP, next_offset=0))
        before.take(totals({b"a": 2, b"b": 1}), 9, own=True)
        before.write()

    with closing(Store.open(path, Cached())) as store:
        assert store.stamp is not None
        again = Partition.of(store, store.stamp, before)
        assert (again.stamp, again.totals.resident, again.totals.frontier) == (before.stamp, 2, None)
        another = Partition.of(store, replace(store.stamp, next_offset=10), before)
        assert (another.totals.resident, another.totals.frontier) == (0, b"")
        before.take(totals({b"c": 1}), 10, own=True)
        behind = Partition.of(store, replace(store.stamp, next_offset=10), before)
        assert (behind.totals.resident, behind.totals.frontier) == (0, b"")
        assert again.totals.top() == [*another.totals.top(), (b"c", 1)]


def test_a_scan_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    words = {b"\0" * number: number + 1 for number in range(3)} | {b"%05d" % number: 7 for number in range(5000)}
    with closing(Store.open(tmp_path / "store", Cached())) as store:
        store.write(totals(words), STAMP)
        partition = Partition.of(store, replace(STAMP, distinct=len(words)))
        asked = sorted({*words, b"00100x"})
        while partition.scannable:
            before = partition.totals.resident
            partition.scan(1000)
            assert partition.totals.resident > before or partition.totals.frontier is None
            assert looked_up(partition, asked) == [words.get(word, 0) for word in asked]
        assert partition.totals.resident == len(words)
        assert batch_of(*asked).words(0, partition.totals) == []


def test_a_scan_finds_a_damaged_block(tmp_path: Path) -> None:
    """For rocksdict's `items()` it is the end of the data."""
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        store.write(totals({b"%06d" % number: number for number in range(50_000)}), STAMP)
    [file] = path.glob("*.sst")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0x10
    file.write_bytes(data)

    with closing(Store.open(path, Cached())) as store:
        partition = Partition.of(store, replace(STAMP, distinct=50_000))
        with pytest.raises(StoreBrokenError, match="damaged"):
            while partition.scannable:
                partition.scan(1 << 20)
    assert not path.exists()


def test_files_wait_to_be_merged_while_nothing_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def files() -> int:
        return len(list(path.glob("*.sst")))

    def write(store: Store, number: int) -> None:
        store.write(totals({b"%02d %s %06d" % (number, b"x" * 100, n): 1 for n in range(20_000)}), STAMP)

    with closing(Store.open(path, Cached())) as store:
        # Given a store that is only written, with more new files than a look-up should have to go through
        store.only_written(True)
        for number in range(8):
            write(store, number)
        wait_for("there are many", lambda: files() > 5)

        # When words are to be looked up, then they are merged
        store.only_written(False)
        wait_for("they are merged", lambda: files() < 5)
        assert store.lookup([b"03 %s 000007" % (b"x" * 100), b"none"]) == [eight(1), None]


def torn(path: Path, to: Path, left: int | None) -> Path:
    """Copy a store with at most so many bytes of each write-ahead log; none: without them."""
    copy = shutil.copytree(path, to, ignore=shutil.ignore_patterns("LOCK"))
    for log in copy.glob("*.log"):
        if left is None:
            log.unlink()
        elif log.stat().st_size > left:
            os.truncate(log, left)
    return copy


@pytest.mark.parametrize("loaded", [False, True])
def test_a_closed_store_needs_no_write_ahead_log(tmp_path: Path, loaded: bool) -> None:
    # Given a store that was closed twice
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        if loaded:
            store.load(totals({b"a": 1}))
        store.write(totals({b"b": 2}), STAMP)
    later = replace(STAMP, next_offset=12)
    with closing(Store.open(path, Cached())) as store:
        store.write(totals({b"b": 3}), later)

    # When its log is lost, whole or in part, then nothing of it is
    for number, left in enumerate((None, 0, 1, 30, 100)):
        with closing(Store.open(torn(path, tmp_path / f"{number}", left), Cached())) as store:
            assert (store.stamp, store.items()) == (later, [(b"a", eight(1))] * loaded + [(b"b", eight(3))])


def test_whatever_is_lost_of_a_log_the_stamp_is_that_of_the_totals(tmp_path: Path) -> None:
    # Given a store as a process leaves it that is killed, some of it in files and some in the log
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        store.write(totals({b"a": 1}), replace(STAMP, next_offset=1))
    with closing(Store.open(path, Cached())) as store:
        for number in range(2, 12):
            store.write(totals({b"a": number}), replace(STAMP, next_offset=number))
        copy = torn(path, tmp_path / "killed", 1 << 30)

    # When the end of its log is lost
    found = set()
    [longest] = [size for log in copy.glob("*.log") if (size := log.stat().st_size)]
    for left in range(0, longest + 1, longest // 40):
        with closing(Store.open(torn(copy, tmp_path / f"{left}", left), Cached())) as store:
            # Then it is what it was after one of the writes
            assert store.stamp is not None
            assert store.items() == [(b"a", eight(store.stamp.next_offset))]
            found.add(store.stamp.next_offset)
    assert found >= set(range(1, 11))


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text("\0\1a", max_size=3).map(str.encode), st.integers(1, 99)), max_size=4))
def test_words_may_be_any_bytes_and_none(
    tmp_path_factory: pytest.TempPathFactory, writes: list[dict[bytes, int]]
) -> None:
    """Few letters, so that words of NULs alone come up, and the word without any, which is next to the stamp."""
    path = tmp_path_factory.mktemp("any") / "store"
    expected: dict[bytes, int] = {}
    with closing(Store.open(path, Cached())) as store:
        for number, words in enumerate(writes):
            if number % 2:
                partition = Partition.of(store, replace(STAMP, distinct=len(expected)))
                partition.take(totals(words), 7, own=False)
                store.write(partition.totals.behind(), STAMP)
            elif number or not words:
                store.write(totals(words), STAMP)
            else:
                store.load(totals(words))
                store.write(None, STAMP)
            expected |= words
            if number == 1 and expected:
                gone = min(expected)
                store.write(deleting(gone), STAMP)
                del expected[gone]
            asked = sorted({*expected, b"", b"\0\0\0\0", b"b"})
            assert store.lookup(asked) == [eight(expected[word]) if word in expected else None for word in asked]
            assert store.items() == [(word, eight(total)) for word, total in sorted(expected.items())]
            partition = Partition.of(store, replace(STAMP, distinct=1))
            partition.scan(1 << 20)
            assert partition.totals.resident == len(expected)
            assert looked_up(partition, asked) == [expected.get(word, 0) for word in asked]
    assert peek(path) == (STAMP if writes else None, {word: eight(total) for word, total in expected.items()})
