"""Every test has the real broker and a fresh application at hand, and librdkafka's mock of a cluster."""

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
