"""The state directory: which application it belongs to, and this host's name in it."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wcsup.config import Config
from wcsup.errors import ConfigurationError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """An opened state directory."""

    path: Path
    host: str
    """Random and kept: two containers with one host name have different ones."""

    def store(self, partition: int) -> Path:
        """Return where the store of a partition is."""
        return self.path / "stores" / str(partition)

    def name(self, config: Config, role: str, slot: str) -> str:
        """Return the name of a slot in Kafka: its `transactional.id` and `group.instance.id`."""
        return f"{config.app_id}-{self.host}-{role}-{slot}"


def open_directory(config: Config) -> StateDirectory:
    """Open or make `config.state`.

    Raises `ConfigurationError` where it can't be written or belongs to another application.
    """
    path = config.state
    about = path / "application.json"
    mine = {"app_id": config.app_id, "topic_prefix": config.topic_prefix, "words": config.words}
    try:
        (path / "stores").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()  # tells more than `os.access`: a read-only file system, too
        if not about.exists():
            draft = path / f".application.{os.getpid()}"
            draft.write_text(json.dumps({"format": _FORMAT, "host": os.urandom(4).hex(), **mine}) + "\n")
            try:
                os.link(draft, about)  # unlike a rename it leaves a file in place that somebody else was faster with
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        found = json.loads(about.read_text())
    except OSError as error:
        raise ConfigurationError(
            f"state directory {path} can't be used: {error.strerror}; choose another with --state-dir"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"{about} is damaged: {error}; wcsup del clears the directory") from error
    if found.get("format") != _FORMAT:
        raise ConfigurationError(f"state directory {path} is of another version of wcsup; choose another")
    for key, value in mine.items():
        if found.get(key) != value:
            raise ConfigurationError(
                f"state directory {path} belongs to an application with {key} {found.get(key)!r}, not {value!r}; "
                "choose another with --state-dir, or clear it with wcsup del"
            )
    return StateDirectory(path, found["host"])
