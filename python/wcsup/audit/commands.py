"""Commands of Kafka's own tools that checks advise, ready to be typed."""

from collections.abc import Sequence

from wcsup.audit.cluster import Cluster


def configure_topics(cluster: Cluster, names: Sequence[str], setting: str) -> str:
    """Return the commands that set `key=value` for topics; kafka-configs.sh takes one topic at a time."""
    [first, *more] = names
    if not more:
        return _configure(cluster, f"--topic {first}", setting)
    return f"for topic in {' '.join(names)}; do {_configure(cluster, '--topic $topic', setting)}; done"


def configure_brokers(cluster: Cluster, setting: str) -> str:
    """Return the command that sets `key=value` for all running brokers; not every setting can be changed like this."""
    return _configure(cluster, "--entity-type brokers --entity-default", setting)


def reassign(cluster: Cluster, file: str) -> str:
    """Return the command that makes the copies that a file lists."""
    return f"kafka-reassign-partitions.sh {_server(cluster)} --reassignment-json-file {file} --execute"


def _configure(cluster: Cluster, entity: str, setting: str) -> str:
    return f"kafka-configs.sh {_server(cluster)} --alter {entity} --add-config {setting}"


def _server(cluster: Cluster) -> str:
    return f"--bootstrap-server {cluster.config.bootstrap_servers}"
