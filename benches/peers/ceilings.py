"""What the parts can do alone, each in a process of its own with wcsup's own settings.

`python -m benches.peers.ceilings PART BOOTSTRAP PREFIX DIRECTORY` prints {name: [amount a second, unit], …}.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benches.peers.cluster import PARTITIONS
from benches.peers.workloads import spelled
from confluent_kafka import Message, TopicPartition
from rocksdict import Rdict, WriteBatch

from wcsup import _core
from wcsup.config import Config
from wcsup.garbage import collect_rarely
from wcsup.kafka import clients, topics

Rates = dict[str, tuple[float, str]]

_BATCH = 20_000
_MOST_LINES = 2_000_000
_KEPT_LINES = 200_000
_RECORDS = 500_000
_WORDS = 2_000_000
_STORE_BATCH = 100_000


def _batches(config: Config) -> Iterator[list[Message]]:
    """Yield the last lines that are there, as a worker reads them.

    The ends of partitions come as messages too: so at the very end a few lines may be left out, of millions.
    """
    consumer = clients.group_consumer(config, f"{config.app_id}-ceiling", "ceiling", lambda _error: None)
    ends = topics.ends(clients.admin(config), [TopicPartition(config.topic("lines"), p) for p in range(PARTITIONS)])
    starts = {key: max(0, end - _MOST_LINES // PARTITIONS) for key, end in ends.items()}
    left = sum(ends.values()) - sum(starts.values())
    consumer.assign([TopicPartition(topic, partition, start) for (topic, partition), start in starts.items()])
    while left > 0:
        first = consumer.poll(1)
        messages = [] if first is None else [first, *consumer.consume(_BATCH, 0)]
        left -= len(messages)
        yield messages


def _rated(messages: Iterator[list[Message]], each: Callable[[list[Message]], object]) -> tuple[int, float]:
    """Return how many messages were handed to `each`, and the seconds since the first came."""
    began, taken = 0.0, 0
    for batch in messages:
        began = began or (time.perf_counter() if batch else 0.0)
        each(batch)
        taken += len(batch)
    return taken, time.perf_counter() - began


def consume(config: Config, _directory: Path) -> Rates:
    taken, seconds = _rated(_batches(config), len)
    return {"consume": (taken / seconds, "lines/s")}


def tokenize(config: Config, _directory: Path) -> Rates:
    combiner = _combiner()
    words = 0

    def add(batch: list[Message]) -> None:
        nonlocal words
        combiner.add(batch)
        if combiner.taken >= _MOST_LINES // 8:
            words += combiner.words
            combiner.clear()

    taken, seconds = _rated(_batches(config), add)
    rate = (words + combiner.words) / seconds
    return {
        "consume, split and combine": (taken / seconds, "lines/s"),
        "consume, split and combine (words)": (rate, "words/s"),
    }


def core(config: Config, _directory: Path) -> Rates:
    kept: list[list[Message]] = []
    for batch in _batches(config):
        kept.append(batch)
        if sum(map(len, kept)) >= _KEPT_LINES:
            break
    best: Rates = {}
    for _ in range(3):
        combiner = _combiner()
        began = time.perf_counter()
        for batch in kept:
            combiner.add(batch)
        seconds = time.perf_counter() - began
        found = (combiner.bytes / seconds, "bytes/s"), (combiner.words / seconds, "words/s")
        if not best or found[0] > best["Rust core, one thread"]:
            best = {"Rust core, one thread": found[0], "Rust core, one thread (words)": found[1]}
    return best


def produce(config: Config, _directory: Path) -> Rates:
    producer = clients.transactional_producer(config, f"{config.app_id}-ceiling", lambda _error: None)
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


PARTS = {part.__name__: part for part in (consume, tokenize, core, produce, store)}

if __name__ == "__main__":
    name, bootstrap, prefix, directory = sys.argv[1:]
    collect_rarely()
    config = Config(bootstrap_servers=bootstrap, app_id=f"ceiling-{name}", topic_prefix=prefix, partitions=PARTITIONS)
    print(json.dumps(PARTS[name](config, Path(directory) / f"ceiling-{name}")))
