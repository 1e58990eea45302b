"""The file of a closed store's resident totals: what its next opening takes from it, and when it takes nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from totals import totals

from wcsup.state import resident
from wcsup.state.partition import Partition
from wcsup.state.store import Cached, Stamp, Store, peek

STAMP = Stamp("cluster", "topic", 1, next_offset=7)
WORDS = {f"{number:05}".encode(): number for number in range(1, 20_000)}


@contextmanager
def opened(path: Path, before: Partition | None = None) -> Iterator[Partition]:
    """Open a partition's store as a new process does, and lock nobody out of it afterwards."""
    store = Store.open(path, Cached())
    try:
        yield Partition.of(store, store.stamp or STAMP, before)
    finally:
        store.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with many words, and the file."""
    with opened(tmp_path / "store") as partition:
        partition.take(totals(WORDS), 9, own=True)
        partition.write()
        partition.close(keep=True)
    assert file(tmp_path / "store").exists()
    return tmp_path / "store"


def file(path: Path) -> Path:
    return path / "resident"


def known(partition: Partition) -> tuple[int, bool]:
    """Return how many words are resident, and whether these are all that there are."""
    return partition.totals.resident, partition.totals.frontier is None


def test_the_next_opening_needs_no_scan(path: Path) -> None:
    with opened(path) as partition:
        assert known(partition) == (len(WORDS), True)
        assert not partition.scannable
        assert partition.totals.top(1) == [(b"19999", 19_999)]
        assert not file(path).exists(), "it is not right any more once the store is written"
    assert peek(path)[1].keys() == WORDS.keys()


def test_totals_that_did_not_all_fit_go_on_at_their_frontier(path: Path) -> None:
    with opened(path) as partition:
        partition.totals.limit(100_000)
        words, frontier = partition.totals.resident, partition.totals.frontier
        assert words < len(WORDS)
        partition.close(keep=True)
    with opened(path) as partition:
        assert (partition.totals.resident, partition.totals.frontier) == (words, frontier)
        partition.scan(1 << 20)
        assert known(partition) == (len(WORDS), True)


def test_what_was_killed_since_is_scanned(path: Path) -> None:
    kept = file(path).read_bytes()
    with opened(path) as partition:
        partition.take(totals({b"00001": 5}), 12, own=True)
        partition.write()
    for left in (None, kept):  # also where an older wcsup left the file alone
        if left is not None:
            file(path).write_bytes(left)
        with opened(path) as partition:
            assert known(partition) == (0, False)
            partition.scan(1 << 20)
            assert known(partition) == (len(WORDS), True)
        assert not file(path).exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "bit", "form"])
def test_a_damaged_file_is_left_out(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = bytearray(file(path).read_bytes())
    match damage:
        case "cut":
            del data[-5:]
        case "empty":
            data.clear()
        case "bit":
            data[len(data) // 2] ^= 1
        case "form":
            data[6] ^= 1
    file(path).write_bytes(data)
    with opened(path) as partition:
        assert known(partition) == (0, False)
    assert "can't be used" in caplog.text


def test_nothing_is_kept_that_the_store_lacks_or_that_is_soon_scanned(tmp_path: Path) -> None:
    with opened(tmp_path / "behind") as partition:
        partition.take(totals(WORDS), 9, own=True)
        partition.close(keep=True)
    with opened(tmp_path / "small") as partition:
        partition.take(totals({b"a": 1}), 9, own=True)
        partition.write()
        partition.close(keep=True)
    with opened(tmp_path / "again") as partition:
        partition.take(totals(WORDS), 9, own=True)
        partition.write()
        partition.close(keep=False)
    assert not [one for one in tmp_path.iterdir() if file(one).exists()]


def test_a_disk_that_does_not_take_it_is_no_error(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with opened(path) as partition:
        file(path).mkdir()  # as good as any other disk error
        partition.close(keep=True)
    assert "are not kept" in caplog.text
    with opened(path) as partition:
        assert known(partition) == (0, False)
    assert "can't be used" in caplog.text


def test_a_disk_that_is_nearly_full_is_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as partition:
        free = SimpleNamespace(free=10 * partition.totals.memory - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        partition.close(keep=True)
    assert not file(path).exists()


def test_a_store_of_another_stamp_is_not_asked_for_it(path: Path) -> None:
    store = Store.open(path, Cached())
    partition = Partition.of(store, replace(STAMP, distinct=1))
    assert known(partition) == (0, False)
    store.close()
    assert file(path).exists()
    resident.load(path, b"another", partition.totals)
    assert known(partition) == (0, False)
