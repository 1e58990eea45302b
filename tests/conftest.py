"""Every test has the real broker and a fresh application at hand, and librdkafka's mock of a cluster."""

import pytest
from cluster import cluster, nodes
from fixtures import (
    app,
    application,
    broker,
    data_dir,
    disks,
    doors,
    make_application,
    mortal,
    own_logging,
    proxy,
    wcsup,
)
from mocked import mock
from secured import secured
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

__all__ = [
    "app",
    "application",
    "broker",
    "cluster",
    "data_dir",
    "disks",
    "doors",
    "make_application",
    "mock",
    "mortal",
    "nodes",
    "own_logging",
    "proxy",
    "secured",
    "wcsup",
]


THREE_BROKERS = {
    "tests/faults/test_brokers.py",
    "tests/faults/test_embedded_cluster.py",
    "tests/faults/test_moves_on_brokers.py",
    "tests/kafka/test_cluster.py",
    "tests/kafka/test_lookout.py",
    "tests/kafka/test_replication.py",
}
"""Files with tests that have three brokers of their own. The tests' machine has room for three Java processes once."""


class Sides(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each file to one of the processes of `pytest -n`, and all files with three brokers to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "three brokers" if file in THREE_BROKERS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sides:
    return Sides(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with three brokers first, since they take long."""

    def file(item: pytest.Item) -> str:
        return item.nodeid.partition("::")[0]

    files = {file(item) for item in items if "cluster" in getattr(item, "fixturenames", ())}
    assert files <= THREE_BROKERS, f"to be named in THREE_BROKERS: {files - THREE_BROKERS}"
    items.sort(key=lambda item: file(item) not in THREE_BROKERS)
