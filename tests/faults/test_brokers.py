"""Brokers of three killed and stopped under load: counting goes on while two are there, and when more are back."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from application import Application, wait_for
from cluster import NODES, Cluster
from confluent_kafka import KafkaException
from feeding import committed, fed
from fixtures import configuration
from invariants import Witness, hold
from keeper import Slot, keeping

from wcsup.kafka import topics

SLOTS: list[Slot] = [("map", "0"), ("reduce", "0")]

RATE = 200
"""Lines a second; three brokers share the processors with the workers."""

TIME_OUTS = {"session_timeout": 30.0, "transaction_timeout": 30.0}
"""Longer than a failover takes where processors are few."""

FAILOVER_SECONDS = 300.0
"""How long new leaders and coordinators may take on a busy machine."""


@pytest.fixture
def application(cluster: Cluster, tmp_path: Path) -> Iterator[Application]:
    under_test = Application(configuration(cluster.address, tmp_path / "state"))
    under_test.make_topics()
    yield under_test
    under_test.stop()
    cluster.heal()
    topics.delete(under_test.admin, under_test.config)


def wait_counting(application: Application) -> None:
    """Wait until both groups commit again, as soon as their coordinators answer."""
    config = application.config
    for name, group in (("lines", config.map_group), ("words", config.reduce_group)):
        seen: list[int] = []

        def goes_on(name: str = name, group: str = group, seen: list[int] = seen) -> bool:
            with suppress(KafkaException):
                seen.append(committed(application, group, name))
            return bool(seen) and seen[-1] > seen[0]

        wait_for(f"{name} go on", goes_on, FAILOVER_SECONDS)


@pytest.mark.timeout(1200)
def test_counting_goes_on_while_one_broker_of_three_stands_still(
    application: Application, cluster: Cluster, seed: int
) -> None:
    node = cluster.nodes[random.Random(seed).choice(NODES)]
    with keeping(application, *SLOTS, **TIME_OUTS), Witness(application):
        with fed(application, seed, RATE) as lines:
            wait_counting(application)
            node.stop()
            cluster.wait_live(len(NODES) - 1)
            wait_counting(application)
            cluster.heal()
            wait_counting(application)
        application.wait_counted(FAILOVER_SECONDS)
    hold(application, lines)


@pytest.mark.timeout(1200)
def test_counting_goes_on_while_each_broker_of_three_is_killed_in_turn_and_one_loses_its_disk(
    application: Application, cluster: Cluster, seed: int
) -> None:
    """So each coordinator is killed, and each leader."""
    chance = random.Random(seed)
    order = chance.sample(NODES, len(NODES))
    unlucky = chance.choice(NODES)
    with keeping(application, *SLOTS, **TIME_OUTS), Witness(application):
        with fed(application, seed, RATE) as lines:
            wait_counting(application)
            for number in order:
                cluster.lose_disk(number) if number == unlucky else cluster.nodes[number].kill()
                cluster.wait_live(len(NODES) - 1)
                wait_counting(application)
                cluster.heal()
            wait_counting(application)
        application.wait_counted(FAILOVER_SECONDS)
    hold(application, lines)


@pytest.mark.timeout(1200)
def test_counting_rests_while_two_brokers_of_three_are_gone_and_goes_on_with_them(
    application: Application, cluster: Cluster, seed: int
) -> None:
    chance = random.Random(seed)
    with keeping(application, *SLOTS, **TIME_OUTS), Witness(application):
        with fed(application, seed, RATE) as lines:
            wait_counting(application)
            for number in chance.sample(NODES, 2):
                cluster.nodes[number].kill()
            cluster.heal()
            wait_counting(application)
        application.wait_counted(FAILOVER_SECONDS)
    hold(application, lines)
