"""What `wcsup chaos --late-commit` is made of, without a Kafka: the proxy before librdkafka's mock, and the verdict."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer
from mocked import TOPIC, Mock

from wcsup.audit.latecommit import LINES, differences, port_of_single_broker
from wcsup.audit.proxy import Api, Proxy
from wcsup.broker import ports
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients


@pytest.fixture
def between(mock: Mock) -> Iterator[Proxy]:
    """A proxy before the mock, which tells its clients its own address."""
    with closing(Proxy(ports.find_free(), port_of_single_broker(mock.config))) as proxy:
        yield proxy


def test_clients_stay_behind_the_proxy(between: Proxy) -> None:
    producer = Producer({"bootstrap.servers": between.address})
    producer.produce(TOPIC, b"line")

    assert producer.flush(10) == 0
    assert between.requests[Api.PRODUCE] == 1


def test_a_kafka_that_the_proxy_cannot_stand_before_is_refused(mock: Mock, tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("security.protocol=sasl_ssl\n")

    with pytest.raises(ConfigurationError, match="without TLS"):
        port_of_single_broker(replace(mock.config, kafka_config=file))


@pytest.mark.parametrize("hosts", [[], ["10.0.0.1"], ["kafka.example"], ["127.0.0.1", "127.0.0.1"]])
def test_it_takes_a_single_broker_on_this_machine(hosts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = {number: SimpleNamespace(host=host, port=9092 + number) for number, host in enumerate(hosts)}
    admin = SimpleNamespace(list_topics=lambda **_: SimpleNamespace(brokers=brokers))
    monkeypatch.setattr(clients, "admin", lambda _: admin)

    with pytest.raises(ConfigurationError, match="single broker on this machine"):
        port_of_single_broker(Config(bootstrap_servers="127.0.0.1:1"))


def test_it_says_of_each_line_how_often_it_is_there() -> None:
    assert differences(LINES, LINES) == []
    found = [*LINES[1:], "echo", "golf", "golf"]
    assert differences(LINES, found) == ["alpha missing", "echo twice", "golf 3 times"]
