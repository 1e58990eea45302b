"""What is asked of topics while a broker starts."""

from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.kafka import topics


class Answer:
    offset = 7
    timestamp = 1_764_000_000_000


class MovingLeader:
    """A cluster whose leaders move: it refuses the first requests, then answers."""

    def __init__(self, refusals: list[int]) -> None:
        self.refusals = refusals
        self.refreshed = 0

    def list_topics(self, *, timeout: float) -> None:
        assert timeout
        self.refreshed += 1

    def list_offsets(self, wanted: dict[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        refusal = self.refusals.pop(0) if self.refusals else None
        futures = {}
        for partition in wanted:
            futures[partition] = future = Future[Any]()
            if refusal is None:
                future.set_result(Answer())
            else:
                future.set_exception(KafkaException(KafkaError(refusal)))
        return futures


def newest(cluster: MovingLeader) -> dict[tuple[str, int], int]:
    return topics.newest(cast(AdminClient, cluster), [TopicPartition("lines", 3)])


def test_the_newest_record_is_asked_for_again_while_leaders_move() -> None:
    cluster = MovingLeader([KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
    assert newest(cluster) == {("lines", 3): Answer.timestamp}
    assert not cluster.refusals
    assert cluster.refreshed == 2, "the new leaders have to be known"


def test_it_is_asked_for_again_soon_and_then_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("wcsup.kafka.topics.time.sleep", pauses.append)
    cluster = MovingLeader([KafkaError.NOT_LEADER_FOR_PARTITION] * 6)
    assert newest(cluster) == {("lines", 3): Answer.timestamp}
    assert pauses == [0.005, 0.01, 0.02, 0.04, 0.05, 0.05]


def test_what_does_not_pass_by_itself_is_raised_at_once() -> None:
    cluster = MovingLeader([KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.NOT_LEADER_FOR_PARTITION])
    with pytest.raises(KafkaException, match="TOPIC_AUTHORIZATION_FAILED"):
        newest(cluster)
    assert cluster.refusals == [KafkaError.NOT_LEADER_FOR_PARTITION]
