"""`python -m benches.peers`: wcsup beside its peers, in turns, in one run."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from benches.peers import report
from benches.peers.artifacts import MissingError
from benches.peers.ceilings import PARTS
from benches.peers.cluster import Cluster, Input
from benches.peers.machine import Machine
from benches.peers.measure import Latency, Result, measure, measure_trickle
from benches.peers.restart import FULL_LINES, LINES, RESTART, Restart, measure_restart
from benches.peers.sustained import SUSTAINED, Sustained, measure_sustained
from benches.peers.systems import SYSTEMS, System
from benches.peers.workloads import WORKLOADS

TRICKLE = "trickle"
CEILINGS = "ceilings"
ALL = (*WORKLOADS, RESTART, TRICKLE, SUSTAINED, CEILINGS)
_ROOT = Path(__file__).parents[2]


class Names(click.ParamType[list[str]]):
    """Names with commas between."""

    name = "names"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the names in the order that they are known in."""
        names = value if isinstance(value, list) else str(value).split(",")
        for name in names:
            if name not in self._known:
                self.fail(f"{name!r} is none of {', '.join(self._known)}", param, ctx)
        return [name for name in self._known if name in names]


class Sizes(click.ParamType[dict[str, tuple[int, ...]]]):
    """`text=600000,6000000 many=300000`: lines of each workload."""

    name = "sizes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, tuple[int, ...]]:
        """Return the sizes by workload."""
        sizes = {}
        for part in str(value).split():
            name, equals, numbers = part.partition("=")
            if name not in (*WORKLOADS, RESTART) or not equals:
                self.fail(f"{part!r}: expected WORKLOAD=LINES[,LINES]", param, ctx)
            sizes[name] = tuple(int(number) for number in numbers.split(","))
        return sizes


class Bounds(click.ParamType[tuple[int, int]]):
    """`LOW,HIGH`: lines a second."""

    name = "bounds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return both."""
        low, comma, high = str(value).partition(",")
        if not comma or not 0 < int(low) < int(high):
            self.fail(f"{value!r}: expected LOW,HIGH", param, ctx)
        return int(low), int(high)


