"""Who owns the partitions of a group's topic, and whether each has an owner.

A cooperative rebalance has two rounds (KIP-429): in the first a member gives partitions up, in the second, which this
very member asks for, others are given them. A static member that dies in between and is started again is given what it
had after the first round, and for the broker the group is stable (KIP-345;
`updateStaticMemberThenRebalanceOrCompleteJoin` in its GroupMetadataManager). Nobody asks for the second round then, and
those partitions would have no owner until somebody joins or leaves. So members look at the whole group now and then,
and one of them joins anew where a partition has no owner for long.
"""

import struct
from collections.abc import Callable, Mapping

from wcsup.kafka.sighting import Sight

LOOK_SECONDS = 2.0
"""How long lies between two looks at the group; what lacks an owner at both is for long."""


class Owners:
    """Looks at a group, by what is seen of it."""

    def __init__(self, sight: Sight, group: str) -> None:
        self._sight, self._group = sight, group
        self._last = 0.0
        """When what was seen at the last look was asked for."""

    def look(self) -> Mapping[str, set[int]] | None:
        """Return the partitions of each member, once for each look; none in between.

        They are nobody's where the group is between two assignments or not known.
        """
        newest = self._sight.newest
        if newest is None or newest.owners_asked < self._last + LOOK_SECONDS:
            return None
        self._last = newest.owners_asked
        return newest.owners[self._group]


class Orphans:
    """Partitions without an owner, and who is to join anew for them."""

    def __init__(self, owners: Owners, partitions: int) -> None:
        """`partitions` is how many the topic has."""
        self._owners = owners
        self._all = set(range(partitions))
        self._last: set[int] = set()
        """What had no owner at the last look."""

    def found(self, member: Callable[[], str]) -> set[int]:
        """Return the partitions that have had no owner for two looks, if the member is to join anew for them.

        That is the one with the fewest partitions; another one is told of none. `member` returns the caller's id in the
        group. Never waits.
        """
        owners = self._owners.look()
        if owners is None:
            return set()
        orphans = self._all.difference(*owners.values()) if owners else set()
        lasting, self._last = orphans & self._last, orphans
        first = min(owners, key=lambda one: (len(owners[one]), one), default=None)
        return lasting if lasting and member() == first else set()


class Homes:
    """For each partition of a topic the first one that its owner has.

    What is written there is read by the owner of both, as far as is known: owners change.
    """

    def __init__(self, owners: Owners, partitions: int) -> None:
        """`partitions` is how many the topic has."""
        self._owners = owners
        self._alone = list(range(partitions))
        self._last = self._alone

    def now(self) -> list[int] | None:
        """Return the homes by partition; none where no two are known to have one owner. Never waits."""
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
