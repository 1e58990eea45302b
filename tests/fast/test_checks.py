"""The doctor's checks of copies and settings, on made-up clusters: each is shown to be able to fail."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st

from wcsup.audit import copies, settings
from wcsup.audit.checks import Check, Health
from wcsup.audit.cluster import Cluster
from wcsup.config import Config
from wcsup.kafka import topics

CONFIG = Config(bootstrap_servers="h:1", app_id="books", topic_prefix="b-")

BROKER = {
    "group.max.session.timeout.ms": "1800000",
    "group.min.session.timeout.ms": "6000",
    "message.max.bytes": "1048588",
    "offsets.retention.minutes": "10080",
    "producer.id.expiration.ms": "86400000",
    "replica.fetch.max.bytes": "1048576",
    "socket.request.max.bytes": "104857600",
    "transaction.max.timeout.ms": "900000",
    "transaction.partition.verification.enable": "true",
    "transactional.id.expiration.ms": "604800000",
    "unclean.leader.election.enable": "false",
}
"""Kafka's defaults."""

TOPIC = {"max.message.bytes": "1048588", "min.insync.replicas": "2", "unclean.leader.election.enable": "false"}


def partition(number: int, replicas: Iterable[int], in_sync: int | None = None) -> Any:
    """A partition whose first copies are in sync; the first of them leads."""
    every = list(replicas)
    isrs = every if in_sync is None else every[:in_sync]
    return SimpleNamespace(id=number, replicas=every, isrs=isrs, leader=isrs[0] if isrs else -1)


def cluster(
    brokers: int = 3,
    there: Mapping[str, Any] | None = None,
    broker: Mapping[str, str] | None = None,
    topic: Mapping[str, str] | None = None,
) -> Cluster:
    """A cluster with topics (by full name, their partitions), and what differs from the usual settings."""
    there = {} if there is None else there
    listed = SimpleNamespace(
        brokers=dict.fromkeys(range(1, brokers + 1)),
        topics={name: SimpleNamespace(partitions={p.id: p for p in partitions}) for name, partitions in there.items()},
    )
    return Cluster(
        CONFIG,
        AdminClient({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}),
        listed,
        {},
        {number: {**BROKER, **(broker or {})} for number in range(1, brokers + 1)},
        {name: {**TOPIC, **(topic or {})} for name in there},
    )


def whole(count: int = 3) -> dict[str, Any]:
    """All topics of the application and of Kafka itself, with so many copies."""
    names = [*map(CONFIG.topic, topics.NAMES), "__consumer_offsets", "__transaction_state"]
    return {name: [partition(0, range(1, count + 1))] for name in names}


def only(checks: Iterable[Check], health: Health) -> str:
    [check] = checks
    assert check.health is health, check
    return check.message


