"""librdkafka's own mock of a cluster."""

from collections.abc import Iterator
from ctypes import CDLL, c_char_p, c_int, c_int16, c_int32, c_size_t, c_void_p

import pytest
from confluent_kafka import Producer, cimpl

from wcsup.config import Config

TOPIC = "lines"
PARTITIONS = 4

_PRODUCER = 0

_LIBRARY = CDLL(cimpl.__file__)  # with librdkafka, which it is linked with
for _name, _result, *_arguments in (
    ("rd_kafka_conf_new", c_void_p),
    ("rd_kafka_conf_set", c_int, c_void_p, c_char_p, c_char_p, c_char_p, c_size_t),
    ("rd_kafka_new", c_void_p, c_int, c_void_p, c_char_p, c_size_t),
    ("rd_kafka_destroy", None, c_void_p),
    ("rd_kafka_mock_cluster_new", c_void_p, c_void_p, c_int),
    ("rd_kafka_mock_cluster_bootstraps", c_char_p, c_void_p),
    ("rd_kafka_mock_cluster_destroy", None, c_void_p),
    # Then two numbers for each request.
    ("rd_kafka_mock_broker_push_request_error_rtts", c_int, c_void_p, c_int32, c_int16, c_size_t),
):
    _function = getattr(_LIBRARY, _name)
    _function.restype, _function.argtypes = _result, _arguments


class Mock:
    """A mock cluster of one broker inside a producer."""

    def __init__(self) -> None:
        settings = _LIBRARY.rd_kafka_conf_new()
        _LIBRARY.rd_kafka_conf_set(settings, b"log_level", b"0", None, 0)
        self._around = _LIBRARY.rd_kafka_new(_PRODUCER, settings, None, 0)
        self._cluster = _LIBRARY.rd_kafka_mock_cluster_new(self._around, 1)
        self.config = Config(bootstrap_servers=_LIBRARY.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())
        own = {"bootstrap.servers": self.config.bootstrap_servers, "log_level": 0, "linger.ms": 0, "acks": "all"}
        self.producer = Producer(own)

    def close(self) -> None:
        _LIBRARY.rd_kafka_mock_cluster_destroy(self._cluster)
        _LIBRARY.rd_kafka_destroy(self._around)

    def answer(self, api: int, error: int = 0, *, after: float = 0) -> None:
        """Answer the next request of a kind with an error (`_TRANSPORT` breaks the connection), or late."""
        more = c_int(error), c_int(round(after * 1000))
        assert not _LIBRARY.rd_kafka_mock_broker_push_request_error_rtts(self._cluster, 1, api, 1, *more)

    def produce(self, *values: bytes | None, partition: int = 0, key: bytes | None = None) -> None:
        records = [{"key": key, "value": value} for value in values]
        assert self.producer.produce_batch(TOPIC, records, partition=partition) == len(records)
        assert self.producer.flush(5) == 0


@pytest.fixture
def mock() -> Iterator[Mock]:
    made = Mock()
    made.produce(b"first", partition=PARTITIONS - 1)  # the topic is there then
    yield made
    made.close()
