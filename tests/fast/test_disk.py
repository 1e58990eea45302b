"""What a store does on a disk that is full, failing or read-only, and which damage it is discarded for."""

import errno
import os
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from disks import Disks
from rocksdict import Options, Rdict
from totals import eight, totals

from wcsup.config import Config
from wcsup.errors import ConfigurationError, DiskError, ExitStatus, RetryError, StoreBrokenError
from wcsup.state.directory import StateDirectory, open_directory
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError

STAMP = Stamp("cluster", "topic", 1, next_offset=7)


def some(many: int) -> dict[bytes, int]:
    return {b"%06d" % number: number for number in range(1, many)}


def made(path: Path, *, words: int = 1000, killed: bool = False) -> Path:
    """Make a store with many words in a file and few in its log, as a process leaves it that ends or is killed."""
    original = path.with_name("original")
    with closing(Store.open(original, Cached())) as store:
        store.load(totals(some(words)))
        store.write(totals({b"a": 1}), STAMP)
        if killed:
            return shutil.copytree(original, path, ignore=shutil.ignore_patterns("LOCK"))
    return original.rename(path)


def check_whole(path: Path, words: int = 1000) -> None:
    with closing(Store.open(path, Cached())) as store:
        assert store.stamp == STAMP
        assert store.items() == [(word, eight(total)) for word, total in sorted({**some(words), b"a": 1}.items())]


def fill(store: Store) -> None:
    """Write words without an end."""
    chance = random.Random(1)
    for offset in range(1, 10_000):
        words = {b"%06d" % number + chance.randbytes(300): 1 for number in range(100)}
        store.write(totals(words), Stamp("cluster", "topic", 1, next_offset=offset))


def stamp_of(path: Path) -> Stamp:
    with closing(Store.open(path, Cached())) as store:
        assert store.stamp is not None
        assert len(store.items()) == store.stamp.next_offset * 100
        return store.stamp


def test_a_full_disk_leaves_the_store_as_it_was_written_last(tmp_path: Path, disks: Disks) -> None:
    # Given a store on a disk that fills up
    disk = tmp_path / "disk"
    disks.memory(disk, "size=3m")
    with closing(Store.open(disk / "store", Cached())) as store:
        with pytest.raises(DiskError, match=f"no space is left on the device of {disk / 'store'}; make room"):
            fill(store)
        last = store.stamp
        # And every further write says what is the matter, too
        with pytest.raises(DiskError):
            store.write(totals({b"a": 1}), STAMP)

    # When there is room again, then it goes on from its last write
    disks.memory(disk, "size=50m")
    assert stamp_of(disk / "store") == last


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_limit_on_files_leaves_the_store(tmp_path: Path) -> None:
    """RocksDB has a word of its own for a full disk alone; a quota comes as this does, with the system's text."""
    path = tmp_path / "store"
    with closing(Store.open(path, Cached())) as store, file_size_limit(1 << 20):
        with pytest.raises(DiskError, match=r"can't be used: IO error: .*File too large; the store is left as it is"):
            fill(store)
        last = store.stamp
    assert stamp_of(path) == last


