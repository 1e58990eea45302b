"""Note when each line's marker word is in `counts` for a read_committed reader.

`python arrivals.py BOOTSTRAP TOPIC PARTITIONS` prints `ready`, reads until its standard input ends, and prints
{marker: time of the monotonic clock}.
"""

import json
import sys
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition


def main(bootstrap: str, topic: str, partitions: str) -> None:
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-arrivals",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(int(partitions))])
    print("ready", flush=True)
    seen: dict[str, float] = {}
    while not ended.is_set():
        first = consumer.poll(0.1)
        if first is None:
            continue
        messages = [first, *consumer.consume(10_000, 0)]
        now = time.monotonic()
        for message in messages:
            key = message.key()
            if key is not None and key.startswith(b"marker_"):
                seen.setdefault(key.decode(), now)
    consumer.close()
    print(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
