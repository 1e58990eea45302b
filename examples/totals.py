"""Reads all totals, as another program would: `totals.py kafka1:9092 counts` prints each word with its total.

It reads the topic to its present end. A program that follows the totals goes on reading there.
"""

import struct
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

TOTAL = struct.Struct(">q")  # 8 bytes, big endian, signed


def read(servers: str, topic: str) -> dict[bytes, int]:
    """Return the newest committed total of each word."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "totals",  # the client wants one; partitions are taken without a group
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    totals: dict[bytes, int] = {}
    left = set(partitions)
    while left:
        for message in consumer.consume(10_000, timeout=1.0):
            error, key, value = message.error(), message.key(), message.value()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(message.partition())
            elif error is not None:
                raise KafkaException(error)
            elif isinstance(key, bytes) and value is not None:
                totals[key] = TOTAL.unpack(value)[0]  # a later record of a word replaces an earlier one
    consumer.close()
    return totals


if __name__ == "__main__":
    for word, total in sorted(read(*sys.argv[1:3]).items()):
        print(word.decode("utf-8", "backslashreplace"), total)
