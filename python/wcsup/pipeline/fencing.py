"""Whether a fenced process has a successor: another process that was started under its name since.

A successor fences both the old producer, by its `init_transactions`, and the old group member, by joining as the same
static member (KIP-345). Without a successor, one of the two may be fenced alone: by a late request of the process
itself, by Kafka's time-out of a transaction, or by a broker's restart. So when one of the two is fenced, the other one
is checked. After an overdue transaction both may be fenced without a successor; then the claim in the state directory
decides.

Under KIP-848 members are dynamic, and a new member fences none. There the successor is looked for among the members of
the group: a member's client id is its worker's name.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fenced:
    """What a fenced process knows."""

    joined: bool
    """Whether the process was ever a member of its group."""
    member: bool
    """Whether the group member is fenced; if not, the producer is."""
    overdue: bool
    """Whether a transaction was open beyond its time-out."""
    static: bool
    """Whether the group has static members."""


def has_successor(
    fenced: Fenced,
    *,
    claimed: Callable[[], bool],
    superseded: Callable[[], bool],
    member_is_fenced: Callable[[], bool],
    successor_joins: Callable[[], bool],
) -> bool:
    """Return whether another process has the name, as far as can be known.

    Each question is a function, called only if its answer decides. `claimed`: was no other process of the state
    directory started under the name? `superseded`: is the producer fenced, too? `member_is_fenced`: is the group member
    fenced, too? `successor_joins`: does the group have another member of the name? These two take some seconds.
    """
    if not fenced.joined:
        return True
    if not fenced.static:
        return not claimed() or (not fenced.overdue and successor_joins())
    if fenced.member and fenced.overdue:
        return not claimed()
    if fenced.member:
        return superseded()
    return member_is_fenced() and not (fenced.overdue and claimed())