class TestCopies:
    @pytest.mark.parametrize(
        ("count", "in_sync", "least", "health", "says"),
        [
            (3, 3, "2", Health.OK, "3 copies on 3 brokers"),
            (1, 1, "1", Health.WARNING, "1 of 3 copies that 3 brokers could have; its broker's loss loses them"),
            (2, 2, "1", Health.WARNING, "2 of 3 copies that 3 brokers could have; more brokers lost at once lose them"),
            (3, 3, "1", Health.WARNING, "a commit may be on one broker alone"),
            (3, 3, "3", Health.WARNING, "nothing is taken while a broker is down"),
            (3, 2, "2", Health.WARNING, "2 of 3 copies are in sync"),
            (3, 1, "2", Health.FAILED, "nothing is taken"),
            (3, 0, "2", Health.FAILED, "no leader"),
        ],
    )
    def test_of_one_topic(self, count: int, in_sync: int, least: str, health: Health, says: str) -> None:
        there = {"b-counts": [partition(0, range(1, count + 1), in_sync)]}
        assert says in only(copies.check(cluster(there=there, topic={"min.insync.replicas": least})), health)

    def test_one_broker_needs_no_more_than_one_copy(self) -> None:
        found = only(copies.check(cluster(1, whole(1), topic={"min.insync.replicas": "1"})), Health.OK)
        assert found == "1 copy on 1 broker"

    def test_all_topics_that_lack_copies_are_in_one_command(self) -> None:
        said = only(copies.check(cluster(there=whole(1), topic={"min.insync.replicas": "1"})), Health.WARNING)
        add = said.partition("To add them: ")[2]
        first, second, third = add.split(" && ")
        assert (
            first == "wcsup doctor --bootstrap-servers h:1 --app-id books --topic-prefix b- --reassignment copies.json"
        )
        assert second == (
            "kafka-reassign-partitions.sh --bootstrap-server h:1 --reassignment-json-file copies.json --execute"
        )
        assert third.startswith("for topic in b-lines b-words ")
        assert "kafka-configs.sh --bootstrap-server h:1 --alter --topic $topic" in third
        assert set(whole()) <= set(shlex.split(third.partition(";")[0]))

    def test_copies_that_are_asked_for_need_brokers(self) -> None:
        asked = replace(cluster(2, whole(2)), config=replace(CONFIG, replication=3))
        assert "2 brokers are up: start 3" in next(iter(copies.check(asked))).message
        kafkas = {name: partitions for name, partitions in whole(2).items() if name.startswith("__")}
        none = replace(cluster(2, kafkas, topic={"min.insync.replicas": "1"}), config=replace(CONFIG, replication=3))
        assert "--replication 3 needs 3 brokers and 2 answer" in only(copies.check(none), Health.FAILED)

    def test_fewer_copies_than_fit_are_well_where_they_are_asked_for(self) -> None:
        there = {name: partitions for name, partitions in whole(1).items() if not name.startswith("__")}
        asked = replace(cluster(3, there, topic={"min.insync.replicas": "1"}), config=replace(CONFIG, replication=1))
        assert only(copies.check(asked), Health.OK) == "1 copy on 3 brokers"

    def test_settings_of_kafkas_own_topics_that_may_not_be_seen_are_not_judged(self) -> None:
        seen = cluster(there=whole())
        unseen = replace(seen, topics={name: one for name, one in seen.topics.items() if not name.startswith("__")})
        assert only(copies.check(unseen), Health.OK)

    @given(
        st.lists(st.integers(1, 6), min_size=1, max_size=4, unique=True),
        st.integers(1, 5),
        st.dictionaries(st.integers(1, 6), st.sampled_from([None, "a", "b", "c"]), min_size=1),
    )
    def test_copies_are_added_and_none_is_moved(
        self, replicas: list[int], wanted: int, brokers: dict[int, str | None]
    ) -> None:
        load = Counter(replicas)
        found = copies.complete(replicas, wanted, brokers, load)

        assert found[: len(replicas)] == replicas
        added = found[len(replicas) :]
        assert len(set(found)) == len(found) and set(added) <= set(brokers)
        assert len(found) == max(len(replicas), min(wanted, len(set(replicas) | set(brokers))))
        assert load == Counter(found)

    def test_copies_go_to_another_rack_and_to_where_fewest_are(self) -> None:
        brokers = {1: "a", 2: "a", 3: "b", 4: "b"}
        assert copies.complete([1], 2, brokers, Counter({1: 1, 3: 5, 4: 4})) == [1, 4]
        assert copies.complete([1], 2, dict.fromkeys(brokers), Counter({1: 1, 2: 3, 3: 2, 4: 9})) == [1, 3]


def test_kafkas_defaults_are_well() -> None:
    usual = cluster(there=whole())
    usual.topics["b-dead-letters"]["max.message.bytes"] = "3145728"
    for look in (settings.timeouts, settings.expiry, settings.late, settings.elections, settings.sizes, copies.check):
        only(look(usual), Health.OK)


