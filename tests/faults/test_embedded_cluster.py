"""The embedded broker with three nodes, as a process: counting goes on without one, and all are found again."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from application import WAIT_SECONDS, Application, prose, wait_for
from feeding import FAILOVER_SECONDS, fed, wait_counting
from fixtures import configuration
from invariants import hold
from shell import Shell

from wcsup import broker
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus, UsageError
from wcsup.kafka import topics


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose nodes are gone after the test."""
    directory = tmp_path / "its data"
    yield directory
    broker.stop(directory)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


def pids(data: Path) -> list[int | None]:
    found = broker.status(data)
    return [] if found is None else [node.pid for node in found.nodes]


def test_three_nodes_count_on_without_one_and_come_back_with_their_data(data: Path, tmp_path: Path) -> None:
    # Given three nodes, and an application
    started = broker.start(data, nodes=3)
    assert len(set(pids(data)) - {None}) == 3
    assert len(started.bootstrap.split(",")) == 3
    application = Application(configuration(started.bootstrap, tmp_path / "state"))
    try:
        application.make_topics()
        configs = topics.configs(application.admin, application.config, ["counts"])
        assert configs["counts"]["min.insync.replicas"] == "2"
        lines = prose(2000, seed=8)
        application.start("map")
        application.start("reduce")
        application.feed(lines[:1000])
        application.wait_counted()

        # When one is killed while lines come
        killed = pids(data)[1]
        assert killed is not None
        with application.feeding(lines[1000:], rate=200):
            os.kill(killed, signal.SIGKILL)
        wait_for("it is gone", lambda: not psutil.pid_exists(killed))

        # Then nothing is missed, and commands go on with the others
        application.wait_led()
        application.wait_counted()
        others = pids(data)
        assert [pid is None for pid in others] == [False, True, False]
        assert broker.ensure(Config(data_dir=data)) == started.bootstrap
        assert pids(data) == others, "a node that was killed stays so until it is started"
        # And a start brings it back
        assert broker.start(data).bootstrap == started.bootstrap
        assert pids(data)[::2] == others[::2]
        assert pids(data)[1] not in {None, killed}
        application.wait_led()
        hold(application, lines)
    finally:
        application.stop()

    # And one alone can be stopped, and all
    assert broker.stop(data, node=3)
    assert [pid is None for pid in pids(data)] == [False, False, True]
    assert not broker.stop(data, node=3)
    assert broker.stop(data)
    assert broker.status(data) is None
    assert broker.has_data(data)
    # And all are there again with what they had
    assert broker.start(data).bootstrap == started.bootstrap
    assert application.counts() == application.written


@pytest.mark.long
@pytest.mark.timeout(900)
def test_three_secured_nodes_count_on_without_one_which_comes_back_secured(
    data: Path, tmp_path: Path, seed: int
) -> None:
    # Given three secured nodes, and a run by a user with the listed rights alone
    config = configuration("", tmp_path / "state")
    started = broker.start(data, nodes=3, secure=config)
    assert started.security is not None
    file = started.security.client_file(config.app_id)
    user = replace(config, bootstrap_servers=started.bootstrap, kafka_config=file)
    everything = replace(user, kafka_config=started.security.client_file("admin"))
    wcsup, application = Shell(user, tmp_path), Application(everything)
    try:
        run = wcsup.start("run --mappers 1 --reducers 1 --plain --log-file run.log")
        wcsup.wait_ready()

        # When each of them is killed under load, and brought back by a start
        with fed(application, seed, 200, seconds=FAILOVER_SECONDS) as lines:
            for number in range(3):
                wait_counting(application)
                killed = pids(data)[number]
                assert killed is not None
                os.kill(killed, signal.SIGKILL)
                wait_for("it is gone", partial(gone, killed))
                wait_counting(application)
                again = broker.start(data)
                assert None not in pids(data)
                assert again.security == started.security
                application.wait_led()
        application.wait_counted(FAILOVER_SECONDS)

        # Then counts are exact, and no worker was replaced
        assert wcsup.status()["restarts"] == {}
        assert wcsup("drain --wait").status == ExitStatus.DONE
        assert run.wait(WAIT_SECONDS) == ExitStatus.DONE
        hold(application, lines)
        assert wcsup("verify --json").json["exact"]
    finally:
        wcsup.stop()


def test_what_a_directory_cannot_be_is_refused(tmp_path: Path) -> None:
    cluster, single = tmp_path / "cluster", tmp_path / "single"
    for directory in (cluster, single):
        directory.mkdir()
    (cluster / "nodes.json").write_text('{"cluster": "x", "ports": [1, 2, 3], "controller_ports": [4, 5, 6]}')
    (single / "broker.json").write_text('{"port": 1, "version": "4.4.0", "started": 0, "pid": null}')
    with pytest.raises(ConfigurationError, match="has 3 nodes, not 1: leave --nodes out"):
        broker.start(cluster, nodes=1)
    with pytest.raises(ConfigurationError, match="has 1 node, not 3: leave --nodes out"):
        broker.start(single, nodes=3)
    with pytest.raises(UsageError, match="leave --port out"):
        broker.start(cluster, port=9092)
    for directory, node in ((cluster, 4), (single, 1)):
        with pytest.raises(UsageError, match=f"has no node {node}"):
            broker.stop(directory, node=node)
    assert broker.status(cluster) is None