class Bench:
    """The runs of one call, and what came of them so far."""

    def __init__(
        self, cluster: Cluster, directory: Path, systems: list[System], rounds: int, limit: float, *, full: bool
    ) -> None:
        self._cluster = cluster
        self._directory = directory
        self._systems = systems
        self._rounds = rounds
        self._limit = limit
        self._full = full
        self.results: list[Result] = []
        self.restarts: list[Restart] = []
        self.latencies: list[Latency] = []
        self.sustained: list[Sustained] = []
        self.ceilings: list[report.Ceiling] = []

    def lines(self, workload: str, sizes: tuple[int, ...], rounds: int) -> None:
        """Run all systems on lines of one kind, in turns."""
        taking = [system for system in self._systems if self._takes(system, workload)]
        counts = {system.name: sorted({self._lines(system, workload, size) for size in sizes}) for system in taking}
        given = {count: self._write(workload, count) for count in sorted({c for mine in counts.values() for c in mine})}
        for number in range(1, rounds + 1):
            for system in _turned(taking, number):
                for count in counts[system.name]:
                    _say(f"{workload}, round {number}: {system.name}, {count:,} lines")
                    result = measure(
                        self._cluster,
                        system,
                        given[count],
                        self._directory,
                        workload=workload,
                        number=number,
                        limit=self._limit,
                    )
                    self.results.append(result)
                    _say(f"  {result.seconds:.2f} s" if result.seconds else "  failed")
        for each in given.values():
            self._cluster.drop(each.prefix)

    def restart(self, sizes: tuple[int, ...]) -> None:
        """Start all systems that keep their totals twice, in turns."""
        taking = [system for system in self._systems if system.keeps]
        for number in range(1, self._rounds + 1):
            for system in _turned(taking, number):
                for lines in sizes:
                    _say(f"{RESTART}, round {number}: {system.name}, {lines:,} lines, and {lines:,} more")
                    found = measure_restart(
                        self._cluster, system, lines, self._directory, number=number, limit=self._limit
                    )
                    self.restarts.append(found)
                    times = [start.seconds if start else None for start in (found.first, found.again)]
                    _say("  " + ", then ".join(f"{seconds:.2f} s" if seconds else "failed" for seconds in times))

    def sustain(self, bounds: tuple[int, int], seconds: float) -> None:
        """Search for the highest rate that each system keeps up with, in turns."""
        taking = [system for system in self._systems if self._takes(system, SUSTAINED)]
        for number in range(1, self._rounds + 1):
            for system in _turned(taking, number):
                _say(f"{SUSTAINED}, round {number}: {system.name}")
                found = measure_sustained(
                    self._cluster,
                    system,
                    self._directory,
                    number=number,
                    bounds=bounds,
                    seconds=seconds,
                    limit=self._limit,
                )
                self.sustained.append(found)
                _say(f"  {found.rate:,} lines a second" if found.rate else "  none of the rates, or failed")

    def trickle(self, rate: int, warm: float, seconds: float) -> None:
        """Run all systems under a light load, in turns."""
        taking = [system for system in self._systems if self._takes(system, TRICKLE)]
        if not taking:
            return
        # One turn that does not count: who is first would pay for what the broker's Java has to compile for it.
        _say(f"trickle, to warm the broker: {taking[0].name}")
        measure_trickle(self._cluster, taking[0], self._directory, number=0, rate=rate, warm=warm, seconds=seconds)
        for number in range(1, self._rounds + 1):
            for system in _turned(taking, number):
                _say(f"trickle, round {number}: {system.name}")
                latency = measure_trickle(
                    self._cluster, system, self._directory, number=number, rate=rate, warm=warm, seconds=seconds
                )
                self.latencies.append(latency)
                _say(f"  p50 {latency.p50:.0f} ms, p99 {latency.p99:.0f} ms" if latency.p99 else "  failed")

    def measure_ceilings(self, count: int) -> None:
        """Measure what the parts do alone."""
        given = self._write("text", count)
        for number in range(1, self._rounds + 1):
            for part in PARTS:
                _say(f"ceilings, round {number}: {part}")
                self._cluster.renew(given.prefix)
                command = [sys.executable, "-m", "benches.peers.ceilings", part, self._cluster.bootstrap, given.prefix]
                done = subprocess.run(
                    [*command, self._directory], cwd=_ROOT, stdout=subprocess.PIPE, check=False, timeout=self._limit
                )
                if done.returncode == 0:
                    self.ceilings.append(json.loads(done.stdout))
        self._cluster.drop(given.prefix)

    def save(self, output: Path, machine: Machine, missing: dict[str, str], seconds: float) -> str:
        """Write results.json and report.md; return the report."""
        found: dict[str, Sequence[Result | Restart | Latency | Sustained]] = {
            "results": self.results,
            RESTART: self.restarts,
            TRICKLE: self.latencies,
            SUSTAINED: self.sustained,
        }
        data: dict[str, Any] = {name: [asdict(run) for run in runs] for name, runs in found.items()}
        data |= {"ceilings": self.ceilings, "machine": asdict(machine), "missing": missing}
        (output / "results.json").write_text(json.dumps(data, indent=1))
        written = report.text(
            machine,
            results=self.results,
            restarts=self.restarts,
            latencies=self.latencies,
            sustained=self.sustained,
            ceilings=self.ceilings,
            broker=self._cluster.version,
            missing=missing,
            seconds=seconds,
        )
        (output / "report.md").write_text(written)
        return written

    def _write(self, workload: str, count: int) -> Input:
        _say(f"{workload}: writing {count:,} lines")
        return self._cluster.feed(f"{workload}{count}", WORKLOADS[workload].batches(count))

    def _takes(self, system: System, workload: str) -> bool:
        return workload not in system.without or len(self._systems) == 1

    def _lines(self, system: System, workload: str, size: int) -> int:
        share = system.shares.get(workload, 1) * (5 if self._full else 1)
        return max(1, int(size * min(1, share)))


