"""The doctor's checks of hanging transactions, and of what waits for them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.kafka.hanging import OFFSETS, Examination, Hanging, told

_NOT_TO_BE_SEEN = {
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
}


def hanging(cluster: Cluster, found: list[Hanging]) -> Iterator[Check]:
    """Say which transactions hang, whose they are, what waits for them, and what ends them; add them to `found`."""
    name = "hanging"
    waiting: list[tuple[str, str, list[int]]] = []
    try:
        with closing(Examination(cluster.config)) as examination:
            found += examination.find()
            if any(one.open.topic == OFFSETS for one in found):
                waiting = examination.held()
    except KafkaException as error:
        if error.args[0].code() not in _NOT_TO_BE_SEEN:
            raise
        yield Check.warning(name, f"whether a decided transaction hangs can't be seen here: {error.args[0].str()}")
        return
    held = "".join(
        f" {group} waits for its offset of {topic}, partition {', '.join(map(str, partitions))}."
        for group, topic, partitions in waiting
    )
    for sentence in told(found):
        yield Check.failed(
            name,
            f"{sentence}.{held} A worker that starts under its name ends it, and so does wcsup txn settle; "
            "kafka-transactions.sh would abort what was committed",
        )
    if not found:
        yield Check.ok(name, "no transaction that was decided lacks its end in a partition")


def as_json(one: Hanging) -> dict[str, Any]:
    """Return the object that `doctor --json` prints for a hanging transaction."""
    outcome = {True: "committed", False: "aborted", None: None}[one.commit]
    return {
        "transactional_id": one.name,
        "producer_id": one.open.producer,
        "producer_epoch": one.open.epoch,
        "topic": one.open.topic,
        "partition": one.open.partition,
        "offset": one.open.offset,
        "since": one.since,
        "outcome": outcome,
    }
