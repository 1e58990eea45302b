"""A backup: a directory with all totals, and a manifest that says what they count.

| file | content |
|---|---|
| `totals` | each word once: its length (4 bytes, big endian), the word, its total (8 bytes, big endian, signed) |
| `manifest.json` | a `Manifest` as JSON, with the size and the SHA-256 of `totals` |

The files are written to a directory beside it, which gets the backup's name when all is on the disk: an interrupted
backup leaves no half one under that name.

Stores are left out: `counts` has every total, a store is a cache of it, and each host has only some of the stores.
"""

import fcntl
import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from wcsup import __version__, _core
from wcsup.config import WordRule
from wcsup.errors import ConfigurationError
from wcsup.kafka.moving import CountedLines
from wcsup.moving.cut import Cut, Pair
from wcsup.process.crash import point
from wcsup.process.files import write_through

_FORMAT = 1
_MANIFEST, _TOTALS = "manifest.json", "totals"
_READ_BYTES = 4 << 20
_TOTAL_BYTES = 8
_LENGTH = struct.Struct(">I")

OnRead = Callable[[str, int, int], None]
"""Called with what is being read, how many bytes of it are read, and how many there are."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup has."""

    app_id: str
    topic_prefix: str
    words: WordRule
    """The word rule that the totals count by."""
    partitions: int
    """The partitions of the application; another number can be restored."""
    cluster: str
    """The id of the cluster that the backup is of."""
    lines: CountedLines
    """Up to where the totals count the lines, and the id of that topic."""
    distinct: int
    """How many words there are."""
    total: int
    """The sum of their totals."""
    bytes: int
    """The size of the file `totals`."""
    sha256: str
    """Its SHA-256."""
    made_at: str
    """When the backup was made: ISO 8601, UTC."""
    wcsup: str = __version__
    """The version that made it."""
    format: int = _FORMAT

    def to_json(self) -> str:
        """Return the file's text. Its last field is the SHA-256 of the other ones."""
        values = asdict(self)
        return json.dumps({**values, "manifest_sha256": _digest(values)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, path: Path) -> Self:
        """Return the content of a manifest.

        Raises `ConfigurationError` for one of a newer format, and for one that was changed; `path` is for the message.
        """
        try:
            values = json.loads(text)
            found = values["format"]
            if found == _FORMAT and values.pop("manifest_sha256") == _digest(values):
                return cls(**{**values, "lines": CountedLines.from_json(values["lines"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"{path} is damaged: {error!r}; use another backup") from error
        if found != _FORMAT:
            raise ConfigurationError(
                f"{path} has format {found} of wcsup {values.get('wcsup', 'unknown')}, and this one reads {_FORMAT}: "
                "use that version"
            )
        raise ConfigurationError(f"{path} is damaged: its checksum does not fit; use another backup")


def _digest(values: dict[str, object]) -> str:
    plain = json.loads(json.dumps(values))  # keys that are numbers are texts in JSON, and in another order
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write(cut: Cut, path: Path, *, app_id: str, topic_prefix: str, partitions: int, cluster: str) -> Manifest:
    """Write a backup of a cut to the directory `path`, which must not exist or has to be empty.

    Raises `ConfigurationError` where it can't be written, or another process writes a backup there.
    """
    try:
        if path.exists() and any(path.iterdir()):
            raise ConfigurationError(f"{path} is not empty: name a new directory for the backup")
        with _draft(path) as draft:
            made = datetime.now(UTC).isoformat(timespec="seconds")
            size, sha256 = _write_totals(draft / _TOTALS, cut.totals())
            manifest = Manifest(
                app_id=app_id,
                topic_prefix=topic_prefix,
                words=cut.words,
                partitions=partitions,
                cluster=cluster,
                lines=cut.lines,
                distinct=cut.distinct,
                total=cut.total,
                bytes=size,
                sha256=sha256,
                made_at=made,
            )
            write_through(draft / _MANIFEST, manifest.to_json())
            _sync(draft)
            point("backup-written")
            draft.replace(path)
            _sync(path.parent)
    except OSError as error:
        raise ConfigurationError(f"the backup {path} can't be written: {error.strerror}") from error
    return manifest


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """Make the directory that becomes the backup, without what an interrupted backup left in it."""
    draft = path.with_name(f".{path.name}.partial")
    draft.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"another process writes the backup {path}: wait for its end") from error
        for left in draft.iterdir():
            left.unlink()
        try:
            yield draft
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _write_totals(path: Path, lists: Iterable[list[Pair]]) -> tuple[int, str]:
    """Write the file of totals; return its size and its SHA-256."""
    digest = hashlib.sha256()
    size = 0
    with path.open("wb") as file:
        for pairs in lists:
            part = b"".join([_LENGTH.pack(len(word)) + word + total for word, total in pairs])
            digest.update(part)
            size += len(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Backup:
    """A backup on the disk."""

    def __init__(self, path: Path) -> None:
        """Read the manifest; raise `ConfigurationError` where there is none that this version reads."""
        self.path = path
        manifest = path / _MANIFEST
        try:
            self.manifest = Manifest.from_json(manifest.read_text(), manifest)
        except FileNotFoundError as error:
            raise ConfigurationError(f"{path} is no backup: it has no {_MANIFEST}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{manifest} can't be read: {error}") from error

    def check(self, on_read: OnRead = lambda *_: None) -> None:
        """Read all of it; raise `ConfigurationError` where it is not what was written."""
        digest = hashlib.sha256()
        size = 0
        try:
            with (self.path / _TOTALS).open("rb") as file:
                while part := file.read(_READ_BYTES):
                    digest.update(part)
                    size += len(part)
                    on_read(_TOTALS, size, self.manifest.bytes)
        except OSError as error:
            raise self._damaged(str(error)) from error
        if size != self.manifest.bytes or digest.hexdigest() != self.manifest.sha256:
            raise self._damaged("its checksum does not fit")

    def totals(self) -> Iterator[list[Pair]]:
        """Yield all words with their totals. Raises `ConfigurationError` where the file is not what was written."""
        pairs: list[Pair] = []
        rest = b""
        try:
            with (self.path / _TOTALS).open("rb") as file:
                while part := file.read(_READ_BYTES):
                    rest += part
                    at = 0
                    while len(rest) - at >= _LENGTH.size:
                        word = at + _LENGTH.size
                        total = word + _LENGTH.unpack_from(rest, at)[0]
                        if total - word > _core.MAX_WORD_BYTES:
                            raise self._damaged(f"a word of {total - word} bytes")
                        if total + _TOTAL_BYTES > len(rest):
                            break
                        at = total + _TOTAL_BYTES
                        pairs.append((rest[word:total], rest[total:at]))
                    rest = rest[at:]
                    yield pairs
                    pairs = []
        except OSError as error:
            raise self._damaged(str(error)) from error
        if rest:
            raise self._damaged("it is cut off")

    def _damaged(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self.path / _TOTALS} is damaged: {why}; use another backup")
