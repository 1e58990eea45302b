"""How many copies topics are made with, and what a start says of copies."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import replication

CONFIG = Config(topic_prefix="b-")


def topic(*partitions: int) -> Any:
    """A topic whose partitions have so many copies."""
    copies = {number: SimpleNamespace(replicas=list(range(count))) for number, count in enumerate(partitions)}
    return SimpleNamespace(partitions=copies)


@pytest.mark.parametrize(
    ("asked", "live", "copies"), [(None, 1, 1), (None, 2, 2), (None, 3, 3), (None, 9, 3), (1, 3, 1), (5, 5, 5)]
)
def test_as_many_as_are_asked_for_or_as_fit_up_to_three(asked: int | None, live: int, copies: int) -> None:
    assert replication.for_new(replace(CONFIG, replication=asked), live) == copies


def test_more_than_there_are_brokers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs 3 brokers and 1 is up: start the missing ones"):
        replication.for_new(replace(CONFIG, replication=3), 1)


@pytest.mark.parametrize(("copies", "least"), [(1, "1"), (2, None), (3, "2"), (5, "2")])
def test_how_many_copies_a_commit_waits_for(copies: int, least: str | None) -> None:
    assert replication.settings(copies).get("min.insync.replicas") == least


@pytest.mark.parametrize(
    ("asked", "live", "made", "there", "says"),
    [
        (None, 1, ["lines"], {}, []),
        (None, 2, ["lines", "top"], {}, ["topics b-lines, b-top: made with 2 copies"]),
        (2, 2, ["lines"], {}, []),
        (None, 3, ["lines"], {}, []),
        (None, 1, [], {"lines": topic(1)}, []),
        (None, 3, [], {"lines": topic(3, 3)}, []),
        (None, 3, [], {"lines": topic(3, 1), "top": topic(3)}, ["topic b-lines: 1 copy where 3 brokers are up"]),
        (None, 2, [], {"lines": topic(2)}, []),
        (3, 2, [], {"lines": topic(2)}, ["2 copies where --replication asks for 3"]),
        (1, 3, [], {"lines": topic(1)}, []),
        (None, 2, ["top"], {"lines": topic(1)}, ["topic b-top: made with 2", "topic b-lines: 1 copy"]),
    ],
)
def test_what_a_start_says(
    asked: int | None, live: int, made: list[str], there: dict[str, Any], says: list[str]
) -> None:
    remarks = replication.remarks(replace(CONFIG, replication=asked), live, made, there)
    assert len(remarks) == len(says)
    assert all(part in remark for part, remark in zip(says, remarks, strict=True))
    assert all("\n" not in remark and "wcsup doctor" in remark for remark in remarks)
