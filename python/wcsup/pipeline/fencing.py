"""Whether a process that was fenced has a successor: another process that was started under its name since.

A process that takes over fences both the producer, by its `init_transactions`, and the member of the group, by joining
as the same static member (KIP-345). One of the two alone may be fenced by nobody else: by a late request of the process
itself, by Kafka's own time-out of a transaction, or by a broker's restart. So each verdict is held against the other.
Where a transaction was overdue both may be fenced for that, and the state directory tells.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fenced:
    """What a fenced process knows."""

    joined: bool
    """Whether it was ever a member of its group."""
    member: bool
    """Whether its member is fenced; else its producer is."""
    overdue: bool
    """Whether a transaction was open beyond its time-out."""
    static: bool
    """Whether members of its group are static. Under KIP-848 it is the new one that is refused."""


def has_successor(
    fenced: Fenced,
    *,
    claimed: Callable[[], bool],
    superseded: Callable[[], bool],
    member_is_fenced: Callable[[], bool],
) -> bool:
    """Return whether another process has the name, as far as can be known.

    Asked only where it matters: `claimed`, whether no other process of the state directory was started under the name;
    `superseded`, whether the producer is fenced, too; `member_is_fenced`, whether the member is, within some seconds.
    """
    if not fenced.joined:
        return True
    if not fenced.static or (fenced.member and fenced.overdue):
        return not (fenced.overdue and claimed())
    if fenced.member:
        return superseded()
    return member_is_fenced() and not (fenced.overdue and claimed())
