"""The extension alone, against what the machine can do to the same bytes: the hot path without Kafka."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from benches.peers.workloads import WORKLOADS
from benches.recorded import Ratios

from wcsup import _core

LINES = 100_000
ROUNDS = 7


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_split_and_combine_against_one_pass_over_the_bytes(benchmark: Any, ratios: Ratios) -> None:
    """`bytes.translate` looks each byte up in a table and writes it: the least that splitting into words has to do."""
    batches = list(WORKLOADS["text"].batches(LINES))
    size = sum(len(line) for batch in batches for line in batch)
    table = bytes(range(256)).lower()
    text = [b" ".join(batch) for batch in batches]
    combiner = _core.Combiner("ascii", 12)

    def combine() -> None:
        for inbox in inboxes:
            combiner.clear()
            combiner.own(0, -1)
            combiner.add(inbox)

    ours, theirs = [], []
    for _ in range(ROUNDS):
        inboxes = [_core.Inbox((0, offset, None, line) for offset, line in enumerate(batch)) for batch in batches]
        ours.append(size / seconds(combine))
        theirs.append(size / seconds(lambda: [part.translate(table) for part in text]))
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    ratios["split and combine / bytes.translate"] = ratio
    benchmark.extra_info.update(
        bytes_a_second=statistics.median(ours), translate=statistics.median(theirs), ratio=ratio
    )
    print(benchmark.extra_info)
    benchmark.pedantic(lambda: None)
