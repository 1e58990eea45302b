"""Who is to join anew for partitions that have no owner, and which partitions have the same one."""

import struct

import pytest

from wcsup.kafka import ownership
from wcsup.kafka.ownership import Homes, Orphans, Owners, assigned
from wcsup.kafka.sighting import Sight, Sighting


def assignment(**topics: list[int]) -> bytes:
    """Return an assignment as members are given it, version 1."""
    parts = [struct.pack(">hi", 1, len(topics))]
    for topic, partitions in topics.items():
        name = topic.encode()
        parts.append(struct.pack(f">h{len(name)}si{len(partitions)}i", len(name), name, len(partitions), *partitions))
    return b"".join([*parts, struct.pack(">i", -1)])


class Seen:
    """What is seen of a group, every two seconds."""

    def __init__(self) -> None:
        self.sight = Sight()
        self.owned = {"map-0-x": {2, 3}, "map-1-y": {4}}
        self._now = 0.0

    def look(self, **owned: set[int]) -> None:
        self._now += ownership.LOOK_SECONDS
        self.sight.see(Sighting(self._now, {}, (), self._now, {"books-map": owned or self.owned}))


@pytest.fixture
def seen() -> Seen:
    return Seen()


def looks(seen: Seen, member: str, count: int) -> list[set[int]]:
    """Return what a member is told after each look."""
    orphans = Orphans(Owners(seen.sight, "books-map"), 6)
    told = []
    for _ in range(count):
        assert orphans.found(lambda: member) == set(), "nothing new was seen"
        seen.look()
        told.append(orphans.found(lambda: member))
    return told


def test_an_assignment_is_read_by_topic() -> None:
    both = assignment(lines=[0, 7], words=[1])
    assert assigned(both, "lines") == {0, 7}
    assert assigned(both, "words") == {1}
    assert assigned(both, "counts") == set()
    assert assigned(assignment(), "lines") == set()


def test_the_member_with_the_fewest_joins_anew_after_two_looks(seen: Seen) -> None:
    assert looks(seen, "map-1-y", 3) == [set(), {0, 1, 5}, {0, 1, 5}]
    assert looks(seen, "map-0-x", 3) == [set(), set(), set()]


def test_looks_that_follow_at_once_are_one(seen: Seen) -> None:
    orphans = Orphans(Owners(seen.sight, "books-map"), 6)
    for asked in (10.0, 10.5, 11.0):
        seen.sight.see(Sighting(asked, {}, (), asked, {"books-map": seen.owned}))
        assert orphans.found(lambda: "map-1-y") == set()


def test_what_passes_is_let_be(seen: Seen) -> None:
    orphans = Orphans(Owners(seen.sight, "books-map"), 6)
    told = []
    for owned in ({0, 1, 5}, {0, 1}, {0, 5}, {1, 5}):
        seen.look(**{"map-0-x": {2, 3} | owned, "map-1-y": {4}})
        told.append(orphans.found(lambda: "map-1-y"))
    assert told == [set(), set(), set(), set()]


def test_a_group_that_cannot_be_judged_is_let_be(seen: Seen) -> None:
    seen.owned = {}
    assert looks(seen, "map-1-y", 3) == [set(), set(), set()]


def test_homes_follow_the_owners(seen: Seen) -> None:
    homes = Homes(Owners(seen.sight, "books-map"), 6)
    assert homes.now() is None, "not known yet"
    seen.look()
    assert homes.now() == [0, 1, 2, 2, 4, 5]

    seen.look(**{f"reduce-{n}": {n} for n in range(6)})
    assert homes.now() is None, "nobody has two"

    seen.look(**{"map-0-x": {5, 3, 1}, "map-1-y": {4, 0, 2}})
    assert homes.now() == [0, 1, 0, 1, 0, 1]

    seen.owned = {}
    seen.look()
    assert homes.now() is None, "not known any more"
