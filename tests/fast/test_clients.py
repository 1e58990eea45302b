"""Which settings of `--kafka-config` reach Kafka's clients, and what a new one is connected to."""

import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from application import wait_for
from confluent_kafka import TopicPartition
from mocked import TOPIC, Mock

from wcsup.config import Config
from wcsup.errors import UsageError
from wcsup.kafka import clients
from wcsup.kafka.writer import Writer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(bootstrap_servers="127.0.0.1:9", kafka_config=tmp_path / "kafka.properties")


def write(config: Config, text: str) -> None:
    assert config.kafka_config
    config.kafka_config.write_text(text)


def test_settings_are_lines_and_comments_are_left_out(config: Config) -> None:
    write(config, "# tuning\n\nlinger.ms = 5\nsasl.password=a=b\n")
    assert clients.read_properties(config) == {"linger.ms": "5", "sasl.password": "a=b"}


@pytest.mark.parametrize(
    "line",
    [
        "enable.auto.commit=true",
        "auto.commit.enable=true",
        "isolation.level=read_uncommitted",
        "auto.offset.reset=latest",
        "enable.idempotence=false",
        "acks=1",
        "transactional.id=mine",
        "group.id=mine",
        "group.instance.id=mine",
        "partitioner=consistent",
        "partition.assignment.strategy=range",
        "log.connection.close=false",
        "logger=mine",
    ],
)
def test_what_counting_exactly_once_rests_on_is_not_the_users_to_change(line: str, config: Config) -> None:
    write(config, f"linger.ms=5\n{line}\n")
    with pytest.raises(UsageError, match=rf"kafka.properties:2: {line.partition('=')[0]} is not to be .*take the line"):
        clients.admin(config)


def test_saying_what_is_so_anyway_changes_nothing_for_any_client(config: Config) -> None:
    # A reader of uncommitted records stays one: what stands in the file would go over its own setting.
    write(config, "acks=all\nenable.auto.commit=false\nisolation.level=read_committed\n")
    assert clients.read_properties(config) == {}


@pytest.mark.parametrize("line", ["no.such.setting=1", "error_cb=mine", "socket.timeout.ms=soon"])
def test_what_the_client_refuses_is_said_with_the_files_name(line: str, config: Config) -> None:
    write(config, line)
    with pytest.raises(UsageError, match=rf"settings of .*kafka.properties: .*{line.partition('=')[0]}"):
        clients.transactional_producer(config, "name")


@pytest.mark.parametrize(
    "line",
    ["", "log_level=0", "debug=all", "enabled_events=255", "log.queue=false", "log.thread.name=false"],
)
def test_no_setting_keeps_a_reader_from_hearing_that_its_offset_is_not_there(
    mock: Mock, config: Config, line: str
) -> None:
    write(config, line)
    heard: list[str] = []
    config = replace(config, bootstrap_servers=mock.config.bootstrap_servers)
    reader = clients.group_reader(config, "group", "name", on_reset=heard.append)
    reader.assign([TopicPartition(TOPIC, 0, 1000)])

    def told() -> bool:
        reader.read(0.1)
        return bool(heard)

    wait_for("it has gone to the start", told)
    assert f"{TOPIC} [0]: offset reset (at offset 1000" in heard[0]
    reader.close()


SECRET = "hunter2"  # noqa: S105 - it opens nothing


@pytest.mark.parametrize(
    "line",
    [
        f"sasl.password {SECRET}",
        f"sasl.password: {SECRET}",
        f"sasl.password: hun={SECRET}",
        SECRET,
        f"sasl.oauthbearer.method={SECRET}",
        f"oauth_cb={SECRET}",
        f"ssl.key.pem={SECRET}",
    ],
)
def test_no_message_repeats_what_may_be_a_secret(line: str, config: Config) -> None:
    write(config, f"# a comment\nsecurity.protocol=SSL\nsasl.password=geheim\n{line}\n")
    with pytest.raises(UsageError) as refused:
        clients.admin(config)
    said = "".join(traceback.format_exception(refused.value))
    assert SECRET not in said
    assert "geheim" not in said
    assert "kafka.properties" in said


def test_a_malformed_line_is_named_by_its_number(config: Config) -> None:
    write(config, f"linger.ms=5\nsasl.password {SECRET}\n")
    with pytest.raises(UsageError, match=r"kafka\.properties:2: expected key=value"):
        clients.read_properties(config)


def test_a_setting_that_is_no_secret_is_named_with_its_value(config: Config) -> None:
    write(config, "compression.type=paper\n")
    with pytest.raises(UsageError, match='"paper" for configuration property "compression'):
        clients.admin(config)


def test_a_transactional_producer_is_connected_to_a_broker_and_not_to_the_address_it_was_given(
    mock: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection of the address is given up at once, and without another one nobody is asked for a coordinator."""
    answered: list[int] = []

    class Recorded(Writer):
        def list_topics(self, *arguments: Any, **options: Any) -> Any:
            answer = super().list_topics(*arguments, **options)
            answered.append(answer.orig_broker_id)
            return answer

    monkeypatch.setattr(clients, "Writer", Recorded)
    clients.transactional_producer(mock.config, "name")
    assert answered[-1] == 1