def test_a_disk_that_cannot_be_read_leaves_the_store(tmp_path: Path, disks: Disks) -> None:
    # Given an open store, half of whose table lies on broken blocks
    image = disks.image(tmp_path / "disk", tmp_path / "image")
    path = made(tmp_path / "disk" / "store", words=40_000)
    image.keep()
    with closing(Store.open(path, Cached())) as store:
        table = max(path.glob("*.sst"), key=lambda file: file.stat().st_size)
        image.break_at(table, table.stat().st_size // 2)

        # When it is read there, then the worker ends for the disk
        broken = r"can't be used: IO error: While pread .*Input/output error; the store is left as it is"
        with pytest.raises(DiskError, match=broken):
            store.lookup(sorted(some(40_000)))
        with pytest.raises(DiskError, match=broken):
            store.items()

    # And once the disk is mended the store is whole
    image.mend()
    check_whole(path, words=40_000)


def test_a_disk_that_became_read_only_leaves_the_store(tmp_path: Path, disks: Disks) -> None:
    path = made(tmp_path / "disk" / "store")
    with closing(Store.open(path, Cached())) as store:
        disks.make_read_only(tmp_path / "disk")
        with pytest.raises(DiskError, match="Read-only file system"):
            fill(store)
    with pytest.raises(DiskError, match="Read-only file system"):
        Store.open(path, Cached())
    disks.unmount(tmp_path / "disk")
    with closing(Store.open(path, Cached())) as store:
        assert store.stamp is not None
        assert store.lookup([b"000001"]) == [eight(1)]


def test_a_worker_asks_for_room_before_it_joins(tmp_path: Path, disks: Disks) -> None:
    disks.memory(tmp_path / "disk", "size=900k")
    with pytest.raises(DiskError, match=r"no space is left on the device of .*; make room"):
        StateDirectory(tmp_path / "disk", "host").check_room()
    disks.memory(tmp_path / "disk", "size=3m")
    StateDirectory(tmp_path / "disk", "host").check_room()
    assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskError),
        (errno.EDQUOT, DiskError),
        (errno.EIO, DiskError),
        (errno.EROFS, ConfigurationError),
        (errno.EACCES, ConfigurationError),
    ],
)
def test_a_state_directory_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[ConfigurationError]
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    for use in (lambda: open_directory(Config(state_dir=tmp_path)), StateDirectory(tmp_path, "host").check_room):
        with pytest.raises(ConfigurationError, match=r"state directory .* can't be used|no space is left") as caught:
            use()
        assert type(caught.value) is kind
        assert caught.value.status is ExitStatus.CONFIGURATION


def test_a_new_state_directory_is_for_its_owner_alone_and_another_is_left_as_it_is(tmp_path: Path) -> None:
    open_directory(Config(state_dir=tmp_path / "new"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    open_directory(Config(state_dir=tmp_path / "shared"))
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o750


Damage = Callable[[Path], object]


def cut(part: float) -> Damage:
    return lambda file: os.truncate(file, int(file.stat().st_size * part))


def flip(part: float) -> Damage:
    def damage(file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[int(len(data) * part)] ^= 0x10
        file.write_bytes(data)

    return damage


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def append(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"garbage" * 20)


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("CURRENT", cut(0)),
        ("CURRENT", cut(0.5)),
        ("CURRENT", flip(0.1)),
        ("CURRENT", flip(0.9)),  # the name of another manifest
        ("CURRENT", zero),
        ("CURRENT", append),
        ("MANIFEST-*", Path.unlink),
        ("MANIFEST-*", cut(0)),
        ("MANIFEST-*", cut(0.5)),
        ("MANIFEST-*", flip(0.3)),
        ("MANIFEST-*", zero),
        ("*.sst", Path.unlink),
        ("*.sst", cut(0)),
        ("*.sst", cut(0.9)),
        ("*.sst", flip(0.5)),
        ("*.sst", flip(0.999)),
        ("*.sst", zero),
        ("*.sst", append),
    ],
)
def test_a_damaged_store_is_discarded(tmp_path: Path, pattern: str, damage: Damage) -> None:
    path = made(tmp_path / "store", killed=True)
    files = list(path.glob(pattern))
    assert files
    for file in files:
        damage(file)
    with (
        pytest.raises(StoreBrokenError, match="is damaged and was discarded"),
        closing(Store.open(path, Cached())) as s,
    ):
        s.items()
    assert not path.exists()


def test_a_store_without_its_first_file_is_discarded_when_it_is_written(tmp_path: Path) -> None:
    path = made(tmp_path / "store", killed=True)
    (path / "CURRENT").unlink()
    with closing(Store.open(path, Cached())) as store:
        assert store.stamp is None
        with pytest.raises(StoreBrokenError, match="is damaged and was discarded"):
            store.write(totals({b"b": 1}), STAMP)
    assert not path.exists()


def test_a_store_of_another_version_is_no_empty_one(tmp_path: Path) -> None:
    """The first version kept the stamp in a column family of its own; a restore discards what has no stamp."""
    path = tmp_path / "store"
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    with closing(Rdict(str(path), options, column_families={"meta": options})) as old:
        old[b"word"] = eight(1)
        old.get_column_family("meta")[b"stamp"] = b'{"format": 1}'
    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.empty) == (None, False)


