"""Reading an application's history: the logs of its partitions, and what the coordinators wrote down.

The application may go on meanwhile. To say which marker belongs to which decision, a moment is needed at which a name
has no transaction under way. It is found by asking for the end of the coordinator's log, then for the ends of all
partitions, then for the end of the coordinator's log again: where that has not moved, and its last step is the end of a
transaction, all markers below these ends are of the decisions that are known. Workers begin their transactions late, so
that such moments come many times a second, and names that no process has any more rest always.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.audit.analyses import Gathered, Record, judge
from wcsup.audit.history import HistoryReport
from wcsup.audit.reading import HeldBackError, TopicReader
from wcsup.audit.transactions import PartitionLog
from wcsup.config import Config
from wcsup.kafka import clients, failures, hanging, outcomes, topics
from wcsup.kafka.batches import batches
from wcsup.kafka.hanging import OFFSETS
from wcsup.kafka.outcomes import STATES, Step
from wcsup.kafka.requests import Brokers, Layout, Place

_LOOKED_AT = ("lines", "words", "counts", "dead-letters", "positions")
_COMPACTED = ("counts", "positions")
_RIGHTS = f"wcsup doctor --acls lists what it takes, such as READ on {STATES}"
_REST_SECONDS = 10.0
"""How long a moment of rest is waited for."""
_PAUSE_SECONDS = 0.01

Answer = TypeVar("Answer")
OnPlaces = Callable[[int, int], None]
"""Called with how many partitions' logs are read, and how many there are."""


def history(config: Config, admin: AdminClient, on_progress: OnPlaces = lambda *_: None) -> HistoryReport:
    """Read the history of an application and make all analyses.

    `config.partitions` is what the application has. What this user may not read is in the result's `undecided`.
    """
    try:
        with closing(_Gathering(config, admin, on_progress)) as gathering:
            found = gathering.run()
            return judge(found)
    except KafkaException as failed:
        error = failures.of(failed)
        if error.code() not in {*hanging.REFUSED, KafkaError._UNSUPPORTED_FEATURE}:
            raise
        why = "" if error.code() == KafkaError._UNSUPPORTED_FEATURE else f"; {_RIGHTS}"
        what = f"the history can't be read: {error.str()}{why}"
    except HeldBackError as error:
        what = str(error)
    return HistoryReport(undecided=[what])


