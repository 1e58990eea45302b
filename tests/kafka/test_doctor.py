"""`wcsup doctor` on a real Kafka: what it finds well, and what it finds wrong."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from application import Application, prose, wait_for
from click.testing import CliRunner
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from tools import Tools

from wcsup.audit.checks import Check, Health
from wcsup.audit.doctor import Doctor
from wcsup.cli.app import app as commands
from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.kafka import clients, groups, topics
from wcsup.kafka.positions import Position


def examine(config: Config) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in Doctor(config).examine():
        found.setdefault(check.name, []).append(check)
    return found


def only(checks: list[Check], health: Health) -> str:
    [check] = [check for check in checks if check.health is health]
    return check.message


def test_before_the_first_start_all_is_well_and_nothing_is_made(app: Config) -> None:
    admin = clients.admin(app)
    before = set(admin.list_topics(timeout=10).topics)

    found = examine(app)

    assert {check.health for checks in found.values() for check in checks} == {Health.OK}, found
    assert {"settings", "state", "disk (state)", "broker", "features", "topics", "timeouts", "clock"} <= set(found)
    assert {"elections", "expiry", "late requests", "sizes"} <= set(found)
    assert "KIP-447" in found["features"][0].message
    assert "wcsup run makes" in found["topics"][0].message
    assert set(admin.list_topics(timeout=10).topics) == before
    assert not app.state.exists()


def test_a_running_application_is_well(application: Application) -> None:
    application.feed(prose(200, seed=20))
    application.start("map")
    application.start("reduce")
    application.wait_counted()

    found = examine(application.config)

    assert {check.health for checks in found.values() for check in checks} == {Health.OK}, found
    assert [check.message for check in found["groups"]] == [
        f"{application.config.app_id}-{role} has 1 members, and 0 records to take" for role in ("map", "reduce")
    ]
    assert f"belongs to {application.config.app_id}" in found["state"][0].message
    assert "4 partitions" in found["topics"][0].message
    assert "1 copy on 1 broker" in found["replication"][0].message


def test_topics_that_do_not_fit_are_named_with_what_to_do(app: Config) -> None:
    admin = clients.admin(app)
    for future in admin.create_topics(
        [NewTopic(app.topic("counts"), 4, 1), NewTopic(app.topic("lines"), 3, 1)]
    ).values():
        future.result()
    wait_for("they are there", lambda: {app.topic("counts"), app.topic("lines")} <= set(listed(admin)))

    found = examine(app)["topics"]

    failed = [check.message for check in found if check.health is Health.FAILED]
    assert any("--partitions 3" in message for message in failed)
    assert any("cleanup.policy=compact" in message for message in failed)
    assert app.topic("words") in only(found, Health.WARNING)


def listed(admin: AdminClient) -> list[str]:
    return list(admin.list_topics(timeout=10).topics)


def test_time_outs_that_brokers_refuse_are_found(app: Config) -> None:
    found = examine(replace(app, transaction_timeout=3600.0, session_timeout=0.05))["timeouts"]

    assert [check.health for check in found] == [Health.FAILED, Health.FAILED]
    assert "900000" in found[0].message and "lower it" in found[0].message
    assert "the brokers allow" in found[1].message


BAD = {
    "message.max.bytes": ("900000", "sizes", Health.FAILED),
    "producer.id.expiration.ms": ("60000", "expiry", Health.FAILED),
    "transaction.partition.verification.enable": ("false", "late requests", Health.WARNING),
    "unclean.leader.election.enable": ("true", "elections", Health.WARNING),
}
"""Settings of brokers that can be changed while they run: a value that does not fit, and the check that finds it."""


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    place = tmp_path / "tools"
    place.mkdir()
    return Tools(place)


def test_settings_of_brokers_are_found_and_mended_as_it_says(app: Config, tools: Tools) -> None:
    change = (
        f"kafka-configs.sh --bootstrap-server {app.bootstrap_servers} --alter --entity-type brokers --entity-default"
    )

    def ill(checks: dict[str, list[Check]]) -> set[str]:
        return {name for name, some in checks.items() if any(check.health is not Health.OK for check in some)}

    try:
        tools.type(f"{change} --add-config {','.join(f'{key}={value}' for key, (value, _, _) in BAD.items())}")
        wait_for("the broker has them", lambda: ill(examine(app)) == {name for _, name, _ in BAD.values()})
        found = examine(app)
        for key, (_, name, health) in BAD.items():
            said = only(found[name], health)
            assert said.startswith(key)
            tools.type(said.partition("Set it: ")[2])
        wait_for("all is well", lambda: not ill(examine(app)))
    finally:
        tools.type(f"{change} --delete-config {','.join(BAD)}")


def test_settings_of_topics_are_found_and_mended_as_it_says(application: Application, tools: Tools) -> None:
    application.configure("counts", {"unclean.leader.election.enable": "true"})
    application.configure("top", {"unclean.leader.election.enable": "true"})
    application.configure("dead-letters", {"max.message.bytes": "1048588"})

    found = examine(application.config)

    unclean = only(found["elections"], Health.WARNING)
    assert unclean.startswith(f"{application.config.topic('counts')}, {application.config.topic('top')}: ")
    letters = only(found["sizes"], Health.WARNING)
    assert "may have 2,097,152" in letters
    for said in (unclean, letters):
        tools.type(said.partition("Set it: ")[2])
    found = examine(application.config)
    assert [check.health for name in ("elections", "sizes") for check in found[name]] == [Health.OK, Health.OK]


def test_settings_that_librdkafka_refuses_are_found(app: Config, tmp_path: Path) -> None:
    properties = tmp_path / "client.properties"
    properties.write_text("no.such.setting=1\n")

    found = examine(replace(app, kafka_config=properties))

    assert "no.such.setting" in only(found["settings"], Health.FAILED)


def test_a_transaction_that_stays_open_is_listed(application: Application) -> None:
    config = application.config
    application.feed([b"one", b"two", b"three"])
    stranger = clients.transactional_producer(config, "hangs")
    stranger.init_transactions()
    stranger.begin_transaction()
    stranger.produce(config.topic("words"), b"", b"open", partition=2)
    stranger.flush()
    try:
        doctor = Doctor(config)
        checks = [check for check in doctor.examine() if check.name == "transactions"]
    finally:
        stranger.abort_transaction()

    [one] = doctor.open
    assert (one.topic, one.partition, one.offset, one.behind) == (config.topic("words"), 2, 0, 1)
    assert one.seconds is not None and one.seconds < 60
    [check] = checks
    assert check.health is Health.WARNING
    assert f"abort --topic {config.topic('words')} --partition 2 --start-offset 0" in check.message
    wait_for(
        "it has ended", lambda: topics.stable_ends(application.admin, [TopicPartition(one.topic, 2)])[one.topic, 2]
    )
    assert only(examine(config)["transactions"], Health.OK).startswith("none")


def test_what_went_wrong_between_groups_and_topics_is_found(application: Application) -> None:
    application.feed(prose(400, seed=21))
    application.start("map")
    application.start("reduce")
    application.wait_counted()
    for worker in application.workers:
        worker.drain()
    config, admin = application.config, application.admin

    application.feed(prose(400, seed=22))
    for future in admin.delete_records([TopicPartition(config.topic("lines"), 1, 150)]).values():
        future.result()
    assert "50 records" in only(examine(config)["groups"], Health.WARNING)

    wait_for("the members' sessions end", lambda: groups.members(admin, config.map_group) == 0)
    other = TopicPartition(config.topic("lines"), 0, 7, Position("ascii", "another-topic-id").text(7))
    request = ConsumerGroupTopicPartitions(config.map_group, [other])
    admin.alter_consumer_group_offsets([request])[config.map_group].result()
    assert any("read from its start" in check.message for check in examine(config)["groups"])

    admin.delete_topics([config.topic("counts")])[config.topic("counts")].result()
    wait_for("it is gone", lambda: config.topic("counts") not in listed(admin))
    application.make_topics()
    assert "wcsup del" in only(examine(config)["groups"], Health.FAILED)

    failed = [
        check.message for check in examine(replace(config, words="unicode"))["groups"] if check.health is Health.FAILED
    ]
    assert any("counts ascii words" in message for message in failed)


def test_a_record_from_the_future_is_found(application: Application) -> None:
    producer = Producer(clients.settings(application.config))
    lines = application.config.topic("lines")
    producer.produce(lines, b"late", partition=0, timestamp=int(time.time() + 600) * 1000)
    producer.flush()
    assert "ahead of this clock" in only(examine(application.config)["clock"], Health.WARNING)


def test_the_command_says_it_and_ends_with_it(application: Application) -> None:
    config = application.config
    arguments = ["doctor", "--bootstrap-servers", config.bootstrap_servers or "", "--app-id", config.app_id]
    arguments += ["--topic-prefix", config.topic_prefix, "--state-dir", str(config.state)]

    well = CliRunner().invoke(commands, [*arguments, "--partitions", "4"], standalone_mode=False)
    assert well.return_value == ExitStatus.DONE, well.output
    assert all(line.startswith("ok ") for line in well.output.splitlines()), well.output

    ill = CliRunner().invoke(commands, [*arguments, "--partitions", "5", "--json"], standalone_mode=False)
    assert ill.return_value == ExitStatus.CHECK_FAILED
    document = json.loads(ill.output)
    assert document["ok"] is False and document["open_transactions"] == []
    assert {check["name"] for check in document["checks"] if check["health"] == "failed"} == {"application"}


@pytest.mark.timeout(60)
def test_no_broker_is_a_failed_check(app: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REACH_SECONDS", 1.0)
    found = examine(replace(app, bootstrap_servers="127.0.0.1:9"))
    assert "no Kafka broker answered" in only(found["broker"], Health.FAILED)
    assert "features" not in found
