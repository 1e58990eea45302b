"""Keeps the totals in a SQLite database, exactly once: `into_sqlite.py --bootstrap-servers kafka1:9092 words.db`.

Totals and the offsets up to which they are read are written in one transaction of the database. After a crash it goes
on from the offsets in the database. So at each moment the table is what `counts` was at these offsets.
"""

import argparse
import sqlite3
import struct
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

TOTAL = struct.Struct(">q")  # 8 bytes, big endian, signed

SCHEMA = """
CREATE TABLE IF NOT EXISTS totals (word TEXT PRIMARY KEY, total INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS offsets (partition INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS source (topic_id TEXT NOT NULL);
"""


class Database:
    """The totals, and where reading goes on."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode = WAL;" + SCHEMA)

    def begin_with(self, topic_id: str, partitions: list[int]) -> dict[int, int]:
        """Return the next offset of each partition. A topic that was made anew is read from its start."""
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            if self._connection.execute("SELECT topic_id FROM source").fetchone() != (topic_id,):
                for table in ("totals", "offsets", "source"):
                    self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand here
                self._connection.execute("INSERT INTO source VALUES (?)", (topic_id,))
            self._connection.executemany("INSERT OR IGNORE INTO offsets VALUES (?, 0)", [(one,) for one in partitions])
            return dict(self._connection.execute("SELECT partition, next FROM offsets"))

    def write(self, totals: dict[bytes, int], moves: dict[int, tuple[int, int]]) -> None:
        """Write totals, and move offsets, both or neither.

        `moves` has for each partition the offset that it was at and the one that it is at now. Where another reader has
        moved one meanwhile, this one is behind, and ends without having written anything.
        """
        rows = [(word.decode("utf-8", "backslashreplace"), total) for word, total in totals.items()]
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO totals VALUES (?, ?)", rows)
            for partition, (was, now) in moves.items():
                moved = self._connection.execute(
                    "UPDATE offsets SET next = ? WHERE partition = ? AND next = ?", (now, partition, was)
                )
                if not moved.rowcount:
                    raise SystemExit("another reader writes to this database: this one ends")


class Reader:
    """Reads `counts` into a database."""

    def __init__(self, servers: str, topic: str, database: Database) -> None:
        self._topic, self._database = topic, database
        admin = AdminClient({"bootstrap.servers": servers})
        described = admin.describe_topics(TopicCollection([topic]))[topic].result()
        partitions = [one.id for one in described.partitions]
        self._next = database.begin_with(str(described.topic_id), partitions)
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": "into-sqlite",  # the client wants one; offsets are in the database
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._consumer.assign([TopicPartition(topic, one, self._next[one]) for one in partitions])
        self.left = set(partitions)
        """The partitions whose end was not seen yet."""

    def turn(self) -> None:
        """Read some totals, and write them."""
        totals: dict[bytes, int] = {}
        last: dict[int, int] = {}
        for message in self._consumer.consume(5_000, timeout=0.5):
            if self._is_end(message):
                continue
            key, value, partition, offset = message.key(), message.value(), message.partition(), message.offset()
            if isinstance(key, bytes) and value is not None:
                totals[key] = TOTAL.unpack(value)[0]
            if partition is not None and offset is not None:
                last[partition] = offset + 1
        if last:
            self._database.write(totals, {one: (self._next[one], now) for one, now in last.items()})
            self._next |= last

    def _is_end(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        self.left -= {message.partition()}
        return True


def main() -> None:
    """Read until it is ended, or with `--once` to the present end."""
    parser = argparse.ArgumentParser(description="Keep the totals in a SQLite database.")
    parser.add_argument("database", type=Path)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", default="counts")
    parser.add_argument("--once", action="store_true", help="end at the present end of the topic")
    given = parser.parse_args()
    reader = Reader(given.bootstrap_servers, given.topic, Database(given.database))
    while reader.left or not given.once:
        reader.turn()


if __name__ == "__main__":
    main()
