"""How much memory the totals of a run may take."""

from pathlib import Path

import psutil

from wcsup.config import Config

_SHARE = 8
_CGROUP = Path("/sys/fs/cgroup")


def host_memory(cgroup: Path = _CGROUP) -> int:
    """Return how many bytes of memory this host has, or its container may use."""
    total = psutil.virtual_memory().total
    try:
        return min(total, int((cgroup / "memory.max").read_text()))
    except (OSError, ValueError):  # no cgroup v2 here, or "max": no limit
        return total


def state_memory(config: Config, cgroup: Path = _CGROUP) -> int:
    """Return how many bytes of totals the reducers of this application may keep in memory on this host, together.

    Where it is not set it is a share of all memory, of the host's or a container's: how much of it is free says little,
    since the pages of files that Kafka and RocksDB read come and go.
    """
    if config.state_memory is not None:
        return config.state_memory
    return host_memory(cgroup) // _SHARE


def partition_memory(config: Config) -> int:
    """Return the share of one partition, whichever reducer has it.

    So no reducer has to know how many others there are, and none forgets totals when one more is started.
    """
    return state_memory(config) // config.partitions
