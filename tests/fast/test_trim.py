"""What a reducer deletes from `words`, and when."""

import logging
from concurrent.futures import Future
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.pipeline.trim import TRIM_SECONDS, Trim


class Broker:
    """Takes requests, and answers when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[dict[int, int]] = []
        self._open: list[Future[Any]] = []
        self.trim = Trim(cast(AdminClient, self), "words", lambda: self.now)

    def delete_records(self, wanted: list[TopicPartition]) -> dict[TopicPartition, Future[Any]]:
        self.asked.append({p.partition: p.offset for p in wanted})
        futures: dict[TopicPartition, Future[Any]] = {p: Future() for p in wanted}
        self._open += futures.values()
        return futures

    def answer(self, refusal: int | None = None) -> None:
        for future in self._open:
            if refusal is None:
                future.set_result(None)
            else:
                future.set_exception(KafkaException(KafkaError(refusal)))
        self._open.clear()

    def look(self, counted: dict[int, int], after: float = 0.0) -> None:
        self.now += after
        self.trim.look(counted)


def test_counted_records_are_deleted_now_and_then_where_there_are_more() -> None:
    broker = Broker()
    broker.look({0: 5, 1: 0}, after=TRIM_SECONDS - 1)
    assert broker.asked == []
    broker.look({0: 5, 1: 0}, after=1)
    assert broker.asked == [{0: 5}]
    broker.look({0: 9, 1: 2}, after=TRIM_SECONDS)
    assert len(broker.asked) == 1, "one question at a time"
    broker.answer()
    broker.look({0: 5, 1: 2})
    assert broker.asked[1:] == [{1: 2}]


def test_what_is_refused_is_said_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    broker = Broker()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            broker.look({0: 5}, after=TRIM_SECONDS)
            broker.answer(KafkaError.TOPIC_AUTHORIZATION_FAILED)
        broker.look({0: 5})
    assert broker.asked == [{0: 5}] * 3
    assert len(caplog.records) == 1
    assert "can't be deleted from words, which grows" in caplog.text and "right to DELETE" in caplog.text


def test_the_rest_is_deleted_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wcsup.pipeline.trim._LAST_SECONDS", 0.0)
    broker = Broker()
    broker.look({0: 5}, after=TRIM_SECONDS)
    broker.answer()
    broker.trim.finish({0: 8})
    assert broker.asked == [{0: 5}, {0: 8}]
