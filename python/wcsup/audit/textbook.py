"""The loop of the textbooks: consume, process, produce, in transactions that carry the offsets of their input.

wcsup does not work like this. `wcsup chaos --late-commit` shows what becomes of such a loop when a commit request is
late. It makes the calls of librdkafka's own example (`examples/transactions.c`, whose errors it handles the same way),
and it is what confluent-kafka's `examples/eos-transactions.py` does, which handles no errors.
"""

from collections.abc import Callable, Mapping
from threading import Event
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer

BATCH = 4
"""How many messages a transaction has."""
_POLL_SECONDS = 0.1


def process(message: Message) -> bytes:
    """Make a message of the output."""
    return (message.value() or b"").upper()


def consume_process_produce(
    settings: Mapping[str, Any],
    name: str,
    source: str,
    target: str,
    *,
    on_abort: Callable[[KafkaError], None],
    ended: Event,
) -> None:
    """Process messages of topic `source` into topic `target` until `ended`.

    `settings` are those of both clients. `name` is the consumer group, and the `transactional.id`. `on_abort` is called
    before a transaction is aborted. Raises `KafkaException` for an error that no abort helps against.
    """
    producer = Producer({**settings, "transactional.id": name})
    producer.init_transactions()
    consumer = Consumer(
        {
            **settings,
            "group.id": name,
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,  # offsets are committed with the transaction
        }
    )
    consumer.subscribe([source])
    try:
        producer.begin_transaction()
        processed = 0
        while not ended.is_set():
            producer.poll(0)
            message = consumer.poll(_POLL_SECONDS)
            if message is None or message.error():
                continue
            try:
                producer.produce(target, process(message))
                processed += 1
                if processed < BATCH:
                    continue
                producer.send_offsets_to_transaction(
                    consumer.position(consumer.assignment()), consumer.consumer_group_metadata()
                )
                producer.commit_transaction()
            except KafkaException as failed:
                if not failed.args[0].txn_requires_abort():
                    raise
                on_abort(failed.args[0])
                _abort_and_rewind(producer, consumer)
            producer.begin_transaction()
            processed = 0
    finally:
        consumer.close()


def _abort_and_rewind(producer: Producer, consumer: Consumer) -> None:
    """Abort, and go back to where the last commit was: what is aborted is to be processed again."""
    producer.abort_transaction()
    for partition in consumer.committed(consumer.assignment()):
        consumer.seek(partition)
