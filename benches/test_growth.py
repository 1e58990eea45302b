"""What a line costs when there is ten times as much of something: lines, words to tell apart, partitions, workers.

The cost is processor time of all workers, without what they take to start, for each line: lines are in `lines` before
anything starts. Each case runs in turns with the base case.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from application import PROSE, Application, wait_for
from benches.recorded import Ratios
from confluent_kafka import Producer
from reference import recount

from wcsup.kafka import clients
from wcsup.pipeline.report import Role

LINES = 600_000
WORDS = 26
ROUNDS = 3

Make = Callable[[int], Application]


def text(words: list[str], seed: int = 3) -> list[bytes]:
    """Return lines with the words' frequencies after Zipf."""
    chance = random.Random(seed)
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(len(words))))
    chosen = chance.choices(words, cum_weights=weights, k=LINES // 10 * WORDS)
    return [" ".join(chosen[n : n + WORDS]).encode() for n in range(0, len(chosen), WORDS)] * 10


def feed(application: Application, lines: list[bytes], times: int) -> None:
    producer = Producer({**clients.settings(application.config), "linger.ms": 20, "compression.type": "lz4"})
    partitions = application.config.partitions
    for _ in range(times):
        for partition in range(partitions):
            left = [{"value": line} for line in lines[partition::partitions]]
            while left:
                left = left[producer.produce_batch(application.config.topic("lines"), left, partition=partition) :]
                producer.poll(0.05 if left else 0)
    assert producer.flush(60) == 0


def processor_seconds(application: Application) -> float:
    times = [psutil.Process(worker.process.pid).cpu_times() for worker in application.workers]
    return sum(time.user + time.system for time in times)


def cost(make: Make, lines: list[bytes], *, times: int = 1, partitions: int = 12, workers: int = 1) -> float:
    """Return the processor seconds of a line."""
    application = make(partitions)
    roles: list[tuple[Role, str]] = [(role, str(n)) for n in range(workers) for role in ("map", "reduce")]
    for role, slot in roles:
        application.start(role, slot)
    wait_for("all are ready", lambda: all(worker.ready for worker in application.workers))
    idle = processor_seconds(application)
    for worker in application.workers:
        worker.kill()
    application.workers.clear()

    feed(application, lines, times)
    for role, slot in roles:
        application.start(role, slot)
    application.wait_counted(300)
    used = processor_seconds(application) - idle
    assert application.counts() == Counter({word: count * times for word, count in recount(lines).items()})
    application.stop()
    return used / (len(lines) * times)


BASE_TIMES = 10
"""Six million lines: some seconds of work, beside which what is left of a start is little."""

GROWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lines": ({"times": 1}, {"times": 10}),
    "vocabulary": ({"times": BASE_TIMES}, {"times": BASE_TIMES}),
    "partitions": ({"times": BASE_TIMES}, {"times": BASE_TIMES, "partitions": 120}),
    "workers": ({"times": BASE_TIMES}, {"times": BASE_TIMES, "workers": 4}),
}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("what", GROWN)
def test_a_line_costs_the_same(what: str, make_application: Make, benchmark: Any, ratios: Ratios) -> None:
    few = text(PROSE)
    many = text([f"{word}{letter}" for letter in "abcdefghij" for word in PROSE]) if what == "vocabulary" else few
    found = []
    for _ in range(ROUNDS):
        base = cost(make_application, few, **GROWN[what][0])
        grown = cost(make_application, many, **GROWN[what][1])
        found.append((grown / base, base, grown))
    ratio, base, grown = sorted(found)[len(found) // 2]
    ratios[f"growth of {what}: cost of a line before / after"] = 1 / ratio
    benchmark.extra_info.update(
        ratio=round(ratio, 3),
        spread=[round(min(found)[0], 3), round(max(found)[0], 3)],
        microseconds=[round(base * 1e6, 2), round(grown * 1e6, 2)],
    )
    print(what, benchmark.extra_info)
    benchmark.pedantic(lambda: None)
