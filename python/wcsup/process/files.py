"""Writing files that have to outlast the host, and files for their owner alone."""

import os
from pathlib import Path


def write_through(path: Path, text: str) -> None:
    """Write a file and return when its content is on the disk: a host's crash would leave it empty, else."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically by one that only its owner can read, whatever the umask and the old file's mode."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)  # its mode would stay
    with open(new, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
