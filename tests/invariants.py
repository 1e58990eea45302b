"""What must hold whatever breaks: watched while it breaks (`Witness`) and checked afterwards (`hold`).

1. The final counts equal an independent recount of the lines.
2. Per word, the committed totals only rise; none repeats.
3. No read_committed reader ever sees a total that the lines written so far could not give.
4. Each store equals the fold of `counts` below its stamp.
5. Committed offsets never go back, and every topic becomes stable within the transaction time-out.
6. Nothing of the application is left running, and no store is locked.
"""

import os
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
from application import Application, wait_for
from confluent_kafka import KafkaException, TopicPartition
from reference import recount

from wcsup import _core
from wcsup.errors import StoreBrokenError
from wcsup.kafka import clients, groups, topics
from wcsup.state.store import Cached, Store

_GRACE_SECONDS = 5.0
"""How much longer than a time-out a busy machine may need."""


class Witness:
    """A read_committed reader of `counts` and of committed offsets that runs during a test and notes each breach."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._config = application.config
        self._stop = threading.Event()
        self._totals: Counter[bytes] = Counter()
        self._committed: dict[tuple[str, int], int] = {}
        self._breaches: list[str] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen = 0
        """Totals read."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert not self._breaches, self._breaches[:10]
            assert self.seen and self._committed, "it has seen something"

    def _watch(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - told by the test's thread
            self._breaches.append(repr(error))

    def _read(self) -> None:
        config = self._config
        consumer = clients.assigned_consumer(config)
        consumer.assign([TopicPartition(config.topic("counts"), p, 0) for p in range(config.partitions)])
        while not self._stop.is_set():
            for message in consumer.consume(5_000, 0.2):
                if message.error() is None:
                    self._see(message.key(), message.value())
            self._sample(config.map_group, config.topic("lines"))
            self._sample(config.reduce_group, config.topic("words"))
        consumer.close()

    def _see(self, word: bytes | None, value: bytes | None) -> None:
        self.seen += 1
        if word is None or value is None:
            self._breaches.append(f"a total of {word!r} is {value!r}")
            return
        total = int.from_bytes(value, "big", signed=True)
        if total <= self._totals[word]:
            self._breaches.append(f"invariant 2: total of {word!r} went from {self._totals[word]} to {total}")
        if total > (most := self._application.written[word]):
            self._breaches.append(f"invariant 3: {word!r} was written {most} times and counted {total} times")
        self._totals[word] = total

    def _sample(self, group: str, topic: str) -> None:
        try:
            offsets = groups.committed(self._config, group, topic, self._config.partitions)
        except KafkaException:
            return  # the broker is what the test broke
        back = [p for p, offset in offsets.items() if 0 <= offset < self._committed.get((topic, p), 0)]
        if back:
            offsets |= self._stable(group, topic, back)
        for partition, offset in offsets.items():
            key = topic, partition
            if 0 <= offset < (before := self._committed.get(key, 0)):
                self._breaches.append(f"invariant 5: {group} went back from {before} to {offset} of {key}")
            if offset >= 0:
                self._committed[key] = offset

    def _stable(self, group: str, topic: str, partitions: list[int]) -> dict[int, int]:
        """Return the stable offsets of partitions; none where the brokers do not tell them in time.

        A coordinator that was made one a moment ago answers from the part of its log below the high watermark, which
        lags behind in its copy (`CoordinatorLoaderImpl`). A request for stable offsets waits for the rest. Workers make
        no other requests.
        """
        consumer = clients.offsets_reader(self._config, group, "read_committed")
        wanted = [TopicPartition(topic, p) for p in partitions]
        try:
            return {one.partition: one.offset for one in consumer.committed(wanted, clients.REACH_SECONDS)}
        except KafkaException:
            return dict.fromkeys(partitions, -1)


def hold(application: Application, lines: Iterable[bytes | None], *, states: Sequence[Path] = ()) -> None:
    """Let the application finish, end it, and check all invariants; `states` are state directories beside its own."""
    application.wait_counted()
    check_counts(application, lines)
    check_stable(application)
    application.stop()
    check_ended(application)
    for state in {application.config.state, *states}:
        check_stores(application, state)


def check_counts(application: Application, lines: Iterable[bytes | None]) -> None:
    """Invariants 1 and 2."""
    check_totals(application, recount(lines))


def check_totals(application: Application, expected: Counter[bytes]) -> None:
    """Invariants 1 and 2, for lines whose recount is known."""
    counted = application.counts()
    wrong = {word: (counted[word], expected[word]) for word in counted | expected if counted[word] != expected[word]}
    assert not wrong, f"{len(wrong)} words (counted, written): {dict(list(wrong.items())[:10])}"


def check_stable(application: Application) -> None:
    """Invariant 5: no transaction stays open."""
    wanted = [
        TopicPartition(application.config.topic(name), p)
        for name in topics.NAMES
        for p in range(application.config.partitions)
    ]

    def open_ends() -> bool:
        return topics.stable_ends(application.admin, wanted) == topics.ends(application.admin, wanted)

    wait_for("all topics are stable", open_ends, application.config.transaction_timeout + _GRACE_SECONDS)


def check_ended(application: Application) -> None:
    """Invariant 6: no worker runs, nor a child of one."""
    for worker in application.workers:
        assert worker.process.poll() is not None, f"{worker.job_name} runs"
    # Each worker led a session. A reused pid shows that no process was left in the worker's session.
    sessions = {worker.process.pid for worker in application.workers if not psutil.pid_exists(worker.process.pid)}
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            assert os.getsid(pid) not in sessions, f"orphan: {psutil.Process(pid)}"


def fold(application: Application, partition: int, below: int) -> dict[bytes, int]:
    """Return the fold of the records of `counts` below an offset; tombstones delete."""
    name = application.config.topic("counts")
    totals: dict[bytes, int] = {}
    consumer = clients.assigned_consumer(application.config)
    consumer.assign([TopicPartition(name, partition, 0)])
    at = 0
    while at < below:
        for message in consumer.consume(10_000, 0.2):
            at = message.offset() or 0
            error, key, value = message.error(), message.key(), message.value()
            if error is not None:
                assert error.name() == "_PARTITION_EOF", error.str()
                assert at >= below, f"counts {partition} ends at {at}, before the stamp {below}"
            elif at < below and key is not None:
                if value is None:
                    totals.pop(key, None)
                elif len(value) in {4, 8}:
                    totals[key] = int.from_bytes(value, "big", signed=True)
    consumer.close()
    return totals


def check_stores(application: Application, state: Path, *, damaged: Collection[Path] = ()) -> int:
    """Invariants 4 and 6: each store of a state directory opens and fits its stamp; return how many there are.

    A store in `damaged` may still be damaged, if no worker has opened it since.
    """
    checked = 0
    for path in sorted((state / "stores").glob("*")):
        try:
            store = Store.open(path, Cached())
        except StoreBrokenError:
            assert path in damaged, path
            continue
        try:
            checked += _check_store(application, store)
        except StoreBrokenError:
            assert path in damaged, path
        finally:
            store.close()
    return checked


def _check_store(application: Application, store: Store) -> bool:
    """Return whether there was something to check."""
    path, stamp = store.path, store.stamp
    stored = {word: int.from_bytes(total, "big", signed=True) for word, total in store.items()}
    if stamp is None:
        assert not stored, f"{path} has words and no stamp"
        return False
    expected = fold(application, int(path.name), stamp.next_offset)
    if left_over := stored.keys() - expected.keys():  # compaction keeps the last record of a word alone
        above = fold(application, int(path.name), _end(application, int(path.name)))
        expected |= {word: stored[word] for word in left_over if above.get(word, 0) > stored[word]}
    assert stored == expected, f"{path} differs from counts below its stamp {stamp.next_offset}"
    assert stamp.distinct == len(stored), f"{path}: distinct words"
    assert stamp.total == sum(stored.values()), f"{path}: sum"
    top = _top(stored)[: len(stamp.top)]
    assert [(word.encode("latin-1"), total) for word, total in stamp.top] == top, f"{path}: top words"
    return True


def _end(application: Application, partition: int) -> int:
    counts = TopicPartition(application.config.topic("counts"), partition)
    return topics.ends(application.admin, [counts])[counts.topic, partition]


def _top(totals: dict[bytes, int]) -> list[tuple[bytes, int]]:
    short = [(word, total) for word, total in totals.items() if len(word) <= 256]
    return sorted(short, key=lambda pair: (-pair[1], pair[0]))


def partition_of(application: Application, word: bytes) -> int:
    """Return the partition of `words` and `counts` that a word is in."""
    return _core.partition(word, application.config.partitions)
