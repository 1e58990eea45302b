"""Python's cycle collector, for processes that hold thousands of messages or records at a time."""

import gc

_YOUNG_OBJECTS = 100_000


def collect_rarely() -> None:
    """Collect cycles after 100,000 new objects instead of 700, and never look at what is there by now.

    The collector looks at all young objects whenever their number has grown by its threshold. A message is such an
    object and part of no cycle, so that every collection while thousands of them are made is in vain: with Python's
    own threshold that is 45 % of what `consume` costs (docs/performance.md). A batch is freed before its successors
    are a hundred thousand; cycles that other code leaves are still collected.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
