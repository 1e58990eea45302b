"""A reducer's store of one partition: RocksDB, and the stamp that says how much of `counts` is in it."""

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, starmap
from pathlib import Path
from typing import Self

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    IngestExternalFileOptions,
    Options,
    Rdict,
    ReadOptions,
    SstFileWriter,
    WriteBatch,
)

from wcsup import _core
from wcsup.errors import ConfigurationError, DiskError, RetryError, StoreBrokenError
from wcsup.state import resident

log = logging.getLogger("wcsup.store")

FORMAT = 2

_STAMP = b""
"""The stamp's key, which no word has: see `_key`.

The stamp is not in a column family of its own, since RocksDB flushes column families one by one when a store is closed.
A crash in between would leave totals in a file and their stamp only in the write-ahead log; with a damaged log the
store would then have totals beyond its stamp.
"""

_CURRENT = "CURRENT"
"""A file that every RocksDB directory has."""

_LOADED = "load.sst"
"""The sorted file that an empty store is loaded with, until RocksDB has ingested it."""

_PART = 10_000

_FEW_FILES, _MANY_FILES = 4, 16
"""How many files at level 0 start a compaction. Few while words are looked up, since a look-up searches each of the
files. Many while none is looked up, since totals are then rewritten less often."""

_WRITE_BUFFER_BYTES = 2 << 20
_BLOCK_CACHE_BYTES = 32 << 20


class StoreLockedError(Exception):
    """Another process, or another `Store` of this process, has the directory open."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The prefix of a `counts` partition that a store is the fold of; written with the totals, in one batch."""

    cluster: str
    topic: str
    """Topic id of `counts`."""
    partitions: int
    next_offset: int
    """The first offset of `counts` whose record is not in the store."""
    own: bool = False
    """Whether the records just below `next_offset` are of this host's own successful commit. If the partition then ends
    one offset later, that offset is the commit's control record, and nothing is missing."""
    distinct: int = 0
    total: int = 0
    top: tuple[tuple[str, int], ...] = ()
    """Most frequent words with their totals; bytes as Latin-1 text, so that JSON can hold any word."""
    format: int = FORMAT
    unlisted: int | None = None
    """Words that are too long for the top words; none where the store is of an older wcsup, which didn't count them."""

    def after(
        self, totals: _core.Totals, next_offset: int, *, own: bool, top: tuple[tuple[str, int], ...] = ()
    ) -> "Stamp":
        """Return the stamp of the store after taking `totals`, which `counts` has below `next_offset`."""
        # Twice as quick as `replace`; a stamp is made for each partition of each commit.
        return Stamp(
            self.cluster,
            self.topic,
            self.partitions,
            next_offset,
            own,
            self.distinct + totals.new_words,
            self.total + totals.added,
            top,
            unlisted=None if self.unlisted is None else self.unlisted + totals.new_long,
        )

    def missed(self, end: int, stable: int) -> int:
        """Return how many offsets below `end` have to be read.

        `stable` is the last stable offset from before `end` was read. If it is lower than `end`, the one offset behind
        this host's own commit may be a record of another transaction, and not the commit's control record: the
        coordinator writes the control record late if it could not reach the partition's leader.
        """
        own_marker_only = self.own and end == stable == self.next_offset + 1
        return 0 if own_marker_only else end - self.next_offset


