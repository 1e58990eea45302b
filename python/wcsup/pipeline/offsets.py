"""The input offsets of a worker: where its partitions resume, and which offsets its commits write."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import failures, positions, refusals, topics
from wcsup.kafka.asking import Asking
from wcsup.kafka.failures import Failure
from wcsup.kafka.positions import Reading, Recorded, Start

log = logging.getLogger("wcsup.offsets")

_WAIT_SECONDS = 0.2
"""How long one request for stable offsets may hold up the work loop; the loop repeats it."""


class Offsets:
    """Reads the offsets at which partitions of a stage's topic resume, and gives those that a commit has to write."""

    def __init__(self, config: Config, admin: AdminClient, stage: str, identity: topics.Identity) -> None:
        """`stage` is the plain name of the stage's topic, `lines` or `words`."""
        self._config, self._admin, self._stage = config, admin, stage
        self._topic = config.topic(stage)
        self._about = replace(refusals.of_role(config, "map" if stage == "lines" else "reduce"), topic=self._topic)
        self._now = positions.now(config, identity, stage)
        self._committed: dict[int, int] = {}
        """Committed offsets of the open partitions."""
        self._owed: set[int] = set()
        """Open partitions whose offset is missing in the group or in the topic `positions`."""
        self._found: dict[int, Start] = {}
        """Where the partitions that are being opened resume."""
        self._stable_offsets: list[TopicPartition] | None = None
        """The group's stable offsets, for which the other requests below are made."""
        self._reads = 0
        """How often the stable offsets were read."""
        self._ends: Asking[dict[tuple[str, int], int]] = Asking("ends")
        self._starts: Asking[dict[tuple[str, int], int]] = Asking("starts")
        self._reading: Reading | None = None

    @property
    def owed(self) -> bool:
        """Whether a commit is due even without new input."""
        return bool(self._owed)

    @property
    def reading(self) -> bool:
        """Whether the topic `positions` is being read, which may be refused at any time."""
        return self._reading is not None

    @property
    def counted(self) -> Mapping[int, int]:
        """The first uncounted offset of each open partition."""
        return self._committed

    def find(self, consumer: Consumer, partitions: list[int]) -> dict[int, int] | None:
        """Return the offset at which each partition resumes, 0 where nothing was counted; none where not known yet.

        0 and not `OFFSET_BEGINNING`: librdkafka resolves the latter by a request that costs half a second. Where offset
        0 was deleted, `auto.offset.reset` finds the start.

        Waits a moment for pending transactions (KIP-447). If the group has no offset, or one that somebody set by hand,
        the topic `positions` is read up to its end after that wait, a part in each call. An offset below the start of
        the log, since retention has overtaken it, is moved to that start.

        Raises `ConfigurationError` where the application was started with another `--words`, lost its `counts`, or has
        an offset that somebody set by hand. Raises `RefusedError` for offsets that may not be read: call it again then.
        """
        with refusals.told(self._config, self._about):
            return self._find(consumer, partitions)

    def _find(self, consumer: Consumer, partitions: list[int]) -> dict[int, int] | None:
        found = self._stable(consumer, partitions)
        if found is None:
            return None
        try:
            said = self._said(found)
            first = None if said is None else self._first(partitions)
        except KafkaException as error:
            self._stop_reading()
            if failures.meaning(failures.of(error)) is Failure.REFUSED:
                raise
            log.warning("where %s goes on can't be read, trying again: %s", self._topic, error)
            return None
        if said is None or first is None:
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

    def begin(self, partitions: Collection[int]) -> None:
        """Take note that partitions are opened anew: offsets that were found for them before are not valid any more."""
        if self._stable_offsets is not None and not {p.partition for p in self._stable_offsets}.isdisjoint(partitions):
            self._stop_reading()

    def open(self, partition: int, offset: int) -> None:
        """Take note that a partition is read from `offset`, which `find` returned."""
        self._committed[partition] = offset
        if self._found.pop(partition).owed:
            self._owed.add(partition)
        else:
            self._owed.discard(partition)

    def drop(self, partition: int) -> None:
        """Forget a partition: another worker owns it, or it is opened anew."""
        self._committed.pop(partition, None)
        self._owed.discard(partition)

    def due(self, moved: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the (partition, next offset) pairs that a commit sends: those in `moved`, and those that are owed.

        Without any such pair (a commit of top words alone) it sends the last offsets again, so that the commit is
        fenced.
        """
        owed = {p: self._committed[p] for p in self._owed}
        return list((owed | dict(moved)).items()) or list(self._committed.items())

    def of_group(self, due: list[tuple[int, int]]) -> list[TopicPartition]:
        """Return the offsets for `send_offsets_to_transaction`."""
        text = self._now.text
        return [TopicPartition(self._topic, partition, offset, text(offset)) for partition, offset in due]

    def records(self, due: list[tuple[int, int]], owned: Collection[int]) -> _core.Records:
        """Return the records for the topic `positions`. All go to one partition, numbered like the first owned one."""
        place, text = min(owned, default=0), self._now.text
        new = [(p, offset) for p, offset in due if p in self._owed or self._committed.get(p) != offset]
        return _core.Records([(place, positions.key(self._stage, p), text(offset).encode()) for p, offset in new])

    def committed(self, due: list[tuple[int, int]]) -> None:
        """Take note that a commit succeeded."""
        self._committed.update(due)
        self._owed.clear()

    def close(self) -> None:
        """Close the client that reads `positions`, if there is one."""
        self._stop_reading()

    def _stable(self, consumer: Consumer, partitions: list[int]) -> list[TopicPartition] | None:
        """Return the group's offsets once no pending transaction can change them; none until then."""
        if self._stable_offsets is not None:
            if {one.partition for one in self._stable_offsets} == set(partitions):
                return self._stable_offsets
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
        if errors:
            return None
        self._stable_offsets = found
        self._reads += 1
        return found

    def _first(self, partitions: list[int]) -> dict[tuple[str, int], int] | None:
        """Return the first offset of each partition that is still there; none where not known yet."""
        wanted = [TopicPartition(self._topic, p) for p in partitions]
        return self._starts.answer(self._reads, lambda: topics.starts(self._admin, wanted))

    def _said(self, found: list[TopicPartition]) -> Recorded | None:
        """Return what the topic `positions` has, empty where the group's offsets suffice; none where not known yet."""
        if self._reading is None:
            absent = [TopicPartition(self._topic, one.partition) for one in found if one.offset < 0]
            set_by_others = any(one.offset >= 0 and not positions.is_own(one) for one in found)
            if not set_by_others:
                if not absent:
                    return Recorded()
                # A partition that never had a record has no offset, and needs none.
                ends = self._ends.answer(self._reads, lambda: topics.ends(self._admin, absent))
                if ends is None:
                    return None
                if not any(ends.values()):
                    return Recorded()
            self._reading = Reading(self._config, self._admin)
        said = self._reading.step()
        if said is not None and not said.complete:
            raise ConfigurationError(
                f"topic {self._config.topic('positions')} was made again, and Kafka has no offset of {self._topic}: "
                "start wcsup run anew, which finds out whether counting can go on"
            )
        return said

    def _stop_reading(self) -> None:
        self._stable_offsets = None
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _kept(self, partition: int, offset: int, start: int) -> int:
        """Return where a partition resumes whose first remaining offset is `start`."""
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
