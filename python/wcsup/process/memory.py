"""Settings of Python's cycle collector and of C's heap, for processes that hold thousands of records at a time."""

import ctypes
import gc
from contextlib import suppress

_YOUNG_OBJECTS = 100_000
_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 128 << 10


def collect_rarely() -> None:
    """Collect cycles after 100,000 new objects instead of 700, and never examine the objects that exist now.

    The collector examines all young objects whenever their number has grown by its threshold. Messages are young
    objects and in no cycle, so each collection during a batch is useless: with Python's own threshold the collections
    are 45 % of the cost of `consume` (docs/performance-record.md). A batch is freed before a hundred thousand more
    objects are made. Cycles that other code leaves are still collected.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def return_memory() -> None:
    """Return blocks of 128 kB or more to the system as soon as they are freed.

    This is glibc's default at first, but glibc raises the bound to the largest block that was ever freed (mallopt(3)).
    Then each thread's heap would keep freed fetches and tables. Other C libraries have no such call.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
