"""How soon a second mapper has its share of a running one's partitions, and how long any of them rests meanwhile.

And then how long those rest that it leaves, when it is ended for good.

1,000 lines a second are there to be counted. The second's share is compared with a start that has nobody to share with:
how long the first one took until it had committed in every partition.
"""

import json
import signal
import statistics
import time
from datetime import datetime
from functools import partial
from typing import Any

from application import WorkerProcess, prose, wait_for
from benches.recorded import Ratios
from benches.sampler import Sampler

ROUNDS = 7
RATE = 1000
SECONDS = 6
PARTITIONS = frozenset(range(12))


def has(count: int, worker: WorkerProcess) -> bool:
    return worker.ready and len(worker.report.partitions) == count


def assigned(worker: WorkerProcess) -> list[str]:
    return [line for line in worker.log if "assigned partitions" in line]


def assigned_at(worker: WorkerProcess, nth: int = 0) -> float:
    """Return when a worker was given partitions, so many times after the first, on the monotonic clock."""
    wait_for("it has them", lambda: len(assigned(worker)) > nth)
    told = datetime.fromisoformat(json.loads(assigned(worker)[nth])["time"])
    return told.timestamp() - time.time() + time.monotonic()


def test_a_second_mapper_has_its_share_soon(make_application: Any, ratios: Ratios) -> None:
    times: dict[str, list[float]] = {"alone": [], "second": [], "given up": [], "kept": [], "left": []}
    refused = 0
    for number in range(ROUNDS):
        application = make_application()
        sampler = Sampler(application, "map")
        sampler.start()
        with application.feeding(prose(RATE * SECONDS, seed=number), rate=RATE):
            began = time.monotonic()
            first = application.start("map")
            times["alone"].append(sampler.wait_all_moved(PARTITIONS, began) - began)
            wait_for("it has all", partial(has, 12, first))

            joining = time.monotonic()
            second = application.start("map", "1")
            wait_for("both share", lambda: has(6, first) and has(6, second))  # noqa: B023 - called here
            moved = second.report.partitions
            end = sampler.wait_all_moved(moved, assigned_at(second))
            times["second"].append(end - joining)
            times["given up"].append(max(sampler.longest_pause(p, joining, end) for p in moved))
            times["kept"].append(max(sampler.longest_pause(p, joining, end) for p in PARTITIONS.difference(moved)))

            leaving = time.monotonic()
            second.signal(signal.SIGINT)
            assert second.wait() == 0
            end = sampler.wait_all_moved(moved, assigned_at(first, 1))
            times["left"].append(max(sampler.longest_pause(p, leaving, end) for p in moved))
        sampler.ended = True
        assert first.drain() == 0
        refused += sum(sum(worker.report.counters.aborts.values()) for worker in (first, second))
    print(f"\ncommits refused in {2 * ROUNDS} rebalances: {refused}")
    for what, seconds in times.items():
        print(f"\n{what}: {statistics.median(seconds):.2f} s, at most {max(seconds):.2f}")
    ratios["a second mapper: seconds to its first commits, alone / beside one"] = sum(times["alone"]) / sum(
        times["second"]
    )
