"""An application under test on a real broker: its topics, its workers as processes, what it counted."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from reference import recount

from wcsup import _core
from wcsup.config import Config
from wcsup.kafka import application, clients, groups, progress, topics
from wcsup.pipeline.report import Job, Report, Role

WAIT_SECONDS = 60.0

ROLES: tuple[Role, ...] = ("map", "reduce")
"""The roles of the workers that count."""

_MIXED = b"WCSUP\0\0\2"
"""How the key of a mixed record begins: packed words of any partition."""

Headers = list[tuple[str, bytes]]


def wait_for(what: str, condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Wait until a condition holds; fail with its name otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.02)


_PARENT = ThreadPoolExecutor(1, "parent")
"""The thread that starts all workers: each dies with the thread that started it (PR_SET_PDEATHSIG)."""


_UNRESERVED = Path(__file__).with_name("unreserved.py")


class WorkerProcess:
    """A real worker, started as the supervisor starts it."""

    def __init__(
        self,
        config: Config,
        role: Role,
        slot: str,
        environment: dict[str, str] | None = None,
        unreserved: Iterable[str] = (),
    ) -> None:
        """`unreserved` are settings of the worker's --kafka-config that a user's may not have."""
        self.role: Role = role
        self.job_name = f"{role}-{slot}"
        read, write = os.pipe()
        self.log: list[str] = []
        self.report = Report()
        self.process = _PARENT.submit(
            subprocess.Popen,
            [sys.executable, *([_UNRESERVED, *unreserved] if unreserved else ["-m", "wcsup.pipeline"])],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[write],
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        ).result()
        os.close(write)
        assert self.process.stdin is not None
        self.process.stdin.write(Job(role, slot, config, write).to_json().encode() + b"\n")
        self.process.stdin.flush()
        self._threads = [
            threading.Thread(target=self._read_reports, args=[read], daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_reports(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            for line in pipe:
                self.report = Report.from_json(line)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.decode("utf-8", "replace").rstrip())

    @property
    def ready(self) -> bool:
        return self.report.ready

    def wait_stored(self, total: int) -> None:
        """Wait until a reducer has written all totals, whose sum is `total`, to its stores."""
        wait_for("all is stored", lambda: self.report.total == total and not self.report.kept_words)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def drain(self) -> int:
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for the end; return the exit status after all of the log and the reports are read."""
        status = self.process.wait(seconds)
        for thread in self._threads:
            thread.join(seconds)
        assert self.process.stdin is not None and self.process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stderr.close()
        return status


def stopped(worker: WorkerProcess) -> bool:
    """Return whether a worker is stopped (SIGSTOP)."""
    return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED


def have_partitions(workers: Iterable[WorkerProcess]) -> bool:
    """Return whether all of the workers have partitions, and are ready."""
    return all(worker.ready and worker.report.partitions for worker in workers)