@pytest.mark.parametrize(
    ("look", "key", "value", "health", "says"),
    [
        (settings.timeouts, "transaction.max.timeout.ms", "5000", Health.FAILED, "lower it"),
        (settings.timeouts, "group.min.session.timeout.ms", "10000", Health.FAILED, "choose one within"),
        (settings.timeouts, "group.max.session.timeout.ms", "5000", Health.FAILED, "choose one within"),
        (settings.expiry, "producer.id.expiration.ms", "60000", Health.FAILED, "may be written twice"),
        (settings.expiry, "producer.id.expiration.ms", "600000", Health.WARNING, "stood still for longer"),
        (settings.expiry, "transactional.id.expiration.ms", "60000", Health.WARNING, "loses its name"),
        (settings.late, "transaction.partition.verification.enable", "false", Health.WARNING, "KIP-890"),
        (settings.elections, "unclean.leader.election.enable", "true", Health.WARNING, "of the brokers is true"),
        (settings.sizes, "socket.request.max.bytes", "1000000", Health.FAILED, "break the connection"),
    ],
)
def test_a_setting_of_the_brokers_that_does_not_fit_is_found(
    look: Any, key: str, value: str, health: Health, says: str
) -> None:
    found = only(look(cluster(there={}, broker={key: value})), health)
    assert key in found and says in found
    assert "Set it" in found or "lower it" in found or "or change" in found


@pytest.mark.parametrize(
    ("low", "kept", "health", "says"),
    [
        ("45000", 45_000, Health.WARNING, "group.consumer.min.session.timeout.ms of the brokers 45000"),
        ("1000", 45_000, Health.WARNING, "with the right ALTER_CONFIGS to both groups"),
        ("1000", 6_000, Health.OK, "sessions of 6000 ms"),
    ],
)
def test_sessions_of_the_newer_protocol_that_are_longer_than_wanted_are_said(
    low: str, kept: int, health: Health, says: str
) -> None:
    asked = replace(
        cluster(broker={"group.consumer.min.session.timeout.ms": low}),
        config=replace(CONFIG, group_protocol="consumer"),
        sessions={"books-map": kept},
    )
    assert says in only(settings.timeouts(asked), health)


def test_offsets_that_are_forgotten_soon_are_said_with_what_follows() -> None:
    found = only(settings.expiry(cluster(broker={"offsets.retention.minutes": "60"})), Health.OK)
    assert "offsets of a group at rest for 1 h 0 min; after that counting goes on from topic positions" in found


def test_the_strictest_broker_counts() -> None:
    mixed = cluster()
    mixed.settings[2] = {**BROKER, "socket.request.max.bytes": "65536"}
    assert "65,536" in only(settings.sizes(mixed), Health.FAILED)


def test_what_brokers_do_not_tell_is_not_judged() -> None:
    silent = replace(cluster(), settings={})
    for look in (settings.timeouts, settings.expiry, settings.elections, settings.sizes):
        only(look(silent), Health.OK)
    assert not list(settings.late(silent))


def test_an_unclean_topic_is_named_with_the_command() -> None:
    found = only(
        settings.elections(cluster(there=whole(), topic={"unclean.leader.election.enable": "true"})), Health.WARNING
    )
    assert "b-counts" in found and "__consumer_offsets" in found
    assert "--add-config unclean.leader.election.enable=false" in found


def test_topics_that_would_be_made_too_small_are_found_before_they_are_made() -> None:
    small = {"message.max.bytes": "1000000"}
    assert "b-words, b-counts" in only(settings.sizes(cluster(broker=small)), Health.FAILED)
    assert only(settings.sizes(cluster(there=whole(), broker=small, topic={"max.message.bytes": "3145728"})), Health.OK)


@pytest.mark.parametrize(
    ("lines", "letters", "needed"),
    [("2097152", "1048588", 2_101_248), ("2097152", "2097152", 2_101_248), ("9000000", "2097152", 2_904_096)],
)
def test_dead_letters_have_to_take_what_lines_take(lines: str, letters: str, needed: int) -> None:
    made = cluster(there=whole())
    made.topics["b-lines"]["max.message.bytes"] = lines
    made.topics["b-dead-letters"]["max.message.bytes"] = letters
    assert f"--topic b-dead-letters --add-config max.message.bytes={needed}" in only(
        settings.sizes(made), Health.WARNING
    )
    made.topics["b-dead-letters"]["max.message.bytes"] = str(needed)
    only(settings.sizes(made), Health.OK)
