"""One run of one system: from the start of its processes to the commit of its last output."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from benches.peers.cluster import HERE, PARTITIONS, Cluster, Input, Watch, producer
from benches.peers.systems import Run, System
from benches.peers.workloads import Truth, trickle

_PAUSE = 0.03
"""Between two looks at what is committed: a time is too long by half of this."""
_END = 30
"""Seconds that a system has to end in: one with much state takes some to leave that in order."""
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run took. `seconds` is none where it failed or was not exact.

    The end is when a read_committed reader could read the last total. That it was the last is known when the offsets
    are committed too, which for most systems is the same moment. Flink recovers from its checkpoints and commits
    offsets for show, some seconds later where input has ended: it isn't to pay for that.
    """

    workload: str
    system: str
    round: int
    lines: int
    words: int
    bytes: int
    seconds: float | None
    first: float | None
    """Seconds to the first committed total."""
    settled: float | None
    """Seconds until the offsets of the whole input were committed."""
    cpu: float
    """Processor seconds of all processes of the system until `seconds`."""
    broker_cpu: float
    resident: int
    """Peak resident bytes of all its processes together; pages that they share count for each."""
    load: float
    """The load average of the last minute, at the start."""


@dataclass(frozen=True, slots=True)
class Latency:
    """What a light load took, over the measured seconds."""

    system: str
    round: int
    rate: int
    seconds: float
    p50: float | None
    p99: float | None
    p999: float | None
    cpu: float
    broker_cpu: float
    resident: int
    load: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a system's processes, and the broker, have used so far."""

    moment: float
    cpu: float
    broker_cpu: float
    resident: int
    """The peak so far."""


class Usage(threading.Thread):
    """Samples processes and their descendants."""

    def __init__(self, roots: list[subprocess.Popen[bytes]], broker: int) -> None:
        super().__init__(daemon=True)
        self._roots = [psutil.Process(root.pid) for root in roots]
        self._broker = psutil.Process(broker)
        self._broker_before = self._broker_cpu()
        self._cpu: dict[psutil.Process, float] = {}
        self._resident = 0
        self._samples: list[Sample] = []
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._ended.wait(0.15):
            self._samples.append(self.sample())

    def sample(self) -> Sample:
        """Return what was used; of a process that ended, what was seen last."""
        resident = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._cpu[process] = times.user + times.system
                resident += process.memory_info().rss
        self._resident = max(self._resident, resident)
        broker_cpu = self._broker_cpu() - self._broker_before
        return Sample(time.monotonic(), sum(self._cpu.values()), broker_cpu, self._resident)

    def at(self, moment: float) -> Sample:
        """Return the first sample from then on."""
        return next((sample for sample in list(self._samples) if sample.moment >= moment), None) or self.sample()

    def processes(self) -> list[psutil.Process]:
        found = []
        for root in self._roots:
            with contextlib.suppress(psutil.Error):
                found += [root, *root.children(recursive=True)]
        return found

    def end(self) -> None:
        self._ended.set()
        self.join()

    def _broker_cpu(self) -> float:
        times = self._broker.cpu_times()
        return times.user + times.system


class Started:
    """A system at work."""

    def __init__(self, cluster: Cluster, system: System, given: Input, home: Path, *, trickle: bool) -> None:
        self.name, self.began = home.name, 0.0
        self.load = os.getloadavg()[0]
        self._log = home.with_name(f"{home.name}.log")
        run = Run(cluster, given, self.name, home, trickle)
        self.watch: Watch = cluster.watch(given, system.stages(run))
        with self._log.open("ab") as output:
            self.began = time.monotonic()
            self._roots = system.start(run, output)
        self.usage = Usage(self._roots, cluster.pid)

    @property
    def alive(self) -> bool:
        return all(root.poll() is None for root in self._roots)

    def wait(self, condition: Callable[[], bool], seconds: float) -> float | None:
        """Return when the condition held, in seconds since the start; none where the system ended or hangs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return time.monotonic() - self.began
            if not self.alive:
                break
            time.sleep(_PAUSE)
        print(f"  {self.name} {'hangs' if self.alive else 'has ended'}:\n{self._tail()}", file=sys.stderr)
        return None

    def stop(self) -> None:
        """Ask all processes to end, and wait; what does not end is killed."""
        self.usage.end()
        processes = self.usage.processes()
        for root in self._roots:
            root.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, timeout=_END)
        if alive:
            print(f"  {self.name} does not end, and is killed:\n{self._tail()}", file=sys.stderr)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        for root in self._roots:
            root.wait()
            if root.stdin:
                root.stdin.close()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])


@contextlib.contextmanager
def new_home(directory: Path, system: System) -> Iterator[Path]:
    """Yield a new folder for what a system keeps; its name is the run's. Nothing of it stays."""
    home = directory / f"run-{system.name}-{os.getpid()}-{next(_numbers)}"
    home.mkdir()
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def started(cluster: Cluster, system: System, given: Input, home: Path, *, trickle: bool) -> Iterator[Started]:
    """Start a system, and end it; what it keeps in its home stays there."""
    running = Started(cluster, system, given, home, trickle=trickle)
    try:
        yield running
    finally:
        running.stop()


