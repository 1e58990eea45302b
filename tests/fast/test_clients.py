"""Which settings of `--kafka-config` reach Kafka's clients, and what a new one is connected to."""

import re
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
from wcsup.kafka import clients, properties
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


def test_references_stand_for_secrets_that_are_elsewhere(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", SECRET)
    (tmp_path / "more").write_text(f"# a comment\nuser = ann\npassword = {SECRET}=\n")
    (tmp_path / "tls.key").write_text("first line\nsecond line\n")
    lines = {
        "sasl.password": ("${env:KAFKA_PASSWORD}", SECRET),
        "ssl.key.password": ("<${env:KAFKA_PASSWORD}>", f"<{SECRET}>"),
        "sasl.username": (f"${{file:{tmp_path}/more:user}}", "ann"),
        "ssl.keystore.password": (f"${{file:{tmp_path}/more:password}}", f"{SECRET}="),
        "ssl.key.pem": (f"${{dir:{tmp_path}:tls.key}}", "first line\nsecond line"),
        "client.id": ("${HOME} ${other:thing}", "${HOME} ${other:thing}"),  # as Kafka does with what it does not know
    }
    write(config, "".join(f"{key}={written}\n" for key, (written, _) in lines.items()))
    assert clients.read_properties(config) == {key: value for key, (_, value) in lines.items()}
    assert config.kafka_config
    assert properties.written_secrets(config.kafka_config) == ["ssl.key.password"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${env:NO_SUCH_THING}", "the environment has no NO_SUCH_THING"),
        ("${dir:/no/such:thing}", "/no/such/thing can't be read: No such file or directory"),
        ("${file:/no/such:thing}", "/no/such can't be read: No such file or directory"),
        ("${file:/dev/null:thing}", "/dev/null has no thing"),
        ("${file:thing}", "is not of the form ${file:PATH:KEY}"),
        ("${dir:}", "is not of the form ${dir:PATH:NAME}"),
    ],
)
def test_a_reference_to_nothing_is_said_with_its_line(config: Config, reference: str, said: str) -> None:
    write(config, f"linger.ms=5\nsasl.password={reference}\n")
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        clients.read_properties(config)
    assert "kafka.properties:2: sasl.password can't be had: " in str(refused.value)


def test_the_address_in_the_file_is_found_whatever_else_is_wrong_with_it(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKERS", "kafka:9093")
    write(config, "nonsense\nsasl.password=${env:NO_SUCH_THING}\nbootstrap.servers=${env:BROKERS}\n")
    assert config.kafka_config
    assert properties.address(config.kafka_config) == "kafka:9093"
    assert properties.address(config.kafka_config.with_name("none")) is None
    write(config, "linger.ms=5\n")
    assert properties.address(config.kafka_config) is None


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
