"""Rights in words and as commands."""

from wcsup.config import Config
from wcsup.kafka import rights
from wcsup.kafka.rights import Right

CONFIG = Config(bootstrap_servers="kafka:9092", topic_prefix="books.", app_id="books")


def test_rights_are_said_by_what_they_are_for() -> None:
    wanted = [Right("topic", "words", "READ"), Right("topic", "words", "WRITE"), Right("group", "books-map", "READ")]
    assert rights.said(wanted) == "READ, WRITE topic words and READ group books-map"


def test_one_command_gives_all_topics_what_they_lack_alike() -> None:
    wanted = [
        Right("topic", "lines", "WRITE"),
        Right("topic", "words", "READ"),
        Right("topic", "top", "WRITE"),
        Right("topic", "words", "DESCRIBE_CONFIGS"),
        Right("transactional-id", "books-", "WRITE", prefix=True),
    ]
    add = "kafka-acls.sh --bootstrap-server kafka:9092 --add --allow-principal User:ann --operation"
    assert rights.commands("kafka:9092", "ann", wanted).split("; ") == [
        f"{add} Write --topic lines --topic top",
        f"{add} Read --operation DescribeConfigs --topic words",
        f"{add} Write --transactional-id books- --resource-pattern-type prefixed",
    ]


def test_a_run_needs_what_its_workers_need() -> None:
    wanted = {(right.name.removeprefix("books."), right.operation) for right in rights.of_run(CONFIG)}
    assert wanted == {
        ("lines", "READ"),
        ("words", "READ"),
        ("words", "WRITE"),
        ("counts", "READ"),
        ("counts", "WRITE"),
        ("top", "WRITE"),
        ("dead-letters", "WRITE"),
        ("positions", "READ"),
        ("positions", "WRITE"),
    }


def test_topics_with_a_prefix_are_made_by_one_right() -> None:
    assert rights.to_make(CONFIG, ["lines", "words"]) == [Right("topic", "books.", "CREATE", prefix=True)]
    alone = Config(bootstrap_servers="kafka:9092")
    assert [right.name for right in rights.to_make(alone, ["lines", "words"])] == ["lines", "words"]


def test_the_ids_of_an_application_s_transactions_are_allowed_by_one_right() -> None:
    assert rights.of_name(CONFIG, "books-host-map-0") == Right("transactional-id", "books-", "WRITE", prefix=True)
