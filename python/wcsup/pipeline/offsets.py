"""The input offsets of a worker: where its partitions go on, and what its commits say of that."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import failures, positions, refusals, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.positions import Reading, Recorded, Start

log = logging.getLogger("wcsup.offsets")

_WAIT_SECONDS = 0.2
"""How long one question for stable offsets may keep the work loop waiting; it asks again."""


class Offsets:
    """Reads where partitions of a stage's topic go on, and says what a commit has to write."""

    def __init__(self, config: Config, admin: AdminClient, stage: str, identity: topics.Identity) -> None:
        """`stage` is the plain name of the stage's topic, `lines` or `words`."""
        self._config, self._admin, self._stage = config, admin, stage
        self._topic = config.topic(stage)
        self._about = replace(refusals.of_role(config, "map" if stage == "lines" else "reduce"), topic=self._topic)
        self._now = positions.now(config, identity, stage)
        self._committed: dict[int, int] = {}
        """Of the open partitions."""
        self._owed: set[int] = set()
        """Open partitions whose offset the group, or the topic `positions`, has yet to be told."""
        self._found: dict[int, Start] = {}
        """Where partitions go on that are being opened."""
        self._reading: tuple[list[TopicPartition], Reading] | None = None

    @property
    def owed(self) -> bool:
        """Whether a commit is due although there may be no new input."""
        return bool(self._owed)

    @property
    def reading(self) -> bool:
        """Whether the topic `positions` is being read, which may be refused at any time."""
        return self._reading is not None

    @property
    def counted(self) -> Mapping[int, int]:
        """The first offset that is not counted, of each open partition."""
        return self._committed

    def find(self, consumer: Consumer, partitions: list[int]) -> dict[int, int] | None:
        """Return by partition the offset to go on from, 0 where nothing was counted; none where that isn't known yet.

        Not `OFFSET_BEGINNING`: librdkafka resolves it by a request that costs half a second, and where 0 is gone
        `auto.offset.reset` finds the start.

        It waits a moment for pending transactions (KIP-447). Where the group has no offset, or one that somebody else
        set, the topic `positions` is read to the end that it has after that, a piece at each call. An offset that
        retention has overtaken is moved to the start of what is left.

        Raises `ConfigurationError` where the application was started with other words, lost its `counts`, or has an
        offset that somebody set, and `RefusedError` for what may not be read: to be called again then.
        """
        with refusals.told(self._config, self._about):
            return self._find(consumer, partitions)

    def _find(self, consumer: Consumer, partitions: list[int]) -> dict[int, int] | None:
        found = self._stable(consumer, partitions)
        if found is None:
            return None
        try:
            said = self._said(found)
            first = topics.starts(self._admin, [TopicPartition(self._topic, p) for p in partitions])
        except KafkaException as error:
            self._stop_reading()
            if failures.meaning(failures.of(error)) is Failure.REFUSED:
                raise
            log.warning("where %s goes on can't be read, trying again: %s", self._topic, error)
            return None
        if said is None:
            return None
        self._stop_reading()
        for one in found:
            position = said.of(self._stage, one.partition, self._now.input)
            start = positions.judge(self._config, self._stage, self._now, one, position)
            if one.offset < 0 and start.owed:
                log.warning(
                    "Kafka has no offset of partition %d of %s any more: counting goes on at %d, where it stopped",
                    one.partition,
                    self._topic,
                    start.offset,
                )
            self._found[one.partition] = start
        return {p: self._kept(p, self._found[p].offset, first[self._topic, p]) for p in partitions}

    def open(self, partition: int, offset: int) -> None:
        """Take note that a partition is read from an offset that was found."""
        self._committed[partition] = offset
        if self._found.pop(partition).owed:
            self._owed.add(partition)
        else:
            self._owed.discard(partition)

    def drop(self, partition: int) -> None:
        """Forget a partition: it is another worker's, or is opened anew."""
        self._committed.pop(partition, None)
        self._owed.discard(partition)

    def due(self, moved: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the (partition, next offset) that a commit sends, of which those in `moved` are new.

        Where there is none (a commit of top words alone) it sends the last ones again: they fence the commit.
        """
        owed = {p: self._committed[p] for p in self._owed}
        return list((owed | dict(moved)).items()) or list(self._committed.items())

    def of_group(self, due: list[tuple[int, int]]) -> list[TopicPartition]:
        """Return what is sent to the transaction for the group."""
        text = self._now.text
        return [TopicPartition(self._topic, partition, offset, text(offset)) for partition, offset in due]

    def records(self, due: list[tuple[int, int]], owned: Collection[int]) -> _core.Records:
        """Return the records for the topic `positions`; all go to the partition of the first one that is owned."""
        place, text = min(owned, default=0), self._now.text
        new = [(p, offset) for p, offset in due if p in self._owed or self._committed.get(p) != offset]
        return _core.Records([(place, positions.key(self._stage, p), text(offset).encode()) for p, offset in new])

    def committed(self, due: list[tuple[int, int]]) -> None:
        """Take note that a commit succeeded."""
        self._committed.update(due)
        self._owed.clear()

    def close(self) -> None:
        """Let go of the client that reads `positions`, where there is one."""
        self._stop_reading()

    def _stable(self, consumer: Consumer, partitions: list[int]) -> list[TopicPartition] | None:
        """Return the group's offsets, once no pending transaction can change them."""
        if self._reading is not None:
            found, _ = self._reading
            if {one.partition for one in found} == set(partitions):
                return found
            self._stop_reading()
        try:
            found = consumer.committed([TopicPartition(self._topic, p) for p in partitions], _WAIT_SECONDS)
        except KafkaException as error:
            if failures.meaning(failures.of(error)).passes:
                return None
            raise
        errors = [p.error for p in found if p.error is not None]
        for refusal in errors:
            if failures.meaning(refusal) is Failure.REFUSED:
                raise KafkaException(refusal)
        return None if errors else found

    def _said(self, found: list[TopicPartition]) -> Recorded | None:
        """Return what the topic `positions` says, where that matters; none where it isn't known yet."""
        if self._reading is None:
            absent = [TopicPartition(self._topic, one.partition) for one in found if one.offset < 0]
            set_by_others = any(one.offset >= 0 and not positions.is_own(one) for one in found)
            # A partition that never had a record has no offset, and needs none.
            if not set_by_others and not (absent and any(topics.ends(self._admin, absent).values())):
                return Recorded()
            self._reading = found, Reading(self._config, self._admin)
        said = self._reading[1].step()
        if said is not None and not said.complete:
            raise ConfigurationError(
                f"topic {self._config.topic('positions')} was made again, and Kafka has no offset of {self._topic}: "
                "start wcsup run anew, which finds out whether counting can go on"
            )
        return said

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading[1].close()
            self._reading = None

    def _kept(self, partition: int, offset: int, start: int) -> int:
        """Return where a partition goes on that is left from `start` on."""
        if 0 < offset < start:
            log.warning(
                "%d offsets of topic %s, partition %d, from %d on, were deleted by its retention before they were "
                "counted: what stood there is lost",
                start - offset,
                self._topic,
                partition,
                offset,
            )
        return max(offset, start)
