"""A reducer's state alone, without Kafka: what a word costs in a first start and in starts with kept stores.

The words of a start are uniform out of `WCSUP_STATE_WORDS` (1 million; 5 million are more than a batch has of each
partition). Their packed records are added up in turns as a worker takes them, and each batch is looked up, taken in and
written to the stores. What is measured is processor time, since that says the same on a machine with other work.
"""

import os
import random
import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from benches.peers.workloads import spelled
from benches.recorded import Ratios

from wcsup import _core
from wcsup.pipeline.records import PACKED_BYTES
from wcsup.pipeline.reducer import FULL_DISTINCT, KEPT_RECORDS, SCAN_BYTES
from wcsup.state.partition import Partition
from wcsup.state.store import Cached, Stamp, Store

WORDS = int(os.environ.get("WCSUP_STATE_WORDS", "1000000"))
OF_A_START = 2 * WORDS
STARTS = 3
PARTITIONS = 12
TURN_BYTES = 512 << 10
MAPPED = 100_000
"""Words of a mapper's batch."""

Packed = list[tuple[int, int, bytes, bytes]]


def turns(seed: int) -> Iterator[Packed]:
    """Yield the records of a start as a reducer's turns take them."""
    chance = random.Random(seed)
    words = [spelled(number) for number in range(WORDS)]
    combiner = _core.Combiner("ascii", PARTITIONS)
    combiner.own(0, -1)
    offsets = [0] * PARTITIONS
    for first in range(0, OF_A_START, MAPPED):
        combiner.add(_core.Inbox([(0, first, None, b" ".join(chance.choices(words, k=MAPPED)))]))
        packed = combiner.packed(PACKED_BYTES)
        combiner.clear()
        turn: Packed = []
        for place in range(len(packed)):
            partition, key, value = packed[place]
            turn.append((partition, offsets[partition], key, value))
            offsets[partition] += 1
            if sum(len(record[3]) for record in turn) >= TURN_BYTES:
                yield turn
                turn = []
        yield turn


class OneStart:
    """One process's work on the stores, with the process left out."""

    def __init__(self, path: Path, memory: int) -> None:
        self._batch = _core.Aggregator(PARTITIONS)
        self._partitions: dict[int, Partition] = {}
        self._commits = 0
        cached = Cached()
        for number in range(PARTITIONS):
            store = Store.open(path / str(number), cached)
            self._partitions[number] = Partition.of(store, store.stamp or Stamp("cluster", "topic", PARTITIONS, 0))
            self._partitions[number].totals.limit(memory // PARTITIONS)
            self._batch.own(number, 0)

    def take(self, turn: Packed) -> None:
        self._batch.add(_core.Inbox(turn))
        if self._batch.distinct >= FULL_DISTINCT or not self._commits:
            self.commit()
        scannable = next((partition for partition in self._partitions.values() if partition.scannable), None)
        if scannable is not None:
            scannable.scan(SCAN_BYTES)

    def commit(self) -> None:
        new = {number: self._partitions[number].new_totals(self._batch, number) for number in self._batch.partitions()}
        records = _core.Records()
        for number, totals in new.items():
            totals.append_to(records, number)
        for number, totals in new.items():
            partition = self._partitions[number]
            first = partition.store.empty and partition.unwritten_since is None
            partition.take(totals, partition.stamp.next_offset + 1, own=True)
            if not (first or len(records) <= KEPT_RECORDS):
                partition.write()
        self._batch.clear()
        self._commits += 1

    def total(self) -> int:
        return sum(partition.stamp.total for partition in self._partitions.values())

    def close(self) -> None:
        with ExitStack() as closed:
            for partition in self._partitions.values():
                closed.callback(partition.store.close)
                if partition.unwritten_since is not None:
                    partition.write()


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def nanoseconds_a_word(path: Path, number: int, memory: int) -> tuple[float, float]:
    """Count one start's words; return the processor time of a word, and that of this thread alone."""
    process = thread = 0.0
    start = OneStart(path, memory)
    with closing(start):
        for turn in turns(number):
            process_before, thread_before = processor_seconds(), time.thread_time()
            start.take(turn)
            thread += time.thread_time() - thread_before
            process += processor_seconds() - process_before
        start.commit()
        assert start.total() == (number + 1) * OF_A_START
    return 1e9 * process / OF_A_START, 1e9 * thread / OF_A_START


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [1.0, 0.1], ids=["all-fits", "a-tenth-fits"])
def test_a_start_with_kept_stores_against_the_first(
    benchmark: Any, ratios: Ratios, tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    memory = int(share * WORDS * 12) if share < 1 else 1 << 40
    figures = [nanoseconds_a_word(tmp_path, number, memory) for number in range(STARTS)]
    for name, place in (("process", 0), ("thread", 1)):
        benchmark.extra_info[name] = [round(figure[place]) for figure in figures]
    if share == 1:
        ratios["state: a word's processor time, first start / second"] = figures[0][0] / figures[1][0]
    with capsys.disabled():
        print(f"\n{WORDS:,} words, {share:.0%} of them in memory: ns a word in each start", benchmark.extra_info)
    benchmark.pedantic(lambda: None)
