"""Who owns the partitions of a group's topic, and whether each partition has an owner.

A cooperative rebalance has two rounds (KIP-429). In the first, a member gives partitions up. It then asks for the
second round, in which these partitions are assigned to other members. A static member that dies between the rounds and
is started again gets the assignment of the first round, and for the broker the group is stable (KIP-345;
`updateStaticMemberThenRebalanceOrCompleteJoin` in Kafka's GroupMetadataManager). Then no member asks for the second
round, and the partitions that were given up have no owner until a member joins or leaves. So members check the whole
group now and then, and one of them rejoins if a partition has no owner for long.
"""

import struct
from collections.abc import Callable, Iterable, Mapping

from wcsup.kafka.sighting import Sight

LOOK_SECONDS = 2.0
"""The time between two looks at the group. A partition without an owner at both has had none for long."""


class Owners:
    """The owners of a group's partitions, from the sightings of the group."""

    def __init__(self, sight: Sight, group: str) -> None:
        self._sight, self._group = sight, group
        self._last = 0.0
        """When the sighting of the last look was requested."""

    def look(self) -> Mapping[str, set[int]] | None:
        """Return the partitions of each member; none where it is not time for the next look.

        The result is empty where the group is between two assignments or not known.
        """
        newest = self._sight.newest
        if newest is None or newest.owners_asked < self._last + LOOK_SECONDS:
            return None
        self._last = newest.owners_asked
        return newest.owners[self._group]


class Orphans:
    """Partitions without an owner, and the member that is to rejoin for them."""

    def __init__(self, owners: Owners, partitions: int) -> None:
        """`partitions` is how many the topic has."""
        self._owners = owners
        self._all = set(range(partitions))
        self._last: set[int] = set()
        """The partitions without an owner at the last look."""

    def found(self, member: Callable[[], str]) -> set[int]:
        """Return the partitions that had no owner at two looks, if the caller is the member that is to rejoin for them.

        The member with the fewest partitions is to rejoin; for all other members the result is empty. `member` returns
        the caller's id in the group. Never waits.
        """
        owners = self._owners.look()
        if owners is None:
            return set()
        orphans = self._all.difference(*owners.values()) if owners else set()
        lasting, self._last = orphans & self._last, orphans
        first = min(owners, key=lambda one: (len(owners[one]), one), default=None)
        return lasting if lasting and member() == first else set()


class Homes:
    """For each partition of a topic its home: the first partition of the same owner.

    A mixed record is written to the home of its words' partitions. Their owner reads it, unless owners have changed.
    """

    def __init__(self, owners: Owners, partitions: int) -> None:
        """`partitions` is how many the topic has."""
        self._owners = owners
        self._alone = list(range(partitions))
        self._last = self._alone

    def now(self) -> list[int] | None:
        """Return the homes by partition; none where no two partitions are known to have the same owner. Never waits."""
        owners = self._owners.look()
        if owners is not None:
            first = {partition: min(owned) for owned in owners.values() for partition in owned}
            self._last = [first.get(partition, partition) for partition in self._alone]
        return None if self._last == self._alone else self._last


def assigned(assignment: bytes, topic: str) -> set[int]:
    """Return the partitions of a topic in a member's assignment (`ConsumerProtocolAssignment.json` of Kafka)."""
    at = 2  # the version
    (count,) = struct.unpack_from(">i", assignment, at)
    at += 4
    found: set[int] = set()
    for _ in range(count):
        (length,) = struct.unpack_from(">h", assignment, at)
        at += 2
        name = assignment[at : at + length].decode()
        at += length
        (partitions,) = struct.unpack_from(">i", assignment, at)
        at += 4
        if name == topic:
            found.update(struct.unpack_from(f">{partitions}i", assignment, at))
        at += 4 * partitions
    return found


def partition_list(partitions: Iterable[int]) -> str:
    """Return partitions in short, such as `0-3,8`."""
    runs: list[list[int]] = []
    for partition in sorted(partitions):
        if runs and runs[-1][-1] == partition - 1:
            runs[-1][1:] = [partition]
        else:
            runs.append([partition])
    return ",".join("-".join(map(str, run)) for run in runs)
