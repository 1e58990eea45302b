"""Read some partitions of `counts` as any read_committed consumer would, and compare with the true totals.

`python exact.py BOOTSTRAP TOPIC TRUTH PARTITION…` prints how many words it found, the sum of their totals and how many
of them are wrong. No code of wcsup takes part.
"""

import json
import marshal
import sys
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


def main(bootstrap: str, topic: str, truth: str, *partitions: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-check",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.min.messages": 200_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    left = {int(partition) for partition in partitions}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    found: dict[bytes, bytes] = {}
    while left:
        for message in consumer.consume(10_000, 0.2):
            error = message.error()
            if error is None:
                key, value = message.key(), message.value()
                assert key is not None and value is not None
                found[key] = value
            elif error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            else:
                sys.exit(error.str())
    consumer.close()
    totals = {word: int.from_bytes(value, "big") for word, value in found.items()}
    with Path(truth).open("rb") as file:
        true = marshal.load(file)  # noqa: S302 - written by ourselves a moment ago
    wrong = sum(true.get(word) != total for word, total in totals.items())
    print(json.dumps([len(totals), sum(totals.values()), wrong]))


if __name__ == "__main__":
    main(*sys.argv[1:])
