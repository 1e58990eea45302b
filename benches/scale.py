"""A model of one application on many hosts: `python -m benches.scale`. What it says stands in docs/scale.md.

Workers commit, and each commit is a piece of work for every broker that leads a partition of the transaction. Brokers
have a number of processors and work in the order of arrival. A commit is done when the last broker has done its piece,
and the worker's next commit begins an interval after this one began, or when this one is done, if that is later.
"""

import heapq
import random
import statistics
from dataclasses import dataclass, replace

# Measured by benches/scale_costs.py on one broker with one copy of each partition; docs/scale.md has the run.
COMMIT_SECONDS = 0.03
"""Wall time of a transaction that writes to one partition."""
COMMIT_CPU = 0.009
"""The brokers' processor time of such a transaction."""
PARTITION_CPU = 0.0019
"""The brokers' processor time of each further partition in a transaction: its request, its verification, its marker."""
LOOK_CPU = 1.6e-05
"""The brokers' processor time of a supervisor's look at six topics, for each partition of one of them."""
LOOKS = 1.0
"""How often in a second a supervisor looks (`LOOK_SECONDS` in the code)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """An application and its cluster."""

    partitions: int = 1000
    hosts: int = 100
    mappers: int = 2
    """On each host."""
    reducers: int = 2
    """On each host."""
    interval: float = 1.0
    """Seconds, `--commit-interval`."""
    brokers: int = 12
    processors: int = 8
    """Of each broker."""

    @property
    def of_mapper(self) -> int:
        """Partitions in a mapper's transaction: a full batch has words of all partitions, `positions` and offsets."""
        return self.partitions + 2

    @property
    def of_reducer(self) -> int:
        """Partitions in a reducer's transaction: `counts` and `top` of those that it owns, `positions` and offsets."""
        return round(2 * self.partitions / (self.hosts * self.reducers)) + 2

    @property
    def writes(self) -> float:
        """Partitions of transactions in a second, if each worker commits when its interval is over."""
        return self.hosts * (self.mappers * self.of_mapper + self.reducers * self.of_reducer) / self.interval

    @property
    def watching(self) -> float:
        """Processors of the brokers that the supervisors' looks at topics take."""
        return self.hosts * self.partitions * LOOKS * LOOK_CPU


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation showed."""

    commits: float
    """In a second."""
    median: float
    """Seconds from a commit's begin to its end."""
    worst: float
    """The same, of the 99th percentile."""
    busy: float
    """The share of the brokers' processors that commits and supervisors take."""


class Broker:
    """Works on pieces of commits in the order of arrival, as many at a time as it has processors."""

    def __init__(self, processors: int, speed: float) -> None:
        """`speed` is the share of the processors' time that is left for commits."""
        self._free_at = [0.0] * processors
        self._speed = speed
        self.worked = 0.0

    def take(self, at: float, seconds: float) -> float:
        """Work on a piece that arrives at a time, no sooner than at that of the last call; return when it is done."""
        begins = max(at, heapq.heappop(self._free_at))
        heapq.heappush(self._free_at, begins + seconds / self._speed)
        self.worked += seconds
        return begins + seconds / self._speed


def simulate(setup: Setup, seconds: float = 60.0, seed: int = 26) -> Outcome:
    """Simulate so many seconds, of which the first quarter is not counted; equal seeds give equal outcomes."""
    chance = random.Random(seed)
    capacity = setup.brokers * setup.processors
    left = max(0.0, 1 - setup.watching / capacity)
    if not left:
        return Outcome(0.0, float("inf"), float("inf"), 1.0)
    brokers = [Broker(setup.processors, left) for _ in range(setup.brokers)]
    workers = [setup.of_mapper] * (setup.hosts * setup.mappers) + [setup.of_reducer] * (setup.hosts * setup.reducers)
    due = [(chance.uniform(0, setup.interval), worker) for worker in range(len(workers))]
    heapq.heapify(due)
    counted_from = seconds / 4
    took: list[float] = []
    while due[0][0] < seconds:
        begins, worker = due[0]
        partitions = workers[worker]
        shares = [partitions // setup.brokers + (n < partitions % setup.brokers) for n in range(setup.brokers)]
        chance.shuffle(shares)
        own = (COMMIT_CPU - PARTITION_CPU) / setup.brokers
        ends = max(
            broker.take(begins, own + share * PARTITION_CPU) for broker, share in zip(brokers, shares, strict=True)
        )
        ends = max(ends, begins + COMMIT_SECONDS)
        if begins >= counted_from:
            took.append(ends - begins)
        heapq.heapreplace(due, (max(begins + setup.interval, ends), worker))
    cuts = statistics.quantiles(took, n=100)
    worked = sum(broker.worked for broker in brokers) / seconds
    return Outcome(
        len(took) / (seconds - counted_from),
        statistics.median(took),
        cuts[98],
        min(1.0, (worked + setup.watching) / capacity),
    )


def table(setups: list[tuple[str, Setup]]) -> str:
    """Return the outcomes of setups as the rows of a table in Markdown."""
    rows = [
        "| | partitions written in a second | commits in a second | commit, median | 99th percentile | brokers busy |"
    ]
    rows.append("|---|---:|---:|---:|---:|---:|")
    for name, setup in setups:
        found = simulate(setup)
        rows.append(
            f"| {name} | {setup.writes:,.0f} | {found.commits:,.0f} | {found.median:.3f} s | {found.worst:.3f} s "
            f"| {found.busy:.0%} |"
        )
    return "\n".join(rows)


WHOLE = Setup()
HOSTS = [(f"hosts: {hosts}", replace(WHOLE, hosts=hosts)) for hosts in (1, 3, 10, 30, 100)]
PARTITIONS = [(f"partitions: {many:,}", replace(WHOLE, partitions=many)) for many in (200, 400, 1000, 2000)]
KNOBS = [
    ("as above", WHOLE),
    ("a commit every 5 s", replace(WHOLE, interval=5.0)),
    ("a commit every 15 s", replace(WHOLE, interval=15.0)),
    ("1 mapper a host", replace(WHOLE, mappers=1)),
    ("400 partitions", replace(WHOLE, partitions=400)),
    ("400 partitions, 1 mapper a host, every 5 s", replace(WHOLE, partitions=400, mappers=1, interval=5.0)),
    ("36 brokers", replace(WHOLE, brokers=36)),
]


def main() -> None:
    """Print the tables of docs/scale.md."""
    print(table(HOSTS), table(PARTITIONS), table(KNOBS), sep="\n\n")


if __name__ == "__main__":
    main()
