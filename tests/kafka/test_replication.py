"""How many copies topics get on a cluster of three brokers, and how ones that are made with fewer get more."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from application import Application, prose, wait_for
from cluster import Cluster
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import TopicMetadata
from fixtures import configuration
from shell import Shell
from tools import Tools

from wcsup.audit.checks import Check, Health
from wcsup.audit.doctor import Doctor
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import topics


@pytest.fixture
def config(cluster: Cluster, tmp_path: Path) -> Iterator[Config]:
    """An application of its own on the three brokers; its topics are gone afterwards."""
    made = configuration(cluster.address, tmp_path / "state")
    yield made
    cluster.heal()
    topics.delete(cluster.admin, made)


@pytest.fixture
def shell(config: Config, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(config, tmp_path)
    yield made
    made.stop()


def copies(admin: AdminClient, config: Config) -> dict[str, set[int]]:
    """How many copies the partitions of each topic have, by a broker that has heard of all topics."""
    listed: dict[str, TopicMetadata] = {}

    def told() -> bool:
        listed.update(admin.list_topics(timeout=10).topics)
        return {config.topic(name) for name in topics.NAMES} <= set(listed)

    wait_for("all topics are known", told)
    return {
        name: {len(partition.replicas) for partition in listed[config.topic(name)].partitions.values()}
        for name in topics.NAMES
    }


def replication(config: Config) -> list[Check]:
    return [check for check in Doctor(config).examine() if check.name == "replication"]


def all_have(count: int) -> dict[str, set[int]]:
    return {name: {count} for name in topics.NAMES}


def test_with_three_brokers_there_are_three_copies_and_a_commit_waits_for_two(cluster: Cluster, shell: Shell) -> None:
    config = shell.config
    done = shell("gen --lines 1")
    assert (done.status, done.err) == (0, "")

    assert copies(cluster.admin, config) == all_have(3)
    settings = topics.configs(cluster.admin, config, topics.NAMES)
    assert {entries["min.insync.replicas"] for entries in settings.values()} == {"2"}
    assert [check.health for check in replication(config)] == [Health.OK]


def test_a_first_start_without_one_of_three_brokers_says_what_it_leads_to_and_doctor_mends_it(
    cluster: Cluster, shell: Shell, tmp_path: Path
) -> None:
    config = shell.config
    (tmp_path / "bin").mkdir()
    tools = Tools(tmp_path / "bin")
    with cluster.without(3):
        # Given one broker that is down, what is asked for is made or refused
        refused = shell("gen --lines 1 --replication 3")
        assert refused.status == 3
        assert "--replication 3 needs 3 brokers and 2 are up: start the missing ones" in refused.err
        assert config.topic("lines") not in cluster.admin.list_topics(timeout=10).topics

        # When nothing is asked for, then what follows is said
        done = shell("gen --lines 1")
        assert done.status == 0
        [remark] = done.err.splitlines()
        assert "made with 2 copies, since 2 brokers are up, and will not get a third" in remark
        assert copies(cluster.admin, config) == all_have(2)
    assert copies(cluster.admin, config) == all_have(2), "a broker that comes back gets no copies by itself"

    # And a start says it, as the doctor does
    log = tmp_path / "run.log"
    done = shell(
        f"run --mappers 1 --reducers 1 --input {shell.file('text', b'a line')} --exit-when-done --log-file {log}"
    )
    assert done.status == 0, done.err
    [said] = [line for line in log.read_text().splitlines() if "copies" in line]
    assert "2 copies where 3 brokers are up; wcsup doctor says how to add more" in said
    [check] = [check for check in replication(config) if "To add them" in check.message]
    assert check.health is Health.WARNING
    assert all(config.topic(name) in check.message for name in topics.NAMES)

    # When what the doctor says is typed, while lines are counted
    with Application(replace(config, state_dir=tmp_path / "elsewhere")).feeding(prose(300, seed=1), rate=100):
        said = tools.type(check.message.partition("To add them: ")[2])
    assert re.search(r"Successfully started partition reassignments", said), said
    given = json.loads((tmp_path / "bin" / "copies.json").read_text())["partitions"]
    assert len(given) == len(topics.NAMES) * config.partitions

    # Then all is well
    cluster.wait_whole()
    assert copies(cluster.admin, config) == all_have(3)
    wait_for("the doctor is content", lambda: [check.health for check in replication(config)] == [Health.OK])
    settings = topics.configs(cluster.admin, config, topics.NAMES)
    assert {entries["min.insync.replicas"] for entries in settings.values()} == {"2"}


def test_what_is_asked_for_is_made_and_fewer_is_warned_of(
    cluster: Cluster, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    topics.ensure(replace(config, replication=1))
    assert copies(cluster.admin, config) == all_have(1)
    assert not caplog.messages

    topics.ensure(replace(config, replication=1))
    assert not caplog.messages

    def said(config: Config) -> list[str]:
        caplog.clear()
        topics.ensure(config)
        return caplog.messages

    # Each time another broker may be asked, that has not heard of the topics yet.
    asked = replace(config, replication=2)
    wait_for("more are asked for", lambda: any("1 copy where --replication asks for 2" in line for line in said(asked)))
    wait_for("more would fit", lambda: any("1 copy where 3 brokers are up" in line for line in said(config)))

    [check] = replication(replace(config, replication=1))
    assert check.health is Health.OK


def test_the_doctor_says_which_copies_are_out_of_sync(cluster: Cluster, config: Config) -> None:
    topics.ensure(config)
    with cluster.without(2):

        def messages() -> list[str]:
            return [check.message for check in replication(config) if check.health is Health.WARNING]

        wait_for(
            "each topic lacks one",
            lambda: sum("2 of 3 copies are in sync" in said for said in messages()) >= len(topics.NAMES),
        )
        with pytest.raises(ConfigurationError, match="needs 4 brokers and 2 are up"):
            topics.ensure(replace(config, topic_prefix="other.", replication=4))
        [alone] = [
            check
            for check in replication(replace(config, topic_prefix="other.", replication=4))
            if "--replication" in check.message
        ]
        assert alone.health is Health.FAILED
