"""The file broker.json: the record of a data directory's broker, for later commands."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import psutil

_FILE = "broker.json"
PROPERTIES = "server.properties"


@dataclass(frozen=True, slots=True)
class Record:
    """The last broker that was started in the data directory; `pid` is none after a requested stop."""

    port: int
    version: str
    started: float
    pid: int | None

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the record of `data`; none where no broker was ever started or the file is not wcsup's."""
        try:
            return cls(**json.loads((data / _FILE).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def write(self, data: Path) -> None:
        """Replace the record of `data` atomically: readers see the old or the new one."""
        new = data / f"{_FILE}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(data / _FILE)

    def stopped(self) -> Self:
        """Return the record of the same broker after its stop; the port is kept for the next start."""
        return replace(self, pid=None)

    def alive(self, data: Path) -> bool:
        """Tell whether the process is this directory's broker: a later process may have the same pid.

        The command line tells for certain. A start time would not, since it shifts with the system clock.
        """
        if self.pid is None:
            return False
        with suppress(psutil.Error):
            return str(data / PROPERTIES) in psutil.Process(self.pid).cmdline()
        return False

    def present(self, data: Path) -> bool:
        """Tell whether the broker lives or still has its port and its lock on the data.

        A process that is ending has no command line any more (nor has a process during exec). It is a zombie with other
        threads until the last thread has released the port and the lock.
        """
        if self.pid is None:
            return False
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            try:
                command = process.cmdline()
            except psutil.ZombieProcess:  # the process may have become a zombie just now
                return process.num_threads() > 1
            return not command or str(data / PROPERTIES) in command
        return False


def resolve(data: Path) -> Path:
    """Return a data directory's canonical path, by which its broker is recognized."""
    return Path(os.path.realpath(data))
