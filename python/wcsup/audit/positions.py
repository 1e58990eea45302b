"""`wcsup positions`: shows the recorded positions beside the groups' offsets, and accepts one of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import application, clients, groups, moving, positions, topics

Accepted = Literal["recorded", "group"]


@dataclass(frozen=True, slots=True)
class Place:
    """A partition of `lines` or `words`."""

    topic: str
    """The topic's plain name."""
    partition: int
    recorded: int | None
    """The first uncounted offset; none where nothing of the partition was counted."""
    group: int | None
    """The group's offset; none where the group has none."""
    records: bool
    """Whether the partition ever had a record."""

    @property
    def differs(self) -> bool:
        """Whether workers refuse to resume here, since somebody set the group's offset."""
        return self.group is not None and self.group != self.recorded

    @property
    def note(self) -> str:
        """A remark about the partition for the reader."""
        if self.differs:
            return "the group's offset was set by somebody else"
        return "Kafka has forgotten the group's offset" if self.group is None and self.recorded is not None else ""


class Positions:
    """The positions of one application."""

    def __init__(self, config: Config) -> None:
        """Find the application.

        Raises `ConfigurationError` where another one owns the topics, where there are none, and while they are made
        anew.
        """
        self._admin: AdminClient = clients.admin(config)
        moving.refuse(config, self._admin)
        listed = clients.unreachable(config, lambda: self._admin.list_topics(timeout=clients.REACH_SECONDS)).topics
        if config.topic("lines") not in listed:
            raise ConfigurationError(
                f"nothing was counted yet: topic {config.topic('lines')} does not exist; start wcsup run"
            )
        self._owner = application.owner(config, self._admin)
        if self._owner is not None:
            self._owner.refuse_others(config)
        partitions = self._owner.partitions if self._owner else len(listed[config.topic("lines")].partitions)
        self._config = replace(config, partitions=partitions)
        if self._owner is None:
            topics.ensure(self._config)  # from before there was a topic `positions`
        self._identity = topics.identity(self._admin, self._config)

    def places(self) -> list[Place]:
        """Return every partition of `lines` and `words`."""
        config = self._config
        said = positions.recorded(config, self._admin)
        found: list[Place] = []
        for stage in positions.STAGES:
            topic, input_id = config.topic(stage), self._identity.topics[stage]
            everywhere = [TopicPartition(topic, p) for p in range(config.partitions)]
            ends = topics.ends(self._admin, everywhere)
            for one in groups.offsets(config, positions.group(config, stage), topic, config.partitions):
                position = said.of(stage, one.partition, input_id)
                recorded = position.offset if position is not None and position.input == input_id else None
                offset = one.offset if one.offset >= 0 else None
                if offset is not None and recorded is None and positions.is_own(one):
                    recorded = offset  # committed, but not recorded yet
                found.append(Place(stage, one.partition, recorded, offset, bool(ends[topic, one.partition])))
        return found

    def accept(self, what: Accepted) -> list[Place]:
        """Make counting resume at the `recorded` positions, or at the `group`'s offsets; return where these differ.

        Raises `ConfigurationError` while workers run, and where it is not known at which offset a partition would
        resume.
        """
        for group in (self._config.map_group, self._config.reduce_group):
            if count := groups.members(self._admin, group):
                raise ConfigurationError(
                    f"{count} workers are in group {group}: stop them first (wcsup drain --wait), and wait for their "
                    f"sessions to end, some {self._config.session_timeout:.0f} s"
                )
        places = self.places()
        changed = [place for place in places if place.differs]
        if what == "recorded":
            self._tell_groups((place, place.recorded or 0) for place in changed)
            return changed
        if self._owner is None:
            self._claim(places)
            changed = [place for place in places if place.group is not None]
        self._record(changed)
        self._tell_groups((place, place.group or 0) for place in changed)
        return changed

    def _claim(self, places: Sequence[Place]) -> None:
        """Record this application as the owner of the topics, with the groups' offsets as its positions."""
        unknown = [f"{p.topic} {p.partition}" for p in places if p.group is None and p.recorded is None and p.records]
        if unknown:
            raise ConfigurationError(
                f"partitions without an offset of their group: {', '.join(unknown)}; set them, too, with "
                "kafka-consumer-groups.sh --reset-offsets"
            )
        self._record([place for place in places if place.group is not None])
        application.record(self._config)

    def _record(self, places: Iterable[Place]) -> None:
        records = [
            (positions.key(place.topic, place.partition), self._now(place.topic).text(place.group or 0).encode())
            for place in places
        ]
        # To each partition of the topic: the highest position is valid, and any partition may have an earlier one.
        application.write(self._config, records, range(self._config.partitions))

    def _tell_groups(self, offsets: Iterable[tuple[Place, int]]) -> None:
        wanted: dict[str, list[TopicPartition]] = {}
        for place, offset in offsets:
            text = self._now(place.topic).text(offset)
            one = TopicPartition(self._config.topic(place.topic), place.partition, offset, text)
            wanted.setdefault(place.topic, []).append(one)
        for stage, found in wanted.items():
            reader = clients.offsets_reader(self._config, positions.group(self._config, stage))
            reader.commit(offsets=found, asynchronous=False)

    def _now(self, stage: str) -> positions.Position:
        return positions.now(self._config, self._identity, stage)