class _Gathering:
    """Reads what the analyses need."""

    def __init__(self, config: Config, admin: AdminClient, on_progress: OnPlaces) -> None:
        self._config, self._admin, self._on_progress = config, admin, on_progress
        self._brokers = Brokers(config)
        self._names = [*map(config.topic, _LOOKED_AT), OFFSETS, STATES]
        self._layout = Layout({}, {})
        self._reader = TopicReader(config, admin, clients.UNCOMMITTED)
        self._logs: dict[Place, PartitionLog] = {}
        self._steps: dict[str, list[Step]] = {}

    def close(self) -> None:
        """Close all connections."""
        self._brokers.close()
        self._reader.close()

    def run(self) -> Gathered:
        self._find_out()
        identity = topics.identity(self._admin, self._config)
        places = self._places()
        compacted = {*map(self._config.topic, _COMPACTED), OFFSETS}
        starts = topics.starts(self._admin, [TopicPartition(*place) for place in places])
        self._logs = {
            place: PartitionLog(place, starts[place], compacted=place[0] in compacted, sequenced=place[0] != OFFSETS)
            for place in places
        }
        self._read_logs(self._ends())
        producers = {part.producer for log in self._logs.values() for part in log.parts}
        names = self._ask(lambda: self._brokers.names(self._layout, producers)) if producers else {}
        own = {name for name in names.values() if hanging.is_own(self._config, name)}
        writers = self._writers()
        rests = self._await_rest(own | {names[producer] for producer in writers if producer in names})
        if rests:
            self._read_logs({place: max(ends[place] for ends in rests.values()) for place in places})
        return Gathered(
            self._config,
            identity.topics,
            self._logs,
            self._steps,
            rests,
            self._contents,
            self._starts,
            len(writers - names.keys()),
        )

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Return what a question to the brokers returns; ask again, over new connections, after errors that pass."""

        def ask() -> Answer:
            try:
                return question()
            except KafkaException as failed:
                if failures.meaning(failures.of(failed)).passes:
                    self._brokers.close()
                    self._layout = self._brokers.layout(self._names)
                raise

        return topics.patiently(ask, clients.REACH_SECONDS)

    def _find_out(self) -> None:
        for topic in self._ask(lambda: self._brokers.topics(self._names))[1]:
            raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, f"topic {topic} is hidden"))
        self._layout = self._ask(lambda: self._brokers.layout(self._names))

    def _places(self) -> list[Place]:
        """Return the partitions to read: those of the topics, and the two that have the groups' offsets."""
        wanted = set(map(self._config.topic, _LOOKED_AT))
        places = sorted(place for place in self._layout.leaders if place[0] in wanted)
        if count := self._count(OFFSETS):
            groups = (self._config.map_group, self._config.reduce_group)
            places += sorted({(OFFSETS, outcomes.partition_of(group, count)) for group in groups})
        return places

    def _count(self, topic: str) -> int:
        return sum(place[0] == topic for place in self._layout.leaders)

    def _writers(self) -> set[int]:
        """Return the producers that wrote to `words` and `counts` in transactions."""
        internal = {self._config.topic("words"), self._config.topic("counts")}
        return {part.producer for place, log in self._logs.items() if place[0] in internal for part in log.parts}

    def _ends(self) -> dict[Place, int]:
        """Return where all logs end. Offsets come first: what they are behind is in its topic already."""
        ends: dict[Place, int] = {}
        for of_offsets in (True, False):
            some = [TopicPartition(*place) for place in self._logs if (place[0] == OFFSETS) is of_offsets]
            ends |= topics.ends(self._admin, some)
        return ends

    def _read_logs(self, ends: Mapping[Place, int]) -> None:
        for number, (place, log) in enumerate(self._logs.items()):
            self._on_progress(number, len(self._logs))
            while log.end < ends[place]:
                self._read_log(log, ends[place])

    def _read_log(self, log: PartitionLog, end: int) -> None:
        """Read a part of a partition's log; where it was deleted meanwhile, go on at its new start."""
        try:
            known_end, data = self._ask(lambda: self._brokers.fetch(self._layout, log.place, log.end))
        except KafkaException as failed:
            if failures.of(failed).code() != KafkaError.OFFSET_OUT_OF_RANGE:
                raise
            log.skip(topics.starts(self._admin, [TopicPartition(*log.place)])[log.place])
            return
        if not data and known_end >= end:
            log.reach(end)
        for batch in batches(data):
            if batch.last >= log.end and batch.offset < end:
                log.take(batch)

    def _await_rest(self, names: set[str]) -> dict[str, Mapping[Place, int]]:
        """Read the coordinators' steps about these names; return the ends of all partitions at a rest of each name."""
        states = _States(self._reader, self._admin, names, self._count(STATES))
        rests: dict[str, Mapping[Place, int]] = {}
        deadline = time.monotonic() + _REST_SECONDS
        while len(rests) < len(names):
            before, ends, after = states.ends(), self._ends(), states.ends()
            states.read(after)
            for name in names - rests.keys():
                where = states.partitions[name]
                if before[where] == after[where] and states.over(name):
                    rests[name] = ends
                    self._steps[name] = list(states.steps[name])
            if time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
        self._steps = states.steps | self._steps
        return rests

    def _contents(self, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
        for messages in self._reader.read_topic(topic, spans):
            for message in messages:
                yield message.partition() or 0, message.offset() or 0, message.key(), message.value()

    def _starts(self, name: str) -> Mapping[int, int]:
        return self._reader.starts(name)


class _States:
    """What the coordinators wrote down about some names."""

    def __init__(self, reader: TopicReader, admin: AdminClient, names: Iterable[str], count: int) -> None:
        """`count` is how many partitions `__transaction_state` has."""
        self._reader, self._admin = reader, admin
        self.partitions = {name: outcomes.partition_of(name, count) for name in names}
        """The partition that has a name's steps."""
        self.steps: dict[str, list[Step]] = {name: [] for name in self.partitions}
        """The steps that are known, without a gap between them."""
        self._last: dict[str, Step] = {}
        self._read = dict.fromkeys(self.partitions.values(), 0)
        """Up to where each partition is read."""

    def ends(self) -> dict[int, int]:
        """Return where the partitions end."""
        where = [TopicPartition(STATES, p) for p in self._read]
        return {p: end for (_, p), end in topics.ends(self._admin, where).items()}

    def read(self, ends: Mapping[int, int]) -> None:
        """Read on. Where compaction left a gap, the steps before it are dropped: others are missing among them."""
        for messages in self._reader.read_topic(STATES, {p: (self._read[p], end) for p, end in ends.items()}):
            for message in messages:
                partition, offset = message.partition() or 0, message.offset() or 0
                if offset > self._read[partition]:
                    for name, steps in self.steps.items():
                        if self.partitions[name] == partition:
                            steps.clear()
                self._read[partition] = offset + 1
                step = outcomes.step(message.key(), message.value())
                if step is not None and step.name in self.steps:
                    self.steps[step.name].append(step)
                    self._last[step.name] = step
        self._read = dict(ends)

    def over(self, name: str) -> bool:
        """Return whether no transaction of a name is under way."""
        return name in self._last and self._last[name].over
