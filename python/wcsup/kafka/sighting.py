"""What Kafka says of an application's topics, and of the owners of its groups' partitions.

One process of a host asks Kafka (`wcsup.kafka.lookout`), and passes the answers to its workers in lines of JSON. Times
are those of `time.monotonic`, which all processes of a host share.
"""

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from wcsup.kafka.causes import SAID
from wcsup.kafka.requests import Topic

OUTAGE_SECONDS = 5.0
"""How long no broker may answer before it is an outage."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """The answers of one look."""

    asked: float
    """When the topics were requested: the answer is no older."""
    topics: Mapping[str, Topic | None]
    """By full name; none for a topic that does not exist. A topic that the broker could not describe is left out."""
    hidden: Collection[str] = ()
    """Names of topics that this user may not see."""
    owners_asked: float = 0.0
    """When the groups were requested."""
    owners: Mapping[str, Mapping[str, set[int]]] = field(default_factory=dict)
    """For each group the partitions of each member; empty while a group is between two assignments or not known."""

    def to_json(self) -> str:
        """Return the sighting in one line."""
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
        """Return whether a broker answered lately; true also where no sighting is known."""
        return self.newest is None or time.monotonic() - self.newest.asked <= OUTAGE_SECONDS

    def see(self, sighting: Sighting) -> None:
        """Take a new sighting; one that is older than the newest is ignored."""
        last = self.newest
        if last is None or sighting.asked >= last.asked:
            self.newest = sighting
        if last is not None and sighting.asked > last.asked + OUTAGE_SECONDS:
            SAID.forget()  # so that the next outage is logged again
