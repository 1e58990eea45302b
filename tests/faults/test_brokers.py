"""Brokers of three that fail under a run: counts are exact, no worker is replaced, and readers are not held for long.

How soon counting goes on is measured by benches/test_failover.py.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from application import WAIT_SECONDS, wait_for
from cluster import NODES, Cluster
from feeding import FAILOVER_SECONDS, fed, wait_counting
from held import Held
from invariants import Witness, hold
from shell import Shell

from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.state.directory import open_directory

RATE = 200
"""Lines a second; three brokers share the processors with the workers."""

STOP_SECONDS = 20.0
"""How long a broker stands still: longer than a transaction may be open."""
REST_SECONDS = 30.0
"""How long there is no majority of brokers."""
GRACE_SECONDS = 5.0
"""How much longer than the transaction time-out readers may be held: brokers look for it now and then."""


@contextmanager
def counting(clustered: Shell, cluster: Cluster, seed: int) -> Iterator[Held]:
    """Have a run count lines all the time, and check all of it after the `with` block."""
    application = clustered.application
    run = clustered.start("run --mappers 1 --reducers 1 --plain --log-file run.log")
    clustered.wait_ready()
    with Witness(application), Held(application, partial(cluster.coordinated, names(clustered.config))) as held:
        with fed(application, seed, RATE, seconds=FAILOVER_SECONDS) as lines:
            wait_counting(application)
            yield held
            wait_counting(application)
        application.wait_counted(FAILOVER_SECONDS)
    print(f"readers were held for {held.longest:.1f} s, not counting {held.excused:.1f} s without a coordinator")
    assert held.looks
    assert held.longest < clustered.config.transaction_timeout + GRACE_SECONDS
    assert clustered.status()["restarts"] == {}
    assert clustered("drain --wait").status == 0
    assert run.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines)


def names(config: Config) -> list[str]:
    """Return the `transactional.id`s of the run's workers."""
    return [open_directory(config).name(config, role, "0") for role in ("map", "reduce")]


def rest(seconds: float) -> None:
    over = time.monotonic() + seconds
    wait_for("it has lasted for long", lambda: time.monotonic() > over)


@pytest.mark.timeout(1200)
def test_counting_goes_on_while_one_broker_of_three_stands_still(clustered: Shell, cluster: Cluster, seed: int) -> None:
    node = cluster.nodes[random.Random(seed).choice(NODES)]
    with counting(clustered, cluster, seed):
        node.stop()
        rest(STOP_SECONDS)
        wait_counting(clustered.application)
        cluster.heal()


@pytest.mark.timeout(1200)
def test_counting_goes_on_while_each_broker_of_three_is_killed_in_turn_and_one_loses_its_disk(
    clustered: Shell, cluster: Cluster, seed: int
) -> None:
    """So each leader is killed, and each coordinator of groups and of transactions."""
    chance = random.Random(seed)
    order = chance.sample(NODES, len(NODES))
    unlucky = chance.choice(NODES)
    config, killed = clustered.config, set()
    with counting(clustered, cluster, seed):
        kinds = {"groups": ([config.map_group, config.reduce_group], []), "transactions": ([], names(config))}
        for number in order:
            killed |= {kind for kind, asked in kinds.items() if number in cluster.coordinators(*asked)}
            cluster.lose_disk(number) if number == unlucky else cluster.nodes[number].kill()
            cluster.wait_live(len(NODES) - 1)
            wait_counting(clustered.application)
            cluster.heal()
    assert killed == {"groups", "transactions"}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_counting_goes_on_while_the_brokers_are_restarted_one_after_the_other(
    clustered: Shell, cluster: Cluster, seed: int
) -> None:
    with counting(clustered, cluster, seed):
        cluster.restart()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_counting_rests_while_two_brokers_of_three_are_gone_and_goes_on_with_them(
    clustered: Shell, cluster: Cluster, seed: int
) -> None:
    first, second = random.Random(seed).sample(NODES, 2)
    with counting(clustered, cluster, seed) as held:
        with held.uncounted():
            for number in (first, second):
                cluster.nodes[number].kill()
            rest(REST_SECONDS)
            cluster.nodes[first].start()
            cluster.wait_live(len(NODES) - 1)
        wait_counting(clustered.application)
        cluster.heal()
