"""The store of a partition by itself: totals that are kept for a later write."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from totals import eight, totals

from wcsup import _core
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError, peek

STAMP = Stamp("cluster", "topic", 1, next_offset=7)


def deleting(word: bytes) -> _core.Totals:
    """Return totals as a restore reads them where a record of `counts` deletes the word."""
    changelog = _core.Changelog()
    changelog.own(0, 0)
    changelog.add(_core.Inbox([(0, 0, word, None)]))
    return changelog.totals(0, [eight(1)])


def kept_since(store: Store) -> float | None:
    return store.kept_since


def test_kept_totals_are_found_at_once_and_written_by_the_next_write(tmp_path: Path) -> None:
    # Given a store that was given two commits to keep after it was written
    with closing(Store.open(tmp_path / "store", Cached())) as store:
        store.write(totals({b"a": 1, b"b": 2, b"c": 3}), STAMP)
        assert store.kept == 0
        store.keep(totals({b"a": 10, b"d": 4}))
        since = kept_since(store)
        store.keep(totals({b"a": 11}))
        assert store.kept == 2
        assert since is not None and kept_since(store) == since

        # Then its words have the newest totals, while the disk has the old ones with their own stamp
        assert store.lookup([b"a", b"b", b"c", b"d", b"e"]) == [eight(11), eight(2), eight(3), eight(4), None]
        assert store.items() == [(b"a", eight(1)), (b"b", eight(2)), (b"c", eight(3))]
        assert store.stamp == STAMP

        # And a write with newer totals of its own writes all of it, with its stamp
        later = replace(STAMP, next_offset=12)
        store.write(totals({b"d": 5}), later)
        assert store.items() == [(b"a", eight(11)), (b"b", eight(2)), (b"c", eight(3)), (b"d", eight(5))]
        assert (store.stamp, store.kept) == (later, 0)
        assert kept_since(store) is None
        assert store.lookup([b"a"]) == [eight(11)]


def test_a_new_store_is_locked_at_once_and_made_by_its_first_write(tmp_path: Path) -> None:
    # Given a new store that keeps totals
    path = tmp_path / "stores" / "0"
    with closing(Store.open(path, Cached())) as store:
        store.keep(totals({b"a": 1}))
        assert (store.lookup([b"a", b"b"]), store.items(), store.size) == ([eight(1), None], [], 0)

        # Then it is nobody else's, and nothing but its lock is on the disk
        with pytest.raises(StoreLockedError):
            Store.open(path, Cached())
        with pytest.raises(StoreLockedError):
            peek(path)
        assert [file.name for file in path.iterdir()] == ["LOCK"]

        # And the first write makes it, locked as before
        store.write(totals({b"b": 2}), STAMP)
        with pytest.raises(StoreLockedError):
            peek(path)
    assert peek(path) == (STAMP, {b"a": eight(1), b"b": eight(2)})


def test_a_store_that_was_never_written_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "store"
    Store.open(path, Cached()).close()
    assert peek(path) == (None, {})
    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.empty) == (None, True)


def test_words_to_delete_are_not_kept_but_written(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path / "store", Cached())) as store:
        store.write(totals({b"a": 1, b"b": 2}), STAMP)
        with pytest.raises(ValueError, match="to delete"):
            store.keep(deleting(b"a"))
        assert store.kept == 0
        store.write(deleting(b"a"), STAMP)
        assert store.items() == [(b"b", eight(2))]


def test_what_is_kept_when_a_store_is_closed_was_never_in_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store:
        store.write(totals({b"a": 1}), STAMP)
        store.keep(totals({b"a": 2, b"b": 1}))

    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.items()) == (STAMP, [(b"a", eight(1))])
