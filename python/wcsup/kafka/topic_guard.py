"""Whether the topics are still the same ones, by topic id, that a worker began with.

If its topic is deleted and made again, a consumer goes on at its old offset, and never reads the new records below it.
So before its transaction begins, each commit waits until the topics were seen to be the same within the last
`FRESH_SECONDS`.

A running consumer notices a deletion itself within one fetch. One gap is left, a topic that is made again faster than
that: records of it that are committed before the next look may be counted twice or not at all.
"""

import time
from collections.abc import Callable, Collection

from confluent_kafka import KafkaError

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import refusals, topics
from wcsup.kafka.lookout import Lookout
from wcsup.kafka.refusals import About
from wcsup.kafka.requests import Topic
from wcsup.kafka.rights import Right
from wcsup.kafka.sighting import Sight, Sighting

FRESH_SECONDS = 3.0
"""How old the last sighting of the topics may be at a commit."""

_PAUSE_SECONDS = 0.02

COUNTS_LOST = (
    "topic counts was deleted and made again, but its group has committed offsets: the totals of what was counted "
    "before are lost, and counting on would be wrong. Start over with wcsup del, or bring totals of a backup back with "
    "wcsup restore --instead"
)


class TopicGuard:
    """Compares sightings of the topics with their first ids; starts its own lookout where no sightings come."""

    def __init__(
        self,
        config: Config,
        identity: topics.Identity,
        relied_on: Collection[str],
        sight: Sight,
        lookout: Callable[[Config, Callable[[Sighting], None]], Lookout] = Lookout,
    ) -> None:
        """`relied_on` are the plain names of the topics that have to stay the same.

        A `lookout` is made where there was no sighting for `FRESH_SECONDS`.
        """
        self._config = config
        self._ids = {name: identity.topics[name] for name in relied_on}
        self._sight = sight
        self._make_lookout = lookout
        self._lookout: Lookout | None = None
        self._judged_at = self._same_at = time.monotonic()
        """When the topics were last seen, and last seen to be the same. At first, now: `identity` is a moment old."""

    def look(self) -> None:
        """Raise the error that a new sighting calls for; never waits.

        Raises `ConfigurationError` for a topic that is gone, has other partitions or has lost the totals,
        `RefusedError` for one that this user may not see, and `RetryError` where a new process reads the new topic from
        its start.
        """
        newest = self._sight.newest
        if newest is not None and newest.asked > self._judged_at:
            self._judged_at = newest.asked
            if all(self._is_same(name, newest) for name in self._ids):
                self._same_at = newest.asked
        if time.monotonic() - self._same_at > FRESH_SECONDS and self._lookout is None:
            self._lookout = self._make_lookout(self._config, self._sight.see)
            self._lookout.start()

    def confirm(self, alive: Callable[[], None]) -> None:
        """Wait until the topics were seen to be the same lately; raises as `look` does. `alive` is called meanwhile.

        Call it while no transaction is open.
        """
        self.look()
        while time.monotonic() - self._same_at > FRESH_SECONDS:
            alive()
            time.sleep(_PAUSE_SECONDS)
            self.look()

    def _is_same(self, name: str, seen: Sighting) -> bool:
        """Raise where a topic is not the same; false where the broker did not say."""
        topic = self._config.topic(name)
        if topic in seen.hidden:
            error = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            raise refusals.refused(self._config, error, About(topic, rights=[Right("topic", topic, "READ")]))
        if topic not in seen.topics:
            return False
        found = seen.topics[topic]
        if found is not None:
            self._compare(name, found)
        elif seen.asked - self._same_at > FRESH_SECONDS:  # for a moment, the broker's metadata may be out of date
            raise gone(self._config, name)
        return found is not None

    def _compare(self, name: str, found: Topic) -> None:
        if found.id != self._ids[name]:
            if name == "counts":
                raise ConfigurationError(COUNTS_LOST)
            then = "goes on" if name == "positions" else "reads it from its start"
            raise RetryError(f"topic {self._config.topic(name)} was deleted and made again; a new process {then}")
        if reason := topics.miscount(self._config, name, found.partitions, fixed=True):
            raise ConfigurationError(reason)


def gone(config: Config, name: str) -> ConfigurationError:
    """Return the error of a topic that was deleted."""
    then = "all totals went with it. Start over with wcsup del" if name == "counts" else "wcsup run makes it anew"
    return ConfigurationError(f"topic {config.topic(name)} was deleted under its workers: {then}")
