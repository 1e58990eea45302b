"""The peer that everybody writes first: a transactional loop in plain Python, one record for each word.

`python plain_loop.py map|reduce BOOTSTRAP PREFIX [NAME]` runs one process; groups and transactions carry the name.
Exactly once: each second the produced records and the input offsets are committed in one transaction. Totals are kept
in a dict.
"""

import re
import sys
import time
from collections import Counter
from typing import Any, cast

from confluent_kafka import Consumer, Producer, TopicPartition

WORD = re.compile(rb"[a-zA-Z_]+")


def main(role: str, bootstrap: str, prefix: str, name: str | None = None) -> None:
    name = name or f"{prefix}plain"
    source, target = ("lines", "words") if role == "map" else ("words", "counts")
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{name}-{role}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "queued.min.messages": 200_000,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"{name}-{role}",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "compression.type": "lz4",
            "queue.buffering.max.messages": 1_000_000,
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions()
    consumer.subscribe([prefix + source])
    totals: Counter[bytes] = Counter()
    offsets: dict[int, int] = {}
    target = prefix + target

    def send(key: bytes, value: bytes | None) -> None:
        while True:
            try:
                return producer.produce(target, value, key)
            except BufferError:
                producer.poll(0.05)

    producer.begin_transaction()
    last = time.monotonic()
    while True:
        # In the stubs a message's every part is optional; to look each time would slow the peer down.
        for message in cast("list[Any]", consumer.consume(10_000, 0.1)):
            if message.error():
                continue
            offsets[message.partition()] = message.offset() + 1
            if role == "map":
                for word in WORD.findall(message.value() or b""):
                    send(word.lower(), None)
            else:
                key = message.key()
                totals[key] += 1
                send(key, totals[key].to_bytes(8, "big"))
        producer.poll(0)
        if offsets and time.monotonic() - last >= 1:
            moved = [TopicPartition(prefix + source, p, o) for p, o in offsets.items()]
            producer.send_offsets_to_transaction(moved, consumer.consumer_group_metadata())
            producer.commit_transaction()
            offsets.clear()
            producer.begin_transaction()
            last = time.monotonic()


if __name__ == "__main__":
    main(*sys.argv[1:])
