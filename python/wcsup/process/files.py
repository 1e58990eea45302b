"""Writing files that have to outlast the host."""

import os
from pathlib import Path


def write_through(path: Path, text: str) -> None:
    """Write a file and return when its content is on the disk: a host's crash would leave it empty, else."""
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
