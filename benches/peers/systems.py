"""The systems: how each is started, and where its committed progress can be read."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from benches.peers import artifacts
from benches.peers.cluster import Cluster, Input, Stages

from wcsup.kafka import application
from wcsup.pipeline.report import Job

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Run:
    """What a system is started for."""

    cluster: Cluster
    given: Input
    name: str
    """Of this run alone: consumer groups and transactions carry it."""
    directory: Path
    trickle: bool
    """Light load: what has an interval of commits or checkpoints takes 100 ms and not 1 s."""

    @property
    def millis(self) -> int:
        return 100 if self.trickle else 1000


@dataclass(frozen=True, slots=True)
class System:
    """A way to count words."""

    name: str
    title: str
    start: Callable[[Run, IO[bytes]], list[subprocess.Popen[bytes]]]
    """Starts its processes with their output in the file."""
    stages: Callable[[Run], Stages]
    needs: Callable[[], object] = lambda: None
    """Fetches and compiles; raises `MissingError`."""
    shares: dict[str, float] = field(default_factory=dict)
    """What part of a workload's lines it is given, five times that in the full run; left out: all of them.

    For time's sake, and not in its favour: a JVM is still warming up in a short run, which makes its slope lower.
    """
    without: frozenset[str] = frozenset()
    """Workloads that it is not measured with unless it is the only one asked for."""
    keeps: bool = False
    """Started again in the same directory with the same name, it goes on from what it had counted."""


def _popen(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _two_stages(run: Run, map_group: str, words: str, reduce_group: str) -> Stages:
    return (map_group, f"{run.given.prefix}lines"), (reduce_group, words)


def _wcsup(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    command = [
        *(sys.executable, "-m", "wcsup.cli", "run", "--mappers", "1", "--reducers", "1"),
        *("--bootstrap-servers", run.cluster.bootstrap, "--app-id", run.name, "--topic-prefix", run.given.prefix),
        *("--state-dir", str(run.directory)),
    ]
    return [_popen(command, output)]


def _bare(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    config = run.cluster.config(run.given.prefix, run.name)
    application.prepare(
        config
    )  # as `wcsup run` does: the topics are claimed, and the positions of their input recorded
    workers = []
    for role in ("map", "reduce"):
        worker = subprocess.Popen(
            [sys.executable, "-m", "wcsup.pipeline"], stdin=subprocess.PIPE, stdout=output, stderr=output
        )
        assert worker.stdin is not None
        worker.stdin.write(Job(role, "0", config).to_json().encode() + b"\n")
        worker.stdin.flush()  # and stays open: its end tells the worker to end
        workers.append(worker)
    return workers


def _wcsup_stages(run: Run) -> Stages:
    return _two_stages(run, f"{run.name}-map", f"{run.given.prefix}words", f"{run.name}-reduce")


def _flink(backend: str, heap: str) -> Callable[[Run, IO[bytes]], list[subprocess.Popen[bytes]]]:
    def start(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
        arguments = (run.cluster.bootstrap, run.given.prefix, run.name, backend, run.millis, 2, run.directory)
        checkpoint = newest_checkpoint(run.directory)
        return [_popen(_program("flink").command(heap, *arguments, *([checkpoint] if checkpoint else [])), output)]

    return start


def newest_checkpoint(directory: Path) -> Path | None:
    """Return the folder of Flink's newest checkpoint that is complete, of whatever job; none where there is none.

    Each start is a job with a folder of its own. The metadata are what Flink writes last.
    """
    complete = list(directory.glob("*/chk-*/_metadata"))
    return max(complete, key=lambda path: path.stat().st_mtime_ns).parent if complete else None


def _flink_stages(run: Run) -> Stages:
    # It has one stage in Kafka. Its sink's transactions are waited for by the end of `counts`.
    return ((run.name, f"{run.given.prefix}lines"),)


def _sql(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    arguments = (run.cluster.bootstrap, run.given.prefix, run.name, run.millis, 2, run.directory)
    return [_popen(_program("sql").command("1g", *arguments), output)]


def _streams(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    arguments = (run.cluster.bootstrap, run.given.prefix, run.name, run.millis, 2, run.directory)
    return [_popen(_program("streams").command("2g", *arguments), output)]


def _streams_stages(run: Run) -> Stages:
    return _two_stages(run, run.name, f"{run.name}-words-repartition", run.name)


def _quix(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    script = str(HERE / "quix" / "count_words.py")
    arguments = [script, run.cluster.bootstrap, run.given.prefix, run.name]
    python = str(artifacts.quix())
    return [_popen([python, *arguments, str(run.directory / f"{n}")], output) for n in range(2)]


def _quix_stages(run: Run) -> Stages:
    # "repartition__<group>--<topic>--<name of the operation>", see quixstreams.models.topics.manager
    return _two_stages(run, run.name, f"repartition__{run.name}--{run.given.prefix}lines--word", run.name)


def _loop(run: Run, output: IO[bytes]) -> list[subprocess.Popen[bytes]]:
    script = str(HERE / "plain_loop.py")
    arguments = [run.cluster.bootstrap, run.given.prefix, run.name]
    return [_popen([sys.executable, script, role, *arguments], output) for role in ("map", "reduce")]


def _loop_stages(run: Run) -> Stages:
    return _two_stages(run, f"{run.name}-map", f"{run.given.prefix}words", f"{run.name}-reduce")


_program = cache(artifacts.program)
_SLOW = frozenset({"bible", "many", "short", "long", "huge", "trickle", "sustained"})

SYSTEMS = {
    system.name: system
    for system in (
        System("wcsup", "wcsup run, 1 mapper, 1 reducer", _wcsup, _wcsup_stages, keeps=True),
        System(
            "bare",
            "its two workers, no supervisor",
            _bare,
            _wcsup_stages,
            without=frozenset({"bible", "short", "long", "huge", "trickle", "sustained"}),
        ),
        System(
            "flink",
            f"Flink {artifacts.FLINK}, combiner, RocksDB",
            _flink("rocksdb", "1g"),
            _flink_stages,
            lambda: _program("flink"),
            keeps=True,
        ),
        System(
            "flink-heap",
            f"Flink {artifacts.FLINK}, combiner, heap",
            _flink("hashmap", "3g"),
            _flink_stages,
            lambda: _program("flink"),
            without=frozenset({"short", "long", "huge", "trickle", "sustained"}),
            keeps=True,
        ),
        System(
            "sql",
            f"Flink SQL {artifacts.FLINK_SQL}, mini-batch, two-phase, RocksDB",
            _sql,
            _flink_stages,
            lambda: _program("sql"),
            shares={"text": 0.25, "many": 0.25, "bible": 0.25},
            without=frozenset({"bible", "many", "short", "long", "huge", "trickle", "sustained"}),
        ),
        System(
            "streams",
            f"Kafka Streams {artifacts.STREAMS}, transactional stores, 2 threads",
            _streams,
            _streams_stages,
            lambda: _program("streams"),
            shares={"text": 0.05, "bible": 0.05, "many": 0.25, "short": 0.1, "long": 0.1, "huge": 0.1},
            without=frozenset({"short", "long", "huge", "sustained"}),
            keeps=True,
        ),
        System(
            "quix",
            f"Quix Streams {artifacts.QUIX}, 2 processes",
            _quix,
            _quix_stages,
            artifacts.quix,
            shares={"text": 0.002},
            without=_SLOW,
        ),
        System(
            "loop",
            "a plain Python loop, 2 processes",
            _loop,
            _loop_stages,
            shares={"text": 0.01},
            without=_SLOW,
        ),
    )
}