class Cached:
    """The block cache that all stores of one process share, so that memory does not grow with partitions."""

    def __init__(self) -> None:
        self.blocks = Cache(_BLOCK_CACHE_BYTES)

    def options(self) -> Options:
        """Return options for point look-ups of small values by sorted keys."""
        table = BlockBasedOptions()
        table.set_block_cache(self.blocks)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        table.set_pin_l0_filter_and_index_blocks_in_cache(True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_block_based_table_factory(table)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        options.set_compression_type(DBCompressionType.lz4())
        options.set_keep_log_file_num(2)
        options.set_max_open_files(64)
        return options


class Store:
    """An open store. A lock ensures that only one process has its directory open.

    The first write creates a new store's RocksDB. That takes ten syncs, or 20 ms on a busy disk: a starting worker does
    not wait for this in all partitions before it counts.
    """

    def __init__(self, path: Path, lock: int, cached: Cached) -> None:
        self.path = path
        self.stamp: Stamp | None = None
        """None for a new store, and for one that another version of wcsup wrote or that was only partly loaded."""
        self.empty = True
        """Whether nothing was ever written to the store."""
        # True at first: compacting all files of all stores would occupy both processors at a start, for totals that are
        # read once.
        self._only_written = True
        self._lock = lock
        self._cached = cached
        self._database: Rdict | None = None
        self._closed = False

    @classmethod
    def open(cls, path: Path, cached: Cached) -> Self:
        """Open the store in directory `path`, or begin a new one.

        Raises `StoreLockedError` where it is open elsewhere, `StoreBrokenError` where it is damaged (its directory is
        then discarded), `DiskError` where its disk is full or fails, and `ConfigurationError` where access is denied.
        """
        store = cls(path, _lock(path), cached)
        try:
            store._read()
        except Exception as error:
            with closing(store):
                raise _meaning(error, path, store) from error
        return store

    def _read(self) -> None:
        (self.path / _LOADED).unlink(missing_ok=True)  # left by a process that was killed
        try:
            (self.path / _CURRENT).stat()  # not `exists`: that would take an unreadable store for a new one
        except FileNotFoundError:
            return
        database = self._made()
        raw = database.get(_STAMP)
        self.empty = raw is None and not any(_entries(database))
        self.stamp = None if raw is None else _decode(raw)

    def _made(self) -> Rdict:
        if self._database is None:
            options = self._cached.options()
            options.set_level_zero_file_num_compaction_trigger(_MANY_FILES if self._only_written else _FEW_FILES)
            self._database = Rdict(str(self.path), options)
        return self._database

    def keep(self, totals: _core.State) -> None:
        """Save the resident totals for the store's next opening. None may be unwritten; close the store next."""
        if self.stamp is not None:
            resident.save(self.path, _encode(self.stamp), totals)

    def kept(self, totals: _core.State) -> None:
        """Make the totals resident that `keep` saved, if the store was not written since."""
        if self.stamp is not None:
            resident.load(self.path, _encode(self.stamp), totals)

    def only_written(self, so: bool) -> None:
        """Say whether look-ups in the store have ended, or will soon: all of its totals are resident, or will be."""
        if so == self._only_written:
            return
        self._only_written = so
        if self._database is not None:
            files = _MANY_FILES if so else _FEW_FILES
            self._database.set_options({"level0_file_num_compaction_trigger": str(files)})

    def lookup(self, words: Sequence[bytes]) -> list[bytes | None]:
        """Return the stored totals of `words`, in the order of `words`, which has to be byte order."""
        if self._database is None or not words:
            return [None] * len(words)
        try:
            return self._database[list(_keys(words))]  # type: ignore[return-value]
        except Exception as error:
            raise _meaning(error, self.path, self) from error

    def write(self, totals: _core.Totals | None, stamp: Stamp) -> None:
        """Write new totals and their stamp in one RocksDB batch."""
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        if totals is not None:
            _each(put, _pairs(totals))
            for key in _keys(totals.deleted()):
                batch.delete(key)
        put(_STAMP, _encode(stamp))
        try:
            self._made().write(batch)
        except Exception as error:
            raise _meaning(error, self.path, self) from error
        self.stamp = stamp
        self.empty = False

    def scan(self, totals: _core.State, size: int) -> None:
        """Make the store's words from the frontier of `totals` on resident in `totals`, `size` bytes of them.

        Each scan has a new iterator: a kept iterator would keep files on disk that were compacted meanwhile.
        """
        frontier = totals.frontier
        if frontier is None:
            return
        try:
            if self._database is None or totals.scan(_from(self._database, frontier), size):
                self._end(totals.frontier)
                totals.complete()
        except Exception as error:
            raise _meaning(error, self.path, self) from error

    def _end(self, frontier: bytes | None) -> None:
        """Raise where there are more words: rocksdict's `items()` ends at a damaged block as if it were the last."""
        if self._database is None or frontier is None:
            return
        entries = self._database.iter()
        entries.seek(_key(frontier))
        entries.status()
        if entries.valid():
            raise OSError("a scan ended before the last word")

    def load(self, totals: _core.Totals) -> None:
        """Write the first totals to an empty store as a sorted RocksDB file: a third less work than a batch.

        The caller writes the stamp next. Until then the store has totals without a stamp. If the process is killed
        here, the store is discarded: reading `counts` into it again would keep words that were deleted since, and would
        take no word for a new one, so `distinct` would be wrong.
        """
        file = str(self.path / _LOADED)
        options = IngestExternalFileOptions()
        options.set_move_files(True)
        try:
            database = self._made()
            writer = SstFileWriter(options=self._cached.options())
            writer.open(file)
            _each(writer.__setitem__, _pairs(totals))
            writer.finish()
            database.ingest_external_file([file], options)
        except Exception as error:
            raise _meaning(error, self.path, self) from error
        self.empty = False

    def items(self) -> "list[tuple[bytes, bytes]]":
        """Return all (word, total) pairs in byte order of the words."""
        try:
            return [] if self._database is None else list(_entries(self._database))
        except Exception as error:
            raise _meaning(error, self.path, self) from error

    @property
    def size(self) -> int:
        """Bytes on disk, without the write-ahead log."""
        if self._database is None:
            return 0
        return self._database.property_int_value("rocksdb.total-sst-files-size") or 0

    def close(self) -> None:
        """Flush and unlock. A second call does nothing.

        An error is only logged, since it must not hide the error that the store is closed for. It loses nothing: totals
        that are not flushed are in the write-ahead log, or are read from `counts` again.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._database is not None:
                self._database.close()
        except Exception as error:  # noqa: BLE001 - rocksdict has no class of its own
            log.warning("closing store %s: %s", self.path, error)
        os.close(self._lock)


def _lock(path: Path) -> int:
    """Make a store's directory if it is missing and lock it; return the descriptor whose closing unlocks it.

    RocksDB has another lock of its own on the same file, from the first write on.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError as error:
        raise StoreLockedError(f"store {path} was discarded this moment") from error
    except OSError as error:
        raise _meaning(error, path) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(lock).st_nlink:
            raise OSError("it was discarded this moment")
    except OSError as error:
        os.close(lock)
        raise StoreLockedError(f"store {path} is open elsewhere: {error}") from error
    return lock


def peek(path: Path) -> tuple[Stamp | None, dict[bytes, bytes]]:
    """Return the stamp and the totals of a store that is not open, without changing it.

    RocksDB reads the store through links in another directory, since rocksdict writes a file even when it opens a store
    only for reading. The store's lock is held meanwhile, so that no worker changes the store. Raises `StoreLockedError`
    where a worker has the store open, and `StoreBrokenError` where it can't be read.
    """
    lock = -1
    try:
        lock = os.open(path / "LOCK", os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (path / _CURRENT).exists():
            return None, {}
        with tempfile.TemporaryDirectory(prefix="wcsup-") as links:
            for file in path.resolve().iterdir():
                if file.name not in {"LOCK", "LOG", "rocksdict-config.json"}:
                    (Path(links) / file.name).symlink_to(file)
            return _read(links)
    except BlockingIOError as error:
        raise StoreLockedError(f"store {path} is open in another process") from error
    except Exception as error:  # rocksdict has no class of its own
        raise StoreBrokenError(f"store {path} can't be read: {error}") from error
    finally:
        if lock >= 0:
            os.close(lock)


def _read(directory: str) -> tuple[Stamp | None, dict[bytes, bytes]]:
    database = Rdict(directory, Options(raw_mode=True), access_type=AccessType.read_only())
    try:
        raw = database.get(_STAMP)
        totals = dict(_entries(database))
    finally:
        database.close()
    return (None if raw is None else _decode(raw)), totals


def _key(word: bytes) -> bytes:
    """Return a word's key: the word, with one NUL more if it has no other bytes, so that no word has the key `_STAMP`.

    Words may be any bytes, and may be empty. Keys have the order of the words, which `SstFileWriter` needs.
    """
    return word if word.strip(b"\0") else word + b"\0"


def _word(key: bytes) -> bytes:
    """Return the word that has a key."""
    return key if key.strip(b"\0") else key[:-1]


def _keys(words: Sequence[bytes]) -> Sequence[bytes]:
    """Return the keys of words in byte order. Words of NULs alone come first, so one look finds that there is none."""
    return [_key(word) for word in words] if words and not words[0].strip(b"\0") else words


def _keyed(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return (key, total) pairs of (word, total) pairs in byte order."""
    return [(_key(word), total) for word, total in pairs] if pairs and not pairs[0][0].strip(b"\0") else pairs


def _pairs(totals: _core.Totals) -> Iterator[list[tuple[bytes, bytes]]]:
    """Yield lists of (key, total) pairs, a part at a time: Python objects take many times the memory."""
    for start in range(0, len(totals), _PART):
        yield _keyed(totals.pairs(start, start + _PART))


def _each(take: Callable[[bytes, bytes], None], parts: Iterable[list[tuple[bytes, bytes]]]) -> None:
    """Call `take` for each (key, total), without interpreted code for each pair."""
    for part in parts:
        deque(starmap(take, part), maxlen=0)


def _from(database: Rdict, word: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (word, total) pairs from a word on; a damaged block ends them."""
    options = ReadOptions()
    options.fill_cache(False)  # type: ignore[call-arg] # the stub's signature lacks it
    items = database.items(from_key=_key(word), read_opt=options)
    if word.strip(b"\0"):
        return items  # type: ignore[return-value]
    # Only the first keys can consist of NULs alone.
    first: list[tuple[bytes, bytes]] = []
    for key, total in items:
        first.append((_word(key), total))  # type: ignore[arg-type]
        if key.strip(b"\0"):  # type: ignore[union-attr, arg-type]
            break
    return chain(first, items)  # type: ignore[arg-type]


def _entries(database: Rdict) -> Iterator[tuple[bytes, bytes]]:
    """Yield all (word, total) pairs; raise at a damaged block, where rocksdict's `items()` would just end."""
    entries = database.iter()
    entries.seek_to_first()
    while entries.valid():
        if (key := entries.key()) != _STAMP:
            yield _word(key), entries.value()
        entries.next()
    entries.status()


def discard(path: Path) -> None:
    """Delete a store that is not open.

    Raises `DiskError` where a part of it can't be deleted, since that would be taken for a store again.
    """
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise DiskError(f"store {path} can't be used and can't be deleted: {error}") from error


def _encode(stamp: Stamp) -> bytes:
    # Not `asdict`, which copies each of the top words: 0.5 ms for every partition of every commit.
    return json.dumps({name: getattr(stamp, name) for name in Stamp.__slots__}).encode()


def _decode(raw: bytes) -> Stamp | None:
    """Return the stamp; none where another version of wcsup wrote it, since its fields may mean anything."""
    try:
        stamp = Stamp(**json.loads(raw))
    except (ValueError, TypeError):
        return None
    if stamp.format != FORMAT:
        return None
    return replace(stamp, top=tuple((word, total) for word, total in stamp.top))


_LOCKED = ("IO error: While lock file: ", "IO error: lock hold by current process")
_GONE = "IO error: No such file or directory"


def _meaning(error: Exception, path: Path, store: Store | None = None) -> Exception:
    """Return wcsup's error for an error of a store. A damaged store is also discarded; no other store is.

    A full or failing disk, or a lack of memory, is no damage: the store is left as it is, and is used again when there
    is room.
    """
    text = str(error)
    if text.startswith(_LOCKED):
        return StoreLockedError(text)
    if _is_damage(error, text):
        if store is not None:
            store.close()
        discard(path)
        return StoreBrokenError(f"store {path} is damaged and was discarded; a new start rebuilds it: {text}")
    if isinstance(error, MemoryError):
        return RetryError(f"there is not enough memory to work with store {path}, which is left as it is")
    if isinstance(error, OSError) or "IO error: " in text:
        return _disk(path, text)
    if type(error) is not Exception:  # a defect of wcsup: rocksdict raises plain `Exception` for errors of RocksDB
        raise error
    return RetryError(f"store {path} can't be used, and is left as it is: {text}")


def _is_damage(error: Exception, text: str) -> bool:
    """Return whether the store itself is damaged: RocksDB calls it corrupt, or a part of it is missing.

    RocksDB's text begins with the kind of status, and may have paths behind it. RocksDB reports a missing table file as
    a corruption, and a missing manifest as an IO error. If the disk fails as RocksDB asks for the size of a table file,
    it reports a corruption with the disk's error in the text.
    """
    if isinstance(error, OSError):
        return isinstance(error, FileExistsError)  # a file is in the place of the directory
    if text.startswith("Corruption: "):
        return "IO error: " not in text.replace(_GONE, "")
    return text.startswith(f"{_GONE}: ")


def _disk(path: Path, text: str) -> ConfigurationError:
    """Return wcsup's error for an error of the disk, or for too many open files."""
    if "No space left" in text:
        return DiskError(f"no space is left on the device of {path}; make room and start again")
    if "Permission denied" in text:
        return ConfigurationError(f"store {path} can't be used: {text}")
    if "Too many open files" in text:
        return ConfigurationError(f"store {path} can't be opened: {text}; raise the limit (ulimit -n)")
    return DiskError(f"the disk of store {path} can't be used: {text}; the store is left as it is")
