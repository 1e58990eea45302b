"""What is to be seen of an application from outside: its topics, and who owns the partitions of its groups.

One process of a host looks (`wcsup.kafka.lookout`), and tells its workers in lines of JSON. Times are those of
`time.monotonic`, which all processes of a host share.
"""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from wcsup.kafka.causes import SAID
from wcsup.kafka.requests import Topic

OUTAGE_SECONDS = 5.0
"""How long no broker may answer without its being an outage."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a look saw."""

    asked: float
    """When the topics were asked for: the answer is no older."""
    topics: Mapping[str, Topic | None]
    """By full name; none for one that is not there. One of which the broker could not tell is left out."""
    hidden: Collection[str] = ()
    """Those that this user may not see."""
    owners_asked: float = 0.0
    """When the groups were asked for."""
    owners: Mapping[str, Mapping[str, set[int]]] = field(default_factory=dict)
    """By group the partitions of each member; nobody's while a group is between two assignments or not known."""

    def to_json(self) -> str:
        """Return it in one line."""
        owners = {
            group: {member: sorted(partitions) for member, partitions in members.items()}
            for group, members in self.owners.items()
        }
        return json.dumps({**asdict(self), "hidden": [*self.hidden], "owners": owners}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Sighting":
        """Read what `to_json` wrote."""
        values = json.loads(line)
        topics = {name: one and Topic(**one) for name, one in values["topics"].items()}
        owners = {
            group: {member: set(partitions) for member, partitions in members.items()}
            for group, members in values["owners"].items()
        }
        return cls(values["asked"], topics, values["hidden"], values["owners_asked"], owners)


class Sight:
    """The newest sighting that a worker knows of. Threads that look or listen write it, and the work loop reads it."""

    def __init__(self) -> None:
        self.newest: Sighting | None = None

    def fresh(self) -> bool:
        """Return whether a broker answered of late, as far as is known."""
        return self.newest is None or time.monotonic() - self.newest.asked <= OUTAGE_SECONDS

    def see(self, sighting: Sighting) -> None:
        """Take note of a sighting; an older one than the last changes nothing."""
        last = self.newest
        if last is None or sighting.asked >= last.asked:
            self.newest = sighting
        if last is not None and sighting.asked > last.asked + OUTAGE_SECONDS:
            SAID.forget()  # of the next outage it is said again who is not connected
