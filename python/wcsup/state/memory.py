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
    """Return how many bytes of totals all reducers of this application together may keep in memory on this host.

    Without `--state-memory` it is a share of the total memory of the host or its container. Free memory would say
    little, since the page cache of Kafka and RocksDB comes and goes.
    """
    if config.state_memory is not None:
        return config.state_memory
    return host_memory(cgroup) // _SHARE


def partition_memory(config: Config) -> int:
    """Return the share of one partition, which does not depend on the reducer that owns it.

    So no reducer has to know how many reducers there are, and none drops totals when one more is started.
    """
    return state_memory(config) // config.partitions
