"""librdkafka's own mock of a cluster."""

import pytest
from confluent_kafka import Producer

from wcsup.config import Config

TOPIC = "lines"
PARTITIONS = 4


class Mock:
    """A cluster of one broker inside of a producer."""

    def __init__(self) -> None:
        self.producer = Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0, "linger.ms": 0, "acks": "all"}
        )
        broker = self.producer.list_topics(timeout=5).brokers[1]
        self.config = Config(bootstrap_servers=f"{broker.host}:{broker.port}")

    def produce(self, *values: bytes | None, partition: int = 0, key: bytes | None = None) -> None:
        records = [{"key": key, "value": value} for value in values]
        assert self.producer.produce_batch(TOPIC, records, partition=partition) == len(records)
        assert self.producer.flush(5) == 0


@pytest.fixture
def mock() -> Mock:
    made = Mock()
    made.produce(b"first", partition=PARTITIONS - 1)  # the topic is there then
    return made
