"""Who owns the partitions of a group's topic, and whether each has an owner.

A cooperative rebalance has two rounds (KIP-429): in the first a member gives partitions up, in the second, which this
very member asks for, others are given them. A static member that dies in between and is started again is given what it
had after the first round, and for the broker the group is stable (KIP-345;
`updateStaticMemberThenRebalanceOrCompleteJoin` in its GroupMetadataManager). Nobody asks for the second round then, and
those partitions would have no owner until somebody joins or leaves. So members look at the whole group now and then,
and one of them joins anew where a partition has no owner for long.

It is librdkafka's old request for a group's description that is made here: the newer one is sent to the coordinator and
aborts the process when it runs into its time-out (librdkafka#3663, #4605).
"""

import logging
import struct
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

log = logging.getLogger("wcsup.ownership")

LOOK_SECONDS = 2.0
"""How often the group is looked at; what lacks an owner twice in a row is for long."""

_ANSWER_SECONDS = 2.0


class Owners:
    """Looks at a group without holding up the work loop."""

    def __init__(self, admin: AdminClient, group: str, topic: str) -> None:
        self._admin = admin
        self._group = group
        self._topic = topic
        self._thread = ThreadPoolExecutor(1, "owners")
        self._answer: Future[dict[str, set[int]]] | None = None
        self._look_at = time.monotonic() + LOOK_SECONDS

    def look(self) -> dict[str, set[int]] | None:
        """Return the partitions of each member, once for each look; none in between. Never waits.

        They are nobody's where the group is between two assignments or not known.
        """
        if self._answer is None:
            if time.monotonic() >= self._look_at:
                self._answer = self._thread.submit(self._ask)
            return None
        if not self._answer.done():
            return None
        owners, self._answer = self._answer.result(), None
        self._look_at = time.monotonic() + LOOK_SECONDS
        return owners

    def _ask(self) -> dict[str, set[int]]:
        try:
            groups = self._admin.list_groups(self._group, timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            log.debug("the group can't be looked at: %s", error)
            return {}
        members: list[Any] = [member for group in groups if group.state == "Stable" for member in group.members or ()]
        return {member.id: assigned(member.assignment, self._topic) for member in members}


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
