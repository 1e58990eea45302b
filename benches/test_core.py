"""The extension alone, against what the machine can do to the same bytes: the hot path without Kafka."""

import statistics
import time
from collections.abc import Callable
from typing import Any, cast

from benches.peers.workloads import WORKLOADS
from benches.recorded import Ratios
from confluent_kafka import Message

from wcsup import _core

LINES = 100_000
ROUNDS = 7


class Line:
    """What `Combiner.add` asks of a message."""

    def __init__(self, value: bytes, offset: int) -> None:
        self._value, self._offset = value, offset

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value


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
    messages = [[cast("Message", Line(line, offset)) for offset, line in enumerate(batch)] for batch in batches]
    combiner = _core.Combiner("ascii", 12)

    def combine() -> None:
        for batch in messages:
            combiner.clear()
            combiner.own(0, -1)
            combiner.add(batch)

    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(size / seconds(combine))
        theirs.append(size / seconds(lambda: [part.translate(table) for part in text]))
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    ratios["split and combine / bytes.translate"] = ratio
    benchmark.extra_info.update(
        bytes_a_second=statistics.median(ours), translate=statistics.median(theirs), ratio=ratio
    )
    print(benchmark.extra_info)
    benchmark.pedantic(lambda: None)
