"""Who is to join anew for partitions that have no owner."""

import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from running import wait_for

from wcsup.kafka import ownership
from wcsup.kafka.ownership import Ownership, assigned


def assignment(**topics: list[int]) -> bytes:
    """Return an assignment as members are given it, version 1."""
    parts = [struct.pack(">hi", 1, len(topics))]
    for topic, partitions in topics.items():
        name = topic.encode()
        parts.append(struct.pack(f">h{len(name)}si{len(partitions)}i", len(name), name, len(partitions), *partitions))
    return b"".join([*parts, struct.pack(">i", -1)])


class FakeAdmin:
    """A group of two members."""

    def __init__(self) -> None:
        self.state = "Stable"
        self.owned = {"map-0-x": [2, 3], "map-1-y": [4]}
        self.broken = False

    def list_groups(self, group: str, timeout: float) -> list[Any]:
        assert group == "books-map" and timeout > 0
        if self.broken:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        members = [
            SimpleNamespace(id=name, assignment=assignment(lines=partitions)) for name, partitions in self.owned.items()
        ]
        return [SimpleNamespace(state=self.state, members=members)]


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> FakeAdmin:
    monkeypatch.setattr(ownership, "LOOK_SECONDS", 0.0)
    return FakeAdmin()


def looks(admin: FakeAdmin, member: str, count: int) -> list[set[int]]:
    """Return what a member is told after each of its looks."""
    mine = Ownership(cast("AdminClient", admin), "books-map", "lines", 6)
    told = []
    for _ in range(count):
        assert mine.orphans(lambda: member) == set(), "it asks"
        answer = mine._answer
        assert answer is not None
        wait_for(answer.done)
        told.append(mine.orphans(lambda: member))
    return told


def test_an_assignment_is_read_by_topic() -> None:
    both = assignment(lines=[0, 7], words=[1])
    assert assigned(both, "lines") == {0, 7}
    assert assigned(both, "words") == {1}
    assert assigned(both, "counts") == set()
    assert assigned(assignment(), "lines") == set()


def test_the_member_with_the_fewest_joins_anew_after_two_looks(admin: FakeAdmin) -> None:
    assert looks(admin, "map-1-y", 3) == [set(), {0, 1, 5}, {0, 1, 5}]
    assert looks(admin, "map-0-x", 3) == [set(), set(), set()]


def test_what_passes_is_let_be(admin: FakeAdmin) -> None:
    mine = Ownership(cast("AdminClient", admin), "books-map", "lines", 6)
    told = []
    for owned in ([0, 1, 5], [0, 1], [0, 5], [1, 5]):
        admin.owned["map-0-x"] = [2, 3, *owned]
        mine.orphans(lambda: "map-1-y")
        answer = mine._answer
        assert answer is not None
        wait_for(answer.done)
        told.append(mine.orphans(lambda: "map-1-y"))
    assert told == [set(), set(), set(), set()]


@pytest.mark.parametrize("change", [{"state": "PreparingRebalance"}, {"owned": {}}, {"broken": True}])
def test_a_group_that_cannot_be_judged_is_let_be(admin: FakeAdmin, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(admin, name, value)
    assert looks(admin, "map-1-y", 3) == [set(), set(), set()]
