"""Feeds a folder of compressed files from several hosts; each file counts once, whatever host dies at whatever moment.

    feed.py --bootstrap-servers kafka1:9092 --share 1/3 /corpus

All lines of a file are written in one transaction, together with a record that says that the file is done. So a file is
in the topic as a whole, once, or not at all. It is safe to start this again, on any host, with any share.
"""

import argparse
import gzip
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

SECONDS = 30.0
"""How long Kafka may take for a step."""


class Done:
    """The names of the files that are done, as a compacted topic has them."""

    def __init__(self, servers: str, topic: str) -> None:
        self.topic, self._servers = topic, servers
        new = NewTopic(topic, 1, config={"cleanup.policy": "compact"})
        admin = AdminClient({"bootstrap.servers": servers})
        try:
            admin.create_topics([new])[topic].result(SECONDS)
        except KafkaException as failed:
            if failed.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def has(self, name: str) -> bool:
        """Read the topic to its end, and tell whether a file is done."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": "corpus",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.assign([TopicPartition(self.topic, 0, OFFSET_BEGINNING)])
        found = False
        while (message := consumer.poll(SECONDS)) is not None:
            error = message.error()
            if error is None:
                found |= message.key() == name.encode()
            elif error.code() == KafkaError._PARTITION_EOF:
                consumer.close()
                return found
        raise SystemExit(f"{self.topic} can't be read to its end")


def feed(servers: str, topic: str, done: Done, file: Path) -> str:
    """Write a file, unless it is done; return what came of it.

    1. Begin to produce under the file's own name. That fences another feeder of the same file, and waits until a
       transaction of it is decided.
    2. Only then look whether the file is done.
    3. Write lines and mark in one transaction.
    """
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"{done.topic}-{file.name}",
            "compression.type": "lz4",
        }
    )
    producer.init_transactions(SECONDS)
    if done.has(file.name):
        return "was done"
    try:
        producer.begin_transaction()
        count = 0
        for line in _lines(file):
            _produce(producer, topic, line)
            count += 1
        _produce(producer, done.topic, str(count).encode(), key=file.name.encode())
        producer.commit_transaction(SECONDS)
    except KafkaException as failed:
        if failed.args[0].code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED}:
            return "another feeder took it over"
        with suppress(KafkaException):
            producer.abort_transaction(SECONDS)
        raise
    return f"{count:,} lines"


def _lines(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as text:
        for line in text:
            yield line.rstrip(b"\r\n")


def _produce(producer: Producer, topic: str, value: bytes, key: bytes | None = None) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            break
        except BufferError:  # the queue is full: let some be delivered
            producer.poll(0.1)
    producer.poll(0)


def main() -> None:
    """Feed this host's share of the files, in the order of their names."""
    parser = argparse.ArgumentParser(description="Feed compressed files, each exactly once.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", default="lines")
    parser.add_argument("--done-topic", default="corpus-done")
    parser.add_argument("--share", default="1/1", help="which part of the files is this host's, such as 2/3")
    given = parser.parse_args()
    mine, hosts = map(int, given.share.split("/"))
    done = Done(given.bootstrap_servers, given.done_topic)
    for file in sorted(given.folder.glob("*.gz"))[mine - 1 :: hosts]:
        print(f"{file.name}: {feed(given.bootstrap_servers, given.topic, done, file)}", flush=True)


if __name__ == "__main__":
    main()
