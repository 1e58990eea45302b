"""Faults of other programs that write to the application's topics."""

import random
import struct
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from soak.field import TIME_OUTS, Field
from soak.journal import Event
from soak.load import Letter
from wcsup.kafka import clients

_MALFORMED: list[Letter] = [
    (None, None),
    (None, struct.pack(">q", 5)),
    (b"w", b""),
    (b"w", b"1234567"),
    (b"w", b"one hundred and three"),
    (b"\0", b"WCSUP\0\0\1" + b"\x80"),
    (b"\0", b"WCSUP\0\0\1" + b"\1b\1" + b"\1a\1"),
]
_FLUSH_SECONDS = 90.0


def transaction(field: Field, rng: random.Random, event: Event) -> None:
    """A transaction in one of the topics that is open for a while, and then aborted or left to its time-out."""
    application, seconds = field.application, rng.uniform(0, 5)
    topic = rng.choice(("lines", "words", "counts"))
    abort = rng.random() < 0.5
    event.note(f"in {topic} for {seconds:.1f} s, {'aborted' if abort else 'left'}")
    config = replace(application.config, transaction_timeout=rng.uniform(*TIME_OUTS))
    name = f"{config.app_id}-stranger-{rng.getrandbits(64):x}"
    try:
        producer = clients.transactional_producer(config, name)
        producer.init_transactions(10)
        producer.begin_transaction()
        for partition in range(config.partitions):
            producer.produce(config.topic(topic), struct.pack(">q", 1000), b"wrong", partition=partition)
        producer.flush(10)
        field.pause(seconds)
        if abort:
            producer.abort_transaction(10)
    except KafkaException as error:
        event.note(str(error))  # the broker's end, or its time-out: it aborts then


def malformed(field: Field, rng: random.Random, event: Event) -> None:
    """Records in `words` that no mapper writes."""
    config = field.application.config
    letters = rng.choices(_MALFORMED, k=rng.randrange(1, 5))
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error)

    producer = Producer({**clients.settings(config), "enable.idempotence": True})
    for key, value in letters:
        partition = rng.randrange(config.partitions)
        producer.produce(config.topic("words"), value, key, partition=partition, on_delivery=delivered)
    field.letters.update(letters)
    assert producer.flush(_FLUSH_SECONDS) == 0 and not refused, refused
    event.note(f"{letters}")
