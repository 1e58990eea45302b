"""Users who have the rights that `wcsup doctor --acls` lists for a purpose, and no others, on a broker with ACLs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from application import prose, wait_for
from secured import Door, SecuredBroker
from shell import Shell

from wcsup.config import Config
from wcsup.kafka import clients, groups, rights

RUN, FIRST, WRITE, READ, HISTORY, HOSTS, MOVE, DELETE = list(rights.by_purpose(Config()))
PASSWORD = "open-sesame-10"  # noqa: S105 - of a broker that a test makes


@pytest.fixture(scope="module")
def config(secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """An application that has no topics yet."""
    return Config(
        bootstrap_servers=secured.address(Door.SCRAM),
        app_id="listed",
        topic_prefix="listed.",
        state_dir=tmp_path_factory.mktemp("listed") / "state",
        partitions=2,
    )


def user(secured: SecuredBroker, config: Config, place: Path, name: str, *purposes: str) -> Shell:
    """Return the commands of a user who may do what these purposes need."""
    listed = rights.by_purpose(config)
    secured.set_password(name, PASSWORD)
    secured.allow({right for purpose in purposes for right in listed[purpose]}, name)
    file = place / f"{name}.properties"
    settings = secured.client(Door.SCRAM, user=name, password=PASSWORD)
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    return Shell(replace(config, kafka_config=file), place)


def test_each_purpose_needs_no_more_than_is_listed(secured: SecuredBroker, config: Config, tmp_path: Path) -> None:
    lines = prose(200, seed=3)
    text = tmp_path / "text"
    text.write_bytes(b"\n".join(lines[:100]) + b"\n")
    more = tmp_path / "more"
    more.write_bytes(b"\n".join(lines[100:]) + b"\n")
    run = "run --mappers 1 --reducers 1 --plain --exit-when-done"

    first = user(secured, config, tmp_path, "first", RUN, FIRST, WRITE)
    done = first(f"{run} --input {text}")
    assert done.status == 0, done.err

    writer = user(secured, config, tmp_path, "writer", WRITE)
    done = writer(f"gen {more}")
    assert done.status == 0, done.err

    runner = user(secured, config, tmp_path, "runner", RUN)
    done = runner(run)
    assert done.status == 0, done.err

    reader = user(secured, config, tmp_path, "reader", READ)
    done = reader("verify --json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["lines"] == 200
    for command in ("top", "count word", "status", "positions"):
        done = reader(command)
        assert done.status == 0, (command, done.err)

    done = reader("verify --history --json")
    assert done.status == 1, done.out
    [undecided] = json.loads(done.out)["history"]["undecided"]
    assert undecided.startswith("the history can't be read: ") and "READ on __transaction_state" in undecided
    historian = user(secured, config, tmp_path, "historian", READ, HISTORY)
    done = historian("verify --history --json")
    assert done.status == 0, (done.out, done.err)
    assert json.loads(done.out)["history"]["transactions"] > 0

    done = reader("backup bk")
    assert done.status == 0, done.err
    mover = user(secured, config, tmp_path, "mover", MOVE)
    for command in ("restore bk --instead", "repartition 3"):
        done = mover(command)
        assert done.status == 0, (command, done.err)

    # And what a user may not see is left out, and said
    done = runner("doctor --partitions 3 --json")
    assert done.status == 0, done.out
    checks = {(check["name"], check["health"]): check["message"] for check in json.loads(done.out)["checks"]}
    assert "--operation DescribeConfigs --cluster" in checks["broker", "warning"]
    assert "can't be seen" in checks["timeouts", "warning"]
    assert ("topics", "ok") in checks

    # And who may not delete all deletes nothing
    half = user(secured, config, tmp_path, "half", READ)
    secured.allow({one for one in rights.by_purpose(config)[DELETE] if one.kind == "topic"}, "half")
    done = half("del")
    assert done.status == 3
    assert f"to DELETE group {config.map_group} and DELETE group {config.reduce_group}" in done.err
    assert reader("count word").status == 0, "the topics are there"

    deleter = user(secured, config, tmp_path, "deleter", DELETE)
    done = deleter("del")
    assert done.status == 0, done.err


def test_the_list_is_of_commands_for_the_user_that_would_be_it(tmp_path: Path) -> None:
    file = tmp_path / "client.properties"
    file.write_text("sasl.username=ann\n")
    config = Config("kafka:9093", topic_prefix="x.", app_id="books", kafka_config=file, state_dir=tmp_path)
    shell = Shell(config, tmp_path)
    lines = shell("doctor --acls").out.splitlines()
    assert [line for line in lines if line.startswith("# ")] == [
        f"# {one}" for one in (RUN, FIRST, WRITE, READ, HISTORY, HOSTS, MOVE, DELETE)
    ]
    commands = [line for line in lines if not line.startswith("# ")]
    own = "kafka-acls.sh --bootstrap-server kafka:9093 --add --allow-principal User:ann --operation "
    assert all(line.startswith(own) for line in commands)
    assert f"{own}Write --transactional-id books- --resource-pattern-type prefixed" in commands
    assert f"{own}Create --topic x. --resource-pattern-type prefixed" in commands
    listed = json.loads(shell("doctor --acls --json").out)
    assert {"kind": "group", "name": "books-map", "operation": "READ", "prefix": False} in listed[RUN]


def test_sessions_of_the_newer_protocol_are_set_by_who_may(
    secured: SecuredBroker, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    newer = replace(config, group_protocol="consumer", session_timeout=4.0)
    purposes = list(rights.by_purpose(newer))
    sessions = next(purpose for purpose in purposes if "--session-timeout" in purpose)
    without = user(secured, newer, tmp_path, "without", RUN).config
    groups.set_sessions(clients.admin(without), without)
    assert "to ALTER_CONFIGS group listed-map: kafka-acls.sh" in caplog.text
    assert "--operation AlterConfigs --group listed-map" in caplog.text

    having = user(secured, newer, tmp_path, "having", RUN, sessions).config
    groups.set_sessions(clients.admin(having), having)
    expected = dict.fromkeys((newer.map_group, newer.reduce_group), 4000)
    wait_for("the groups have it", lambda: groups.sessions(clients.admin(having), having) == expected)

    # And what is below the brokers' bound is refused, and said
    caplog.clear()
    short = replace(having, session_timeout=0.5)
    groups.set_sessions(clients.admin(short), short)
    assert "must be in the range 1000 to" in caplog.text
    assert "group.consumer.min.session.timeout.ms in server.properties" in caplog.text
