"""The native libraries that wcsup works with, and whether wcsup was tested with their versions.

The Rust core calls librdkafka directly, and takes records out of librdkafka's queues (`rust/librdkafka/`).
librdkafka's interface is stable. wcsup also relies on behaviour that is not part of the interface, and that is known
only of the tested versions.
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
    """Return the path for a client's `plugin.library.paths` that gives the Rust core access to the client's records.

    Raises `ConfigurationError` for a librdkafka that wcsup was not tested with, or that lacks a function.
    """
    found = f"librdkafka {librdkafka()}, of confluent-kafka {confluent_kafka.version()},"
    if tuple(map(int, librdkafka().split(".")[:2])) != TESTED:
        raise ConfigurationError(f"{found} is not one that wcsup was tested with; {_ADVICE}")
    try:
        return _core.plugin()
    except OSError as error:
        raise ConfigurationError(f"{found} lacks a function that wcsup calls ({error}); {_ADVICE}") from error


def separate_heap() -> None:
    """Give librdkafka a heap of its own, before the first client is made; log where that is not possible.

    Raises as `plugin` does.
    """
    plugin()
    if not _core.separate_heap():
        log.info("librdkafka has the heap of the C library on this machine: records take longer")


def told() -> str:
    """Return the libraries with their versions, and which heap librdkafka has in a worker."""
    # Imported here, to keep it out of each worker's start.
    import subprocess  # noqa: PLC0415
    from importlib import metadata  # noqa: PLC0415

    # In a separate process: the heap has to be set before the first client is made, and can't be set back.
    asked = "from wcsup import _core; print(_core.separate_heap())"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)
    heap = "a heap of its own" if done.stdout == "True\n" else "the heap of the C library: records take longer"
    return f"librdkafka {librdkafka()} with {heap}, RocksDB of rocksdict {metadata.version('rocksdict')}"
