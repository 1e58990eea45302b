"""A system's second start, with what it kept from the first one, on new lines."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from benches.peers.cluster import Cluster
from benches.peers.measure import Result, count, new_home
from benches.peers.systems import System
from benches.peers.workloads import cut, many

RESTART = "restart"
LINES, FULL_LINES = 300_000, 1_000_000
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Restart:
    """Two starts of a system under one name, on as many new lines each; in between it was ended by SIGTERM."""

    first: Result
    again: Result | None
    """None where the first start failed or was not exact. Its totals are those of both halves of the lines."""


def measure_restart(
    cluster: Cluster, system: System, lines: int, directory: Path, *, number: int, limit: float
) -> Restart:
    """Have a system count `lines` lines of many words, then as many more in the same topic in a new start."""
    given = cluster.feed(f"{RESTART}{next(_numbers)}", cut(many(), lines))
    cluster.renew(given.prefix)
    again = None
    with new_home(directory, system) as home:
        first = count(cluster, system, given, given.truth, home, workload=RESTART, number=number, limit=limit)
        if first.seconds is not None:
            new = cluster.add(given, cut(many("again"), lines))
            again = count(cluster, system, given, new, home, workload=RESTART, number=number, limit=limit)
    cluster.drop(given.prefix)
    return Restart(first, again)
