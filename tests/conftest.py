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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests go to one process of `pytest -n`: those of a file, and all that have three brokers of their own.

    Three brokers are three Java processes. The tests' machine has room for them once, and they take long: they begin
    first.
    """
    many = {
        item.path
        for item in items
        if "cluster" in getattr(item, "fixturenames", ()) or item.get_closest_marker("three_brokers")
    }
    items.sort(key=lambda item: item.path not in many)
    for item in items:
        item.add_marker(pytest.mark.xdist_group("three brokers" if item.path in many else item.path.stem))