def measure(
    cluster: Cluster, system: System, given: Input, directory: Path, *, workload: str, number: int, limit: float
) -> Result:
    """Count what is in `lines` already."""
    cluster.renew(given.prefix)
    with new_home(directory, system) as home:
        return count(cluster, system, given, given.truth, home, workload=workload, number=number, limit=limit)


def count(
    cluster: Cluster, system: System, given: Input, new: Truth, home: Path, *, workload: str, number: int, limit: float
) -> Result:
    """Start a system, and take the time until all is counted; `new` is what is in the lines that it has not seen."""
    with started(cluster, system, given, home, trickle=False) as running:
        commits: list[float] = []
        readable = running.watch.before

        def is_complete() -> bool:
            nonlocal readable
            moment = time.monotonic() - running.began
            if (now := running.watch.committed()) > readable:
                readable = now
                commits.append(moment)
            return running.watch.is_complete()

        settled = running.wait(is_complete, limit)
        used = running.usage.at(running.began + (commits[-1] if commits else limit))
    seconds = commits[-1] if settled is not None and commits else None
    exact = seconds is not None and cluster.exact(given)
    return Result(
        workload=workload,
        system=system.name,
        round=number,
        lines=new.lines,
        words=new.words,
        bytes=new.size,
        seconds=seconds if exact else None,
        first=commits[0] if commits else None,
        settled=settled,
        cpu=used.cpu,
        broker_cpu=used.broker_cpu,
        resident=used.resident,
        load=running.load,
    )


def measure_trickle(
    cluster: Cluster,
    system: System,
    directory: Path,
    *,
    number: int,
    rate: int,
    warm: float,
    seconds: float,
    limit: float = 120,
) -> Latency:
    """Produce lines at a rate, and take the time until each line's own word has a committed total.

    The warm-up begins with the first committed total, so that no start-up is in the figures.
    """
    name = f"trickle{next(_numbers)}"
    given = cluster.feed(name, [])
    reader = subprocess.Popen(
        [sys.executable, HERE / "arrivals.py", cluster.bootstrap, f"{given.prefix}counts", str(PARTITIONS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    reader.stdout.readline()
    sent: dict[str, float] = {}
    lines: list[bytes] = []
    with (
        new_home(directory, system) as home,
        started(cluster, system, given, home, trickle=True) as running,
    ):
        writer = producer(cluster.bootstrap, linger=0)
        topic, text, begun = f"{given.prefix}lines", trickle(), _begun(running)
        began, before, first, end = time.monotonic(), running.usage.sample(), None, int(rate * limit)
        for place in itertools.count():
            if first is None and begun.is_set():  # it is up: let it warm up, then measure
                first = place + int(rate * warm)
                end = first + int(rate * seconds)
            if place == first:
                before = running.usage.sample()
            if place == end:
                break
            wait = began + place / rate - time.monotonic()
            if wait > 0:
                writer.poll(0)
                time.sleep(wait)
            marker, line = next(text)
            sent[marker.decode()] = time.monotonic()
            lines.append(line)
            writer.produce(topic, line, partition=place % PARTITIONS)
        used = running.usage.sample()
        writer.flush(10)
        running.watch = cluster.watch(given, running.watch.stages)
        complete = running.wait(running.watch.is_complete, 60)
    arrived: dict[str, float] = json.loads(reader.communicate()[0] or "{}")
    truth = Truth()
    for _ in truth.save(iter([lines]), given.totals):
        pass
    exact = complete is not None and len(arrived) == len(sent)
    exact = cluster.exact(Input(name, given.prefix, truth, given.totals)) and exact
    cluster.drop(given.prefix)
    measured = list(sent)[first:end] if first is not None else []
    waits = sorted((arrived[marker] - sent[marker]) * 1000 for marker in measured) if exact else []
    cuts = statistics.quantiles(waits, n=1000, method="inclusive") if len(waits) > 1 else None
    return Latency(
        system=system.name,
        round=number,
        rate=rate,
        seconds=seconds,
        p50=cuts[499] if cuts else None,
        p99=cuts[989] if cuts else None,
        p999=cuts[998] if cuts else None,
        cpu=used.cpu - before.cpu,
        broker_cpu=used.broker_cpu - before.broker_cpu,
        resident=used.resident,
        load=running.load,
    )


def _begun(running: Started) -> threading.Event:
    """Return what is set once the system has committed a total."""
    begun = threading.Event()

    def wait() -> None:
        while running.alive and not running.watch.committed():
            time.sleep(0.1)
        begun.set()

    threading.Thread(target=wait, daemon=True).start()
    return begun