def _turned(systems: list[System], number: int) -> Iterator[System]:
    """Yield the systems, each round beginning with another one."""
    for place in range(len(systems)):
        yield systems[(place + number - 1) % len(systems)]


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


@click.command()
@click.option("--systems", type=Names(tuple(SYSTEMS)), default=",".join(SYSTEMS), show_default=True)
@click.option("--workloads", type=Names(ALL), default=",".join(ALL), show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--sizes", type=Sizes(), default="", help="Lines of workloads, such as 'text=100000,1000000 many=50000'.")
@click.option("--full", is_flag=True, help="The sizes that are published; takes hours.")
@click.option("--rate", default=1000, show_default=True, help="Lines a second of the light load.")
@click.option("--warm", default=6.0, show_default=True, help="Seconds of light load before it is measured.")
@click.option("--seconds", default=10.0, show_default=True, help="Seconds of light load that are measured; 55 if full.")
@click.option(
    "--bounds",
    type=Bounds(),
    default="50000,1600000",
    show_default=True,
    help="Lines a second between which the highest sustained rate is searched.",
)
@click.option("--step", default=15.0, show_default=True, help="Seconds of each rate in that search.")
@click.option("--limit", default=600.0, show_default=True, help="Longest run, in seconds; after it the run has failed.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for report.md and results.json [default: a new one under the temporary folder].",
)
def main(
    *,
    systems: list[str],
    workloads: list[str],
    rounds: int,
    sizes: dict[str, tuple[int, ...]],
    full: bool,
    rate: int,
    warm: float,
    seconds: float,
    bounds: tuple[int, int],
    step: float,
    limit: float,
    output: Path | None,
) -> None:
    """Measure wcsup beside its peers on a Kafka of its own, and write a report.

    Each system counts lines that are in Kafka already; the clock runs from the start of its processes to the commit
    of its last output, and a run counts only if a reader then finds exactly the true totals.
    """
    missing: dict[str, str] = {}
    chosen = []
    for name in systems:
        try:
            SYSTEMS[name].needs()
            chosen.append(SYSTEMS[name])
        except MissingError as error:
            missing[name] = str(error)
            _say(f"{name} is left out: {error}")
    for name in [name for name in workloads if name in WORKLOADS]:
        try:
            WORKLOADS[name].needs()
        except MissingError as error:
            missing[name] = str(error)
            workloads.remove(name)
            _say(f"{name} is left out: {error}")
    output = output or Path(tempfile.mkdtemp(prefix="wcsup-peers-"))
    output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # broker and systems end with it, too
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="wcsup-peers-") as directory,
        closing(Cluster(Path(directory))) as cluster,
    ):
        bench = Bench(cluster, Path(directory), chosen, rounds, limit, full=full)
        try:
            for name in workloads:
                if name == TRICKLE:
                    bench.trickle(rate, warm, 55.0 if full else seconds)
                elif name == RESTART:
                    bench.restart(sizes.get(name, (FULL_LINES if full else LINES,)))
                elif name == SUSTAINED:
                    bench.sustain(bounds, step)
                elif name == CEILINGS:
                    bench.measure_ceilings(2_000_000)
                else:
                    workload = WORKLOADS[name]
                    lines = sizes.get(name) or (workload.full if full else workload.sizes)
                    # One size tells no slope; lengths of lines are a glance unless the run is to be published.
                    bench.lines(name, lines, rounds if full or len(lines) > 1 else 1)
        finally:  # what was measured before an interrupt is worth keeping
            written = bench.save(output, Machine.find(), missing, time.monotonic() - began)
    print(written)
    _say(f"written to {output}")


if __name__ == "__main__":
    main()
