"""The native libraries that wcsup works with, and whether they are those that it was tested with.

The Rust core calls librdkafka by itself, and takes records out of its queues (`rust/librdkafka/`). Its
interface is stable, but what wcsup relies on beside it is known of the tested versions alone.
"""

import logging
import sys
from functools import cache

import confluent_kafka

from wcsup import _core
from wcsup.errors import ConfigurationError

log = logging.getLogger("wcsup.kafka")

TESTED = (2, 16)
"""The minor version of librdkafka, and of confluent-kafka, which brings it."""

_ADVICE = f"install one that was: pip install 'confluent-kafka=={TESTED[0]}.{TESTED[1]}.*'"


def librdkafka() -> str:
    """Return the version of librdkafka."""
    return confluent_kafka.libversion()[0]


@cache
def plugin() -> str:
    """Return what a client's `plugin.library.paths` has to name, so that the Rust core has its records.

    Raises `ConfigurationError` for a librdkafka that wcsup was not tested with, or that lacks what is needed.
    """
    found = f"librdkafka {librdkafka()}, of confluent-kafka {confluent_kafka.version()},"
    if tuple(map(int, librdkafka().split(".")[:2])) != TESTED:
        raise ConfigurationError(f"{found} is not one that wcsup was tested with; {_ADVICE}")
    try:
        return _core.plugin()
    except OSError as error:
        raise ConfigurationError(f"{found} lacks a function that wcsup calls ({error}); {_ADVICE}") from error


def separate_heap() -> None:
    """Give librdkafka a heap of its own, before the first client is made; log where it goes on with what it has.

    Raises as `plugin` does.
    """
    plugin()
    if not _core.separate_heap():
        log.info("librdkafka has the heap of the C library on this machine: records take longer")


def told() -> str:
    """Return the libraries with their versions, and which heap librdkafka has in a worker."""
    # Not for the start of each worker.
    import subprocess  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    # In a process of its own: a heap is given before the first client is made, and for good.
    asked = "from wcsup import _core; print(_core.separate_heap())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    heap = "a heap of its own" if done.stdout == "True\n" else "the heap of the C library: records take longer"
    return f"librdkafka {librdkafka()} with {heap}, RocksDB of rocksdict {metadata.version('rocksdict')}"
