"""Writes the lines of standard input to a topic, each as one record: `producer.py kafka1:9092 lines < book.txt`."""

import sys

from confluent_kafka import KafkaError, Message, Producer


def main(servers: str, topic: str) -> None:
    """Write until the input ends, and end with an error where a line was not acknowledged."""
    failed: list[str] = []

    def check(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,  # a line that the client sends again stays one line
            "compression.type": "lz4",
        }
    )
    for line in sys.stdin.buffer:
        while True:
            try:
                producer.produce(topic, line.rstrip(b"\r\n"), on_delivery=check)
                break
            except BufferError:  # the queue is full: let some be delivered
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"{len(failed)} lines were not acknowledged: {failed[0]}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
