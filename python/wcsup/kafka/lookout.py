"""Watches an application's topics and groups: asks Kafka once a second which topics exist and who owns partitions.

A supervisor's lookout serves all of its workers. A worker without a supervisor has its own lookout.

The lookout has connections of its own, to one broker and to the two groups' coordinators. librdkafka's call for a group
would ask every broker for all groups, and confluent-kafka's call for topics leaks 100 bytes with each answer. Where
only librdkafka can log in (Kerberos, key stores), librdkafka's calls are used all the same.
"""

import logging
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from wcsup.config import Config
from wcsup.kafka import clients, failures, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.ownership import assigned
from wcsup.kafka.requests import Brokers, Topic, random_order
from wcsup.kafka.sighting import Sighting

log = logging.getLogger("wcsup.lookout")

LOOK_SECONDS = 1.0
"""How often it asks."""
_AGAIN_SECONDS = 0.25
"""How soon it asks again when no broker answered."""
_ANSWER_SECONDS = 2.0
_REST_SECONDS = 5.0
"""How long a coordinator that did not answer is not asked again, so that the requests for topics stay in time."""


class Lookout:
    """Asks in a thread of its own, which ends with the `with` block or the process."""

    def __init__(self, config: Config, see: Callable[[Sighting], None]) -> None:
        """`see` is called with each sighting, in that thread."""
        self._config, self._see = config, see
        self._groups = {config.map_group: config.topic("lines"), config.reduce_group: config.topic("words")}
        self._addresses = random_order(clients.settings(config))
        self._brokers: Brokers | None = None
        self._alone = True
        """Whether wcsup's own connections can be used, without librdkafka."""
        self._owners_at = 0.0
        """The earliest time of the next request for the groups."""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lookout", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join(_ANSWER_SECONDS)

    def start(self) -> None:
        """Start the thread, for as long as the process lives."""
        self._thread.start()

    def _work(self) -> None:
        owners_asked = 0.0
        owners: dict[str, dict[str, set[int]]] = {group: {} for group in self._groups}
        while not self._end.is_set():
            asked = time.monotonic()
            try:
                seen, hidden = self._topics()
                # The topics are passed on before the groups are asked for: a stalled coordinator delays only the
                # owners.
                self._see(Sighting(asked, seen, hidden, owners_asked, owners))
                owners_asked = time.monotonic()
                owners = {group: self._members(group) for group in self._groups}
                self._see(Sighting(asked, seen, hidden, owners_asked, owners))
                pause = asked + LOOK_SECONDS - time.monotonic()
            except KafkaException as failed:
                pause = self._judge(failures.of(failed))
            self._end.wait(pause)
        self._close()

    def _judge(self, error: KafkaError) -> float:
        """Return how long to wait after a failure, before another broker is asked."""
        log.debug("a look at the topics failed: %s", error.str())
        self._close()
        self._addresses = [*self._addresses[1:], *self._addresses[:1]]
        if error.code() == KafkaError._UNSUPPORTED_FEATURE:
            self._alone = False
        # A broker that refuses this user is asked less often.
        return _AGAIN_SECONDS if failures.meaning(error).passes else LOOK_SECONDS

    def _topics(self) -> tuple[Mapping[str, Topic | None], list[str]]:
        names = [self._config.topic(name) for name in topics.NAMES]
        if not self._alone:
            return self._asked_of_librdkafka(names)
        if self._brokers is None:
            self._brokers = Brokers(self._config, self._addresses, _ANSWER_SECONDS)
        seen = self._brokers.topics(names)
        # The broker that answered stays the first address; the brokers in its answer are asked when it is gone.
        known = [*self._addresses, *(one for one in self._brokers.addresses if one not in self._addresses)]
        self._addresses = known
        return seen

    def _asked_of_librdkafka(self, names: list[str]) -> tuple[Mapping[str, Topic | None], list[str]]:
        admin = clients.admin(self._config)
        answers = admin.describe_topics(TopicCollection(names), request_timeout=_ANSWER_SECONDS)
        found: dict[str, Topic | None] = {}
        hidden: list[str] = []
        for name, answer in answers.items():
            try:
                described = answer.result()
            except KafkaException as failed:
                code = failures.of(failed).code()
                if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    found[name] = None
                elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                    hidden.append(name)
                elif code in {KafkaError._TRANSPORT, KafkaError._TIMED_OUT}:
                    raise
            else:
                found[name] = Topic(str(described.topic_id), len(described.partitions))
        return found, hidden

    def _members(self, group: str) -> dict[str, set[int]]:
        if time.monotonic() < self._owners_at:
            return {}
        topic = self._groups[group]
        try:
            if self._brokers is None:
                return self._members_by_librdkafka(group, topic)
            return {member: assigned(one, topic) for member, one in self._brokers.members(group).items()}
        except KafkaException as failed:
            error = failures.of(failed)
            log.debug("a look at group %s failed: %s", group, error.str())
            if failures.meaning(error) is Failure.SILENT:
                self._owners_at = time.monotonic() + _REST_SECONDS
                self._close()  # a late answer would be taken for that of the next request
            return {}
        except (struct.error, UnicodeDecodeError) as error:
            log.debug("group %s has a member that shares out something else: %s", group, error)
            return {}

    def _members_by_librdkafka(self, group: str, topic: str) -> dict[str, set[int]]:
        found = clients.admin(self._config).list_groups(group, timeout=_ANSWER_SECONDS)
        described: list[Any] = [member for one in found if one.state == "Stable" for member in one.members or ()]
        return {member.id: assigned(member.assignment, topic) for member in described}

    def _close(self) -> None:
        if self._brokers is not None:
            self._brokers.close()
            self._brokers = None
