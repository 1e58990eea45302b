"""The tests' cluster of three nodes: what the tests that use it rely on."""

from collections.abc import Iterator

import pytest
from application import wait_for
from cluster import NODES, Cluster
from confluent_kafka import KafkaError, Producer
from confluent_kafka.cimpl import NewTopic

TOPIC = "copied"

pytestmark = pytest.mark.usefixtures("topic")


@pytest.fixture
def topic(cluster: Cluster) -> Iterator[None]:
    """A topic of one partition with three copies."""
    cluster.admin.create_topics([NewTopic(TOPIC, 1, len(NODES))])[TOPIC].result()
    cluster.wait_whole()
    yield
    cluster.heal()
    cluster.admin.delete_topics([TOPIC])[TOPIC].result()
    wait_for("it is gone", lambda: TOPIC not in cluster.admin.list_topics(timeout=10).topics)


def leader(cluster: Cluster) -> int:
    """Return the partition's leader, by a broker that has heard of the topic."""
    found: list[int] = []

    def told() -> bool:
        topic = cluster.admin.list_topics(timeout=10).topics.get(TOPIC)
        if topic is not None:
            found.append(topic.partitions[0].leader)
        return bool(found)

    wait_for("the topic is known", told)
    return found[0]


def write(cluster: Cluster, seconds: float = 60) -> KafkaError | None:
    """Write a record to every copy that is in sync; return why that failed."""
    failed: list[KafkaError | None] = []
    producer = Producer(
        {"bootstrap.servers": cluster.address, "message.timeout.ms": round(seconds * 1000), "log_level": 0}
    )
    producer.produce(TOPIC, b"a line", partition=0, on_delivery=lambda error, _: failed.append(error))
    assert producer.flush(seconds + 10) == 0
    return failed[0]


def test_records_are_taken_while_a_node_is_killed_or_stands_still(cluster: Cluster) -> None:
    first = leader(cluster)
    with cluster.without(first):
        assert write(cluster) is None
        assert leader(cluster) != first
    cluster.wait_whole()

    second = cluster.nodes[leader(cluster)]
    second.stop()
    cluster.wait_live(2)
    assert write(cluster) is None
    second.resume()
    cluster.wait_whole()


def test_nothing_is_taken_with_one_node_of_three_and_all_is_well_after_their_return(cluster: Cluster) -> None:
    gone = [node for node in NODES if node != leader(cluster)]
    for node in gone:
        cluster.nodes[node].kill()
    assert write(cluster, seconds=5) is not None
    cluster.heal()
    assert write(cluster) is None
