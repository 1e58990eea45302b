"""Python's cycle collector and C's heap, for processes that hold thousands of messages or records at a time."""

import ctypes
import gc
from contextlib import suppress

_YOUNG_OBJECTS = 100_000
_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 128 << 10


def collect_rarely() -> None:
    """Collect cycles after 100,000 new objects instead of 700, and never look at what is there by now.

    The collector looks at all young objects whenever their number has grown by its threshold. A message is such an
    object and part of no cycle, so that every collection while thousands of them are made is in vain: with Python's
    own threshold that is 45 % of what `consume` costs (docs/performance-record.md). A batch is freed before its
    successors are a hundred thousand; cycles that other code leaves are still collected.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def return_memory() -> None:
    """Have what was allocated in one piece of 128 kB or more go back to the system as soon as it is freed.

    So glibc begins, but it raises that bound to the largest piece that was ever freed (mallopt(3)). Fetches and tables
    are such pieces, of which each thread's heap then keeps its own. Other C libraries have no such call.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
