"""broker.json: what the commands of one data directory know of its broker."""

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
    """The broker that was started last here; `pid` is None after it was stopped on request."""

    port: int
    version: str
    started: float
    pid: int | None

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the record of `data`; None where no broker was ever started or the file is not ours."""
        try:
            return cls(**json.loads((data / _FILE).read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def write(self, data: Path) -> None:
        """Replace the record of `data` in one step: readers see the old one or the new one."""
        new = data / f"{_FILE}.new"
        new.write_text(json.dumps(asdict(self)))
        new.replace(data / _FILE)

    def stopped(self) -> Self:
        """Return the record of the same broker after its stop; it keeps its port for the next start."""
        return replace(self, pid=None)

    def alive(self, data: Path) -> bool:
        """Tell whether the process is this directory's broker: a later process may have got its number.

        Its command line says so for certain; a start time shifts with the clock that it is counted from.
        """
        if self.pid is None:
            return False
        with suppress(psutil.Error):
            return str(data / PROPERTIES) in psutil.Process(self.pid).cmdline()
        return False

    def present(self, data: Path) -> bool:
        """Tell whether the broker lives or still has its port and its lock on the data.

        A process that ends has no command line any more (nor has one in the moment between two programs), and
        is a zombie with other threads until the last of them has let go of what they share.
        """
        if self.pid is None:
            return False
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            try:
                command = process.cmdline()
            except psutil.ZombieProcess:  # it may have become one this moment
                return process.num_threads() > 1
            return not command or str(data / PROPERTIES) in command
        return False


def resolve(data: Path) -> Path:
    """Return the one spelling of a data directory by which its broker is recognized."""
    return Path(os.path.realpath(data))