class Application:
    """Topics, state and workers of one application."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.admin = clients.admin(config)
        self.workers: list[WorkerProcess] = []
        self.written: Counter[bytes] = Counter()
        """A recount of all lines that were given to the producer so far."""

    def elsewhere(self, number: int = 1) -> Path:
        """Return the state directory of another host."""
        return self.config.state.parent / f"host-{number}"

    def make_topics(self) -> None:
        application.prepare(self.config)

    def start(
        self,
        role: Role,
        slot: str = "0",
        *,
        crash: str | None = None,
        state: Path | None = None,
        environment: dict[str, str] | None = None,
        kafka: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> WorkerProcess:
        """Start a worker: with `state` as on another host, with `changes` in its configuration.

        `kafka` is its --kafka-config, which may have settings that a user's may not have.
        """
        own: dict[str, Any] = {"state_dir": state} if state else {}
        if kafka:
            own["kafka_config"] = self.config.state.parent / f"worker-{len(self.workers)}.properties"
            own["kafka_config"].write_text("".join(f"{key}={value}\n" for key, value in kafka.items()))
        config = replace(self.config, **changes, **own)
        if config.group_protocol == "consumer" and config.session_timeout != self.config.session_timeout:
            groups.set_sessions(self.admin, config)
        more = {"WCSUP_CRASH": crash} if crash else {}
        unreserved = [key for key in kafka or () if key in clients._KEPT]
        worker = WorkerProcess(config, role, slot, {**(environment or {}), **more}, unreserved)
        self.workers.append(worker)
        return worker

    def feed(self, lines: Sequence[bytes | None], *, rate: float = 0, seconds: float = WAIT_SECONDS) -> None:
        """Write lines to `lines`, spread over its partitions, at `rate` a second or as fast as possible.

        `seconds` is how long the brokers may take for the last ones.
        """
        own = {"linger.ms": 20, "message.max.bytes": 1_100_000, "enable.idempotence": True}
        producer = Producer({**clients.settings(self.config), **own})
        began = time.monotonic()
        step = max(1, int(rate / 50)) if rate else 1000
        for start in range(0, len(lines), step):
            if rate:
                time.sleep(max(0.0, began + start / rate - time.monotonic()))
            chunk = lines[start : start + step]
            self.written.update(recount(chunk))
            for number, line in enumerate(chunk, start):
                while True:
                    try:
                        producer.produce(self.config.topic("lines"), line, partition=number % self.config.partitions)
                        break
                    except BufferError:
                        producer.poll(0.05)
        assert producer.flush(seconds) == 0

    @contextlib.contextmanager
    def feeding(self, lines: Sequence[bytes | None], rate: float) -> Iterator[threading.Thread]:
        """Feed in the background until the `with` block ends."""
        thread = threading.Thread(target=self.feed, args=[lines], kwargs={"rate": rate})
        thread.start()
        try:
            yield thread
        finally:
            thread.join()

    def write(
        self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], partition: int | None = None
    ) -> None:
        """Write (key, value) records as another program would: to one partition, or each to its word's partition.

        Raises `KafkaException` where the broker refuses a record; an empty producer queue would not tell that.
        """
        refused: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                refused.append(error)

        producer = Producer({**clients.settings(self.config), "message.max.bytes": 4_000_000})
        for key, value in records:
            where = _core.partition(key or b"", self.config.partitions) if partition is None else partition
            producer.produce(self.config.topic(topic), value, key, partition=where, on_delivery=delivered)
        assert producer.flush(WAIT_SECONDS) == 0
        if refused:
            raise KafkaException(refused[0])

    def write_mixed(self, lines: Sequence[bytes], partition: int) -> None:
        """Write to a partition of `words` the mixed records of a mapper for which one reducer owns all partitions."""
        self.written.update(recount(lines))
        count = self.config.partitions
        batch = _core.Combiner(self.config.words, count)
        batch.own(0, 0)
        batch.add(_core.Inbox((0, offset, None, line) for offset, line in enumerate(lines)))
        mixed = batch.mixed([partition] * count, 64 << 10)
        self.write("words", [mixed[place][1:] for place in range(len(mixed))], partition)

    def mixed(self) -> list[int]:
        """Return the partition of each committed mixed record."""
        return [partition for partition, _, value, _ in self.read("words") if (value or b"").startswith(_MIXED)]

    def configure(self, topic: str, settings: Mapping[str, str]) -> None:
        """Change a topic's configuration, and wait until the broker tells the new one."""
        entries = [ConfigEntry(key, v, incremental_operation=AlterConfigOpType.SET) for key, v in settings.items()]
        resource = ConfigResource(ResourceType.TOPIC, self.config.topic(topic), incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result()

        def held() -> bool:
            return settings.items() <= topics.configs(self.admin, self.config, [topic])[topic].items()

        wait_for(f"{topic} is configured", held)

    def lag(self) -> progress.Lag:
        return progress.lag(self.admin, self.config)

    def wait_led(self) -> None:
        """Wait until the leaders of all partitions answer."""

        def answer() -> bool:
            try:
                self.lag()
            except KafkaException:
                return False
            return True

        wait_for("all partitions have leaders", answer)

    def store(self, lines: list[bytes]) -> WorkerProcess:
        """Count lines with a new mapper and a new reducer; return the reducer once its stores have all totals."""
        self.feed(lines)
        self.start("map")
        reducer = self.start("reduce")
        self.wait_counted()
        reducer.wait_stored(self.written.total())
        return reducer

    def wait_counted(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until all lines are counted: first by the mappers, since that fixes the end for the reducers."""
        wait_for("all lines are mapped", lambda: self.lag().lines == 0, seconds)
        wait_for("all words are reduced", lambda: self.lag().words == 0, seconds)

    def read(
        self, topic: str, until: Callable[..., dict[tuple[str, int], int]] = topics.ends
    ) -> Iterator[tuple[int, bytes | None, bytes | None, Headers]]:
        """Yield (partition, key, value, headers) of all committed records of a topic, as `messages` does."""
        for message in self.messages(topic, until):
            # The stubs' type of headers also covers headers to be written; these are of a consumer.
            headers = cast("Headers", message.headers() or [])
            yield message.partition() or 0, message.key(), message.value(), headers

    def messages(self, topic: str, until: Callable[..., dict[tuple[str, int], int]] = topics.ends) -> Iterator[Message]:
        """Yield all committed records of a topic as they were read.

        Reads to the topic's end, waiting for every open transaction; with `topics.stable_ends`, to the last stable
        offset.
        """
        name = self.config.topic(topic)
        consumer = clients.assigned_consumer(self.config)
        consumer.assign([TopicPartition(name, p, 0) for p in range(self.config.partitions)])
        ends = until(self.admin, [TopicPartition(name, p) for p in range(self.config.partitions)])
        left = {p for (_, p), end in ends.items() if end}
        while left:
            for message in consumer.consume(10_000, 0.2):
                partition = message.partition() or 0
                error = message.error()
                if error is None:
                    yield message
                elif error.name() == "_PARTITION_EOF":
                    if (message.offset() or 0) >= ends[name, partition]:
                        left.discard(partition)
                else:
                    raise AssertionError(error.str())
        consumer.close()

    def counts(self) -> Counter[bytes]:
        """Return the committed totals, and check that each word's total rises with each of its records."""
        totals: Counter[bytes] = Counter()
        for partition, key, value, _ in self.read("counts"):
            assert key is not None and value is not None
            assert _core.partition(key, self.config.partitions) == partition
            total = int.from_bytes(value, "big", signed=True)
            assert total > totals[key], f"total of {key!r} went from {totals[key]} to {total}"
            totals[key] = total
        return totals

    def end(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(signal.SIGCONT)
                worker.kill()
            worker.wait()  # closes its pipes

    def stop(self) -> None:
        self.end()
        for worker in self.workers:
            print(f"{worker.job_name} ended with {worker.process.returncode}", *worker.log[-20:], sep="\n  ")


PROSE = [
    "".join(random.Random(f"word {n}").choices("abcdefghijklmnopqrstuvwxyz", k=random.Random(n).randint(2, 9)))
    for n in range(3000)
]


def prose(lines: int, seed: int, words: int = 10) -> list[bytes]:
    """Return English-like lines: frequencies after Zipf, some case and punctuation."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(PROSE))]
    chosen = rng.choices(PROSE, weights, k=lines * words)
    return [f"{' '.join(chosen[n : n + words]).capitalize()}.".encode() for n in range(0, lines * words, words)]
