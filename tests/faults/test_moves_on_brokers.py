"""A move to more partitions on three brokers, one of which is killed at some step: no count is lost."""

import random
import signal
from dataclasses import replace
from functools import partial

import psutil
import pytest
from application import Application, prose, wait_for
from cluster import NODES, Cluster
from feeding import FAILOVER_SECONDS
from invariants import check_counts
from shell import Shell

from wcsup.errors import ExitStatus

STEPS = ("moving-copied", "moving-compared", "moving-removed", "moving-filled")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_count_is_lost_when_a_broker_of_three_is_killed_during_a_move(
    clustered: Shell, cluster: Cluster, seed: int
) -> None:
    chance = random.Random(seed)
    application, lines = clustered.application, prose(500 * (len(STEPS) + 1), seed)
    application.make_topics()
    for number, step in enumerate(STEPS):
        # Given an application whose workers have ended
        count(application, lines[500 * number : 500 * (number + 1)])
        more = application.config.partitions + 1

        # When a broker is killed while the command stands at a step
        command = clustered.start(f"repartition {more}", crash=f"stop:{step}")
        process = psutil.Process(command.pid)
        wait_for("it stands still", partial(stands_still, process), FAILOVER_SECONDS)
        cluster.nodes[chance.choice(NODES)].kill()
        cluster.wait_live(len(NODES) - 1)
        command.send_signal(signal.SIGCONT)
        _, said = command.communicate(timeout=FAILOVER_SECONDS)

        # Then it ends well without that broker, or says why not, and a second call goes on
        if command.returncode != ExitStatus.DONE:
            assert said.decode().startswith("wcsup: "), said
            cluster.heal()
        done = clustered(f"repartition {more}")
        assert done.status == ExitStatus.DONE, (said, done.err)
        cluster.heal()
        grown = Application(replace(application.config, partitions=more))
        grown.written = application.written
        application = grown
    count(application, lines[500 * len(STEPS) :])
    check_counts(application, lines)


def stands_still(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def count(application: Application, lines: list[bytes]) -> None:
    """Have new workers count lines, and end them."""
    application.feed(lines)
    workers = [application.start("map"), application.start("reduce")]
    application.wait_counted(FAILOVER_SECONDS)
    for worker in workers:
        worker.signal(signal.SIGINT)
        assert worker.wait() == ExitStatus.DONE