@pytest.mark.parametrize("raw", [b"no JSON", b"7", b'{"format": 99}', b'{"format": 2}', b'{"format": 2, "x": 1}'])
def test_a_stamp_that_is_none_is_no_reason_to_end(tmp_path: Path, raw: bytes) -> None:
    path = made(tmp_path / "store")
    with closing(Rdict(str(path), Options(raw_mode=True))) as database:
        database[b""] = raw
    with closing(Store.open(path, Cached())) as store:
        assert (store.stamp, store.empty) == (None, False)


@pytest.mark.parametrize("place", ["store", "parent"])
def test_a_file_in_the_place_of_a_store_is_discarded(tmp_path: Path, place: str) -> None:
    path = tmp_path / "parent" / "store" if place == "parent" else tmp_path / "store"
    (path.parent if place == "parent" else path).write_text("no directory")
    with pytest.raises(StoreBrokenError if place == "store" else DiskError):
        Store.open(path, Cached())
    assert path.parent.exists() and not path.exists()


TEXTS: list[tuple[Exception, type[Exception]]] = [
    # RocksDB's status, as rocksdict raises it: it says what kind it is first, and paths stand in it.
    (Exception("IO error: While pread offset 0 len 8: /s/000008.sst: Input/output error"), DiskError),
    (Exception("IO error: While fdatasync: /s/000004.log: Input/output error"), DiskError),
    (Exception("IO error: While appending to file: /s/000004.log: Disk quota exceeded"), DiskError),
    (
        Exception("IO error: No space left on device: While fdatasync: /s/000020.sst: No space left on device"),
        DiskError,
    ),
    (Exception("IO error: While open a file for appending: /s/000004.log: Read-only file system"), DiskError),
    (Exception("IO error: Stale file handle"), DiskError),
    (Exception("IO error: Writer has previous error."), DiskError),
    (
        Exception("Corruption: Can't access /8.sst: IO error: while stat a file for size: /s: Input/output error"),
        DiskError,
    ),
    (Exception("IO error: While pread offset 0 len 8: /Corruption: /000008.sst: Input/output error"), DiskError),
    (Exception("IO error: While open a file for random read: /s/000008.sst: Permission denied"), ConfigurationError),
    (Exception("IO error: While open a file for random read: /s/8.sst: Too many open files"), ConfigurationError),
    (Exception("IO error: While lock file: /s/LOCK: Resource temporarily unavailable"), StoreLockedError),
    (
        Exception("IO error: lock hold by current process, acquire time 1: /s/LOCK: No locks available"),
        StoreLockedError,
    ),
    (Exception("Result incomplete: Memory limit reached"), RetryError),
    (Exception("Operation aborted: "), RetryError),
    (MemoryError(), RetryError),
    (OSError(errno.EIO, "Input/output error"), DiskError),
    (TypeError("a defect of ours"), TypeError),
]


@pytest.mark.parametrize(("error", "meaning"), TEXTS)
def test_no_other_error_discards_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, meaning: type[Exception]
) -> None:
    path = made(tmp_path / "store")

    def refuse(*_arguments: object) -> None:
        raise error

    # When it is opened, or an open one is written
    with monkeypatch.context() as patch:
        patch.setattr(Store, "_made", refuse)
        with pytest.raises(meaning) as caught:
            Store.open(path, Cached())
        assert type(caught.value) is meaning
    with closing(Store.open(path, Cached())) as store, monkeypatch.context() as patch:
        patch.setattr(Store, "_made", refuse)
        with pytest.raises(meaning):
            store.write(totals({b"b": 1}), STAMP)

    # Then it is whole
    check_whole(path)
