"""Who is to join anew for partitions that have no owner, and which partitions have the same one."""

import struct
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from running import wait_for

from wcsup.kafka import ownership
from wcsup.kafka.ownership import Homes, Orphans, Owners, assigned


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


def owners_of(admin: FakeAdmin) -> Owners:
    return Owners(cast("AdminClient", admin), "books-map", "lines")


def wait_for_answer(owners: Owners) -> None:
    answer = owners._answer
    assert answer is not None
    wait_for(answer.done)


def looks(admin: FakeAdmin, member: str, count: int) -> list[set[int]]:
    """Return what a member is told after each of its looks."""
    owners = owners_of(admin)
    orphans = Orphans(owners, 6)
    told = []
    for _ in range(count):
        assert orphans.found(lambda: member) == set(), "it asks"
        wait_for_answer(owners)
        told.append(orphans.found(lambda: member))
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
    owners = owners_of(admin)
    orphans = Orphans(owners, 6)
    told = []
    for owned in ([0, 1, 5], [0, 1], [0, 5], [1, 5]):
        admin.owned["map-0-x"] = [2, 3, *owned]
        orphans.found(lambda: "map-1-y")
        wait_for_answer(owners)
        told.append(orphans.found(lambda: "map-1-y"))
    assert told == [set(), set(), set(), set()]


@pytest.mark.parametrize("change", [{"state": "PreparingRebalance"}, {"owned": {}}, {"broken": True}])
def test_a_group_that_cannot_be_judged_is_let_be(admin: FakeAdmin, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(admin, name, value)
    assert looks(admin, "map-1-y", 3) == [set(), set(), set()]


def test_homes_follow_the_owners(admin: FakeAdmin) -> None:
    owners = owners_of(admin)
    homes = Homes(owners, 6)
    assert homes.now() is None, "not known yet"
    wait_for_answer(owners)
    assert homes.now() == [0, 1, 2, 2, 4, 5]

    admin.owned = {f"reduce-{n}": [n] for n in range(6)}
    homes.now()
    wait_for_answer(owners)
    assert homes.now() is None, "nobody has two"

    admin.owned = {"map-0-x": [5, 3, 1], "map-1-y": [4, 0, 2]}
    assert homes.now() is None, "it asks"
    wait_for_answer(owners)
    assert homes.now() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("change", [{"state": "PreparingRebalance"}, {"owned": {}}, {"broken": True}])
def test_there_are_no_homes_where_owners_are_not_known(admin: FakeAdmin, change: dict[str, Any]) -> None:
    owners = owners_of(admin)
    homes = Homes(owners, 6)
    homes.now()
    wait_for_answer(owners)
    assert homes.now() == [0, 1, 2, 2, 4, 5]
    for name, value in change.items():
        setattr(admin, name, value)
    homes.now()
    wait_for_answer(owners)
    assert homes.now() is None
