"""`wcsup txn`: open transactions listed, and ended by fencing, on a real Kafka."""

import time

import pytest
from application import Application
from confluent_kafka import KafkaException, TopicPartition
from shell import Shell

from wcsup.kafka import clients, topics


def test_an_open_transaction_is_listed_and_ended(application: Application, wcsup: Shell) -> None:
    # Given a transaction of a worker that is gone, and one of a stranger
    config = application.config
    name = f"{config.app_id}-0123abcd-map-0"
    assert wcsup("txn list").out == "no transaction is open\n"
    began = time.time()
    left, stranger = clients.transactional_producer(config, name), clients.transactional_producer(config, "stranger")
    for producer, partition in ((left, 2), (stranger, 1)):
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(config.topic("words"), b"", b"open", partition=partition)
        producer.flush()

    # Then both are listed
    one, other = wcsup("txn list --json").json["running"]
    assert (other["transactional_id"], other["partitions"][0]["partition"]) == ("stranger", 1)
    assert (one["transactional_id"], one["state"], one["timeout"]) == (name, "Ongoing", config.transaction_timeout)
    assert one["partitions"] == [{"topic": config.topic("words"), "partition": 2}]
    assert began - 5 < one["since"] < time.time() + 5
    said = wcsup("txn list").out
    assert said.startswith(f"{name}: Ongoing for ")
    assert f"at the latest: {config.topic('words')}, partition 2" in said

    # And the application's own is ended, once, and no other
    assert wcsup(f"txn abort {name}").out == f"aborted: the transaction of {name}\n"
    assert wcsup(f"txn abort {name}").out == f"no transaction of {name} is open\n"
    assert [one["transactional_id"] for one in wcsup("txn list --json").json["running"]] == ["stranger"]
    where = TopicPartition(config.topic("words"), 2)
    assert topics.stable_ends(application.admin, [where]) == topics.ends(application.admin, [where])
    with pytest.raises(KafkaException, match="fenced"):
        left.commit_transaction()
    refused = wcsup("txn abort stranger")
    assert (refused.status, refused.out) == (3, "")
    assert "is no transactional.id of application" in refused.err
    stranger.abort_transaction()


def test_a_name_that_nobody_had_has_no_transaction(wcsup: Shell, application: Application) -> None:
    name = f"{application.config.app_id}-0123abcd-map-7"
    assert wcsup(f"txn abort {name}").out == f"no transaction of {name} is open\n"
