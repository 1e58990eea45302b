"""The state directory: which application it belongs to, and this host's name in it."""

import errno
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wcsup.config import Config
from wcsup.errors import ConfigurationError, DiskError
from wcsup.process.files import write_through

_FORMAT = 1

_ROOM_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """An opened state directory."""

    path: Path
    host: str
    """`--host`, or a random name: two containers with the same host name have different ones. It stays the same."""

    def store(self, partition: int) -> Path:
        """Return the directory of a partition's store."""
        return self.path / "stores" / str(partition)

    def check_room(self) -> None:
        """Raise `DiskError` where the disk has no room for a file of a MiB.

        A reducer checks this before it joins its group: otherwise it would be assigned partitions that it can't work
        on.
        """
        try:
            with tempfile.TemporaryFile(dir=self.path) as file:
                file.write(bytes(_ROOM_BYTES))
        except OSError as error:
            raise _unusable(self.path, error) from error

    def renamed(self) -> "StateDirectory":
        """Give the directory a new host's name, and return it. Its stores stay: they are caches of `counts`.

        Only for who holds the supervisor's lock. Raises `ConfigurationError` where it can't be written.
        """
        about, draft = self.path / "application.json", self.path / f".application.{os.getpid()}"
        renamed = StateDirectory(self.path, os.urandom(4).hex())
        try:
            known = json.loads(about.read_text())
            write_through(draft, json.dumps({**known, "host": renamed.host}) + "\n")
            draft.replace(about)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return renamed

    def name(self, config: Config, role: str, slot: str) -> str:
        """Return the name of a slot in Kafka: its `transactional.id` and `group.instance.id`."""
        return f"{config.app_id}-{self.host}-{role}-{slot}"

    def claim(self, role: str, slot: str) -> "Claim":
        """Record that this process is the last one that was started for a slot."""
        claim = Claim(self.path / "slots" / f"{role}-{slot}", f"{os.getpid()} {os.urandom(8).hex()}\n")
        try:
            claim.path.parent.mkdir(exist_ok=True)
            _replace(claim.path, claim.mark)
        except OSError as error:
            raise _unusable(self.path, error) from error
        return claim


@dataclass(frozen=True, slots=True)
class Claim:
    """The record that a process is the last one of this state directory that was started for a slot."""

    path: Path
    mark: str

    def holds(self) -> bool:
        """Return whether no other process was started for the slot since."""
        try:
            return self.path.read_text() == self.mark
        except OSError:
            return False

    @property
    def _member_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.member")

    def member(self) -> str:
        """Return the id of the group member that the slot's last process was; empty where it is not known."""
        try:
            return self._member_path.read_text()
        except (OSError, ValueError):
            return ""

    def record_member(self, member: str) -> None:
        """Record the id of the group member that this process is. A disk that can't take it costs no more than time."""
        with suppress(OSError):
            _replace(self._member_path, member)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)


def open_directory(config: Config) -> StateDirectory:
    """Open or make `config.state`.

    Raises `DiskError` where its disk is full or fails and `ConfigurationError` where it can't be written or belongs to
    another application or host.
    """
    path = config.state
    about = path / "application.json"
    mine = {"app_id": config.app_id, "topic_prefix": config.topic_prefix, "words": config.words}
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)  # a new one: words are nobody else's to read
        (path / "stores").mkdir(exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # unlike `os.access`, this also finds a read-only file system
        if not about.exists():
            draft, host = path / f".application.{os.getpid()}", config.host or os.urandom(4).hex()
            write_through(draft, json.dumps({"format": _FORMAT, "host": host, **mine}) + "\n")
            try:
                os.link(draft, about)  # unlike a rename, it does not replace the file of a faster process
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        found = json.loads(about.read_text())
    except OSError as error:
        raise _unusable(path, error) from error
    except ValueError as error:
        raise ConfigurationError(
            f"{about} is damaged: {error}; move the directory away: a new one takes the totals from Kafka"
        ) from error
    if found.get("format") != _FORMAT:
        raise ConfigurationError(f"state directory {path} is of another version of wcsup; choose another")
    for key, value in mine.items():
        if found.get(key) != value:
            raise ConfigurationError(
                f"state directory {path} belongs to an application with {key} {found.get(key)!r}, not {value!r}; "
                "choose another with --state-dir, or clear it with wcsup del"
            )
    if config.host not in {None, found["host"]}:
        raise ConfigurationError(
            f"state directory {path} belongs to host {found['host']!r}, not {config.host!r}; choose another with "
            "--state-dir, or clear it with wcsup del"
        )
    return StateDirectory(path, found["host"])


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    if error.errno == errno.ENOSPC:
        return DiskError(f"no space is left on the device of {path}; make room and start again")
    kind = DiskError if error.errno in {errno.EDQUOT, errno.EIO} else ConfigurationError
    return kind(f"state directory {path} can't be used: {error.strerror}; choose another with --state-dir")
