"""What the parts can do alone, each in a process of its own with wcsup's own settings.

`python -m benches.peers.ceilings PART BOOTSTRAP PREFIX DIRECTORY` prints {name: [amount a second, unit], …}.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches.peers.cluster import PARTITIONS
from benches.peers.workloads import WORKLOADS, spelled
from confluent_kafka import TopicPartition
from rocksdict import Rdict, WriteBatch

from wcsup import _core
from wcsup.config import Config
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import Reader
from wcsup.process.memory import collect_rarely

Rates = dict[str, tuple[float, str]]

_BATCH = 20_000
_MOST_LINES = 2_000_000
_KEPT_LINES = 200_000
_RECORDS = 500_000
_WORDS = 2_000_000
_STORE_BATCH = 100_000


def _reader(config: Config) -> tuple[Reader, list[TopicPartition], int]:
    """Return a worker's reader, the last lines that are there, and how many they are."""
    reader = clients.group_reader(config, f"{config.app_id}-ceiling", "ceiling")
    ends = topics.ends(clients.admin(config), [TopicPartition(config.topic("lines"), p) for p in range(PARTITIONS)])
    starts = {key: max(0, end - _MOST_LINES // PARTITIONS) for key, end in ends.items()}
    partitions = [TopicPartition(topic, partition, start) for (topic, partition), start in starts.items()]
    return reader, partitions, sum(ends.values()) - sum(starts.values())


def _rated(turn: Callable[[], int], lines: int) -> tuple[int, float]:
    """Take turns until so many lines were read; return how many, and the seconds since the first came.

    The ends of partitions are counted too: so at the very end a few lines may be left out, of millions.
    """
    began, taken = 0.0, 0
    while taken < lines:
        came = turn()
        began = began or (time.perf_counter() if came else 0.0)
        taken += came
    return taken, time.perf_counter() - began


def consume(config: Config, _directory: Path) -> Rates:
    """As confluent-kafka's own `consume` reads lines, a `Message` for each."""
    reader, partitions, lines = _reader(config)
    reader.consumer.assign(partitions)

    def turn() -> int:
        first = reader.consumer.poll(1)
        return 0 if first is None else 1 + len(reader.consumer.consume(_BATCH, 0))

    taken, seconds = _rated(turn, lines)
    return {"consume": (taken / seconds, "lines/s")}


def read(config: Config, _directory: Path) -> Rates:
    """As a worker reads them, but passed over."""
    taken, seconds = _read_into(_core.Combiner("ascii", PARTITIONS), config)
    return {"read": (taken / seconds, "lines/s")}


def tokenize(config: Config, _directory: Path) -> Rates:
    combiner = _combiner()
    taken, seconds = _read_into(combiner, config)
    return {
        "read, split and combine": (taken / seconds, "lines/s"),
        "read, split and combine (words)": (combiner.words / seconds, "words/s"),
    }


def _read_into(combiner: _core.Combiner, config: Config) -> tuple[int, float]:
    reader, partitions, lines = _reader(config)
    reader.assign(partitions)

    def turn() -> int:
        reader.read(1)
        came = len(reader.inbox)
        combiner.add(reader.inbox)
        return came

    return _rated(turn, lines)


def core(_config: Config, _directory: Path) -> Rates:
    best: Rates = {}
    batches = list(WORKLOADS["text"].batches(_KEPT_LINES))
    for _ in range(3):
        combiner = _combiner()
        offsets = itertools.count()
        inboxes = [_core.Inbox((0, next(offsets), None, line) for line in batch) for batch in batches]
        began = time.perf_counter()
        for inbox in inboxes:
            combiner.add(inbox)
        seconds = time.perf_counter() - began
        found = (combiner.bytes / seconds, "bytes/s"), (combiner.words / seconds, "words/s")
        if not best or found[0] > best["Rust core, one thread"]:
            best = {"Rust core, one thread": found[0], "Rust core, one thread (words)": found[1]}
    return best


def produce(config: Config, _directory: Path) -> Rates:
    producer = clients.transactional_producer(config, f"{config.app_id}-ceiling")
    producer.init_transactions()
    words = [spelled(number) for number in range(_RECORDS)]
    began = time.perf_counter()
    producer.begin_transaction()
    left = [{"key": word, "value": bytes(8)} for word in words]
    while left:
        left = left[producer.produce_batch(config.topic("words"), left) :]
        producer.poll(0.01 if left else 0)
    producer.commit_transaction(-1)
    return {"produce_batch and commit": (_RECORDS / (time.perf_counter() - began), "records/s")}


def store(_config: Config, directory: Path) -> Rates:
    from wcsup.state.store import Cached  # noqa: PLC0415 - the other parts do without RocksDB

    words = [spelled(number) for number in range(_WORDS)]
    # To the stubs a list of keys is of every kind of key at once.
    batches: list[list[Any]] = [sorted(words[n : n + _STORE_BATCH]) for n in range(0, _WORDS, _STORE_BATCH)]
    database = Rdict(str(directory), Cached().options())
    began = time.perf_counter()
    for batch in batches:
        writes = WriteBatch(raw_mode=True)
        for word in batch:
            writes.put(word, bytes(8))
        database.write(writes)
    written = time.perf_counter()
    for batch in batches:
        database[batch]
    read = time.perf_counter()
    database.close()
    return {
        "RocksDB, write": (_WORDS / (written - began), "words/s"),
        "RocksDB, look-up": (_WORDS / (read - written), "words/s"),
    }


def _combiner() -> _core.Combiner:
    combiner = _core.Combiner("ascii", PARTITIONS)
    for partition in range(PARTITIONS):
        combiner.own(partition, -1)
    return combiner


PARTS = {part.__name__: part for part in (consume, read, tokenize, core, produce, store)}

if __name__ == "__main__":
    name, bootstrap, prefix, directory = sys.argv[1:]
    collect_rarely()
    _core.separate_heap()
    config = Config(bootstrap_servers=bootstrap, app_id=f"ceiling-{name}", topic_prefix=prefix, partitions=PARTITIONS)
    print(json.dumps(PARTS[name](config, Path(directory) / f"ceiling-{name}")))
