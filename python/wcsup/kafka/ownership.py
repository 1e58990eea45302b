"""Whether each partition of a group's topic has an owner.

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


class Ownership:
    """Looks at a group without holding up the work loop."""

    def __init__(self, admin: AdminClient, group: str, topic: str, partitions: int) -> None:
        """`partitions` is how many the topic has."""
        self._admin = admin
        self._group = group
        self._topic = topic
        self._all = set(range(partitions))
        self._thread = ThreadPoolExecutor(1, "ownership")
        self._answer: Future[dict[str, set[int]]] | None = None
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._orphans: set[int] = set()
        """What had no owner at the last look."""

    def orphans(self, member: Callable[[], str]) -> set[int]:
        """Return the partitions that have had no owner for two looks, if the member is to join anew for them.

        That is the one with the fewest partitions; another one is told of none. `member` returns the caller's id in the
        group. Never waits.
        """
        if self._answer is None:
            if time.monotonic() >= self._look_at:
                self._answer = self._thread.submit(self._owners)
            return set()
        if not self._answer.done():
            return set()
        owners, self._answer = self._answer.result(), None
        self._look_at = time.monotonic() + LOOK_SECONDS
        orphans = self._all.difference(*owners.values()) if owners else set()
        lasting, self._orphans = orphans & self._orphans, orphans
        first = min(owners, key=lambda one: (len(owners[one]), one), default=None)
        return lasting if lasting and member() == first else set()

    def _owners(self) -> dict[str, set[int]]:
        """Return the partitions of each member; nobody where the group is between two assignments or not known."""
        try:
            groups = self._admin.list_groups(self._group, timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            log.debug("the group can't be looked at: %s", error)
            return {}
        members: list[Any] = [member for group in groups if group.state == "Stable" for member in group.members or ()]
        return {member.id: assigned(member.assignment, self._topic) for member in members}


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
