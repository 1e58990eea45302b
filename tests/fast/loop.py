"""The neighbours of a worker's parts, as a test wants them: what they were told stands in one list, in order."""

from collections.abc import Callable
from typing import Any, cast

from clocks import Clock
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from wcsup.config import Config
from wcsup.errors import RefusedError
from wcsup.kafka.ownership import Orphans
from wcsup.kafka.reader import Notice, Reader
from wcsup.pipeline.membership import Membership, Ties
from wcsup.pipeline.offsets import Offsets
from wcsup.pipeline.patience import Patience
from wcsup.pipeline.stage import Stage

Told = list[tuple[Any, ...]]


class FakeConsumer:
    """A consumer whose callbacks a test calls."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.seek_fails: KafkaError | None = None
        self.id = "member"
        self.polled: list[KafkaError] = []
        self.on: dict[str, Callable[[Any, list[TopicPartition]], None]] = {}

    def subscribe(self, topics: list[str], **on: Callable[[Any, list[TopicPartition]], None]) -> None:
        self.told.append(("subscribe", *topics))
        self.on = on

    def unsubscribe(self) -> None:
        self.told.append(("unsubscribe",))

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("pause", {p.partition for p in partitions}))

    def seek(self, to: TopicPartition) -> None:
        if self.seek_fails is not None:
            raise KafkaException(self.seek_fails)
        self.told.append(("seek", to.partition, to.offset))

    def committed(self, partitions: list[TopicPartition], _seconds: float) -> None:
        self.told.append(("committed", *(p.partition for p in partitions)))

    def memberid(self) -> str:
        self.told.append(("memberid",))
        return self.id

    def poll(self, _seconds: float) -> Message | None:
        if not self.polled:
            return None
        error = self.polled.pop()
        return cast("Message", type("Polled", (), {"error": lambda _: error})())


class FakeInbox:
    since: float | None = 0.0

    def since_heartbeat(self) -> float | None:
        return self.since


class FakeReader:
    """A reader that has what a test gives it."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.consumer = FakeConsumer(told)
        self.inbox = FakeInbox()
        self.notices: list[Notice] = []
        self.waits: list[float] = []

    def read(self, seconds: float, size: int = 0) -> list[Notice]:  # noqa: ARG002 - as of `Reader`
        self.waits.append(round(seconds, 3))
        notices, self.notices = self.notices, []
        return notices

    def assign_paused(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("assign_paused", {p.partition for p in partitions}))

    def unassign(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("unassign", {p.partition for p in partitions}))

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.told.append(("resume", {p.partition for p in partitions}))

    def close(self) -> None:
        self.told.append(("close",))


class FakeStage:
    """A stage that opens partitions as soon as their offsets are found."""

    input = "words"
    gather_seconds = 0.0

    def __init__(self, told: Told) -> None:
        self.told = told
        self.beginning: set[int] = set()
        self.taken = self.taken_bytes = 0
        self.comes = 0
        """Records that the next `add` takes."""
        self.full = False

    def begin(self, partition: int) -> None:
        self.told.append(("begin", partition))
        self.beginning.add(partition)

    def opened(self, committed: Callable[[list[int]], dict[int, int] | None]) -> dict[int, int]:
        found = committed(sorted(self.beginning)) if self.beginning else {}
        if found:
            self.beginning.clear()
        return found or {}

    def own(self, partition: int, offset: int) -> None:
        self.told.append(("own", partition, offset))

    def disown(self, partition: int, *, again: bool = False) -> None:
        self.told.append(("disown again" if again else "disown", partition))
        self.beginning.discard(partition)

    def add(self, _inbox: object) -> None:
        self.taken += self.comes
        self.comes = 0

    def clear(self) -> None:
        self.told.append(("clear",))


class FakeOffsets:
    """The group's offsets: 100 for each partition."""

    reading = False

    def __init__(self) -> None:
        self.refused: RefusedError | None = None
        self.asked = 0

    def find(self, _consumer: object, partitions: list[int]) -> dict[int, int]:
        self.asked += 1
        if self.refused is not None:
            raise self.refused
        return dict.fromkeys(partitions, 100)

    def begin(self, partitions: set[int]) -> None: ...

    def open(self, partition: int, offset: int) -> None: ...

    def drop(self, partition: int) -> None: ...


class FakeOrphans:
    found_are: frozenset[int] = frozenset()

    def found(self, _member: Callable[[], str]) -> frozenset[int]:
        return self.found_are


class Loop:
    """A membership with all that it knows, and a clock that a test moves."""

    def __init__(self, **config: Any) -> None:
        self.told: Told = []
        self.config = Config(bootstrap_servers="nowhere:1", partitions=4, **config)
        self.clock, self.stage, self.offsets, self.orphans = Clock(), FakeStage(self.told), FakeOffsets(), FakeOrphans()
        self.patience = Patience(self.clock)
        self.settle_fails: Exception | None = None
        self.readers: list[FakeReader] = []
        self.membership = Membership(
            self.config,
            cast("Stage", self.stage),
            offsets=cast("Offsets", self.offsets),
            patience=self.patience,
            orphans=cast("Orphans", self.orphans),
            make_reader=self._make_reader,
            ties=Ties(self._beat, self._settle, lambda: None),
            clock=self.clock,
        )

    @property
    def reader(self) -> FakeReader:
        return self.readers[-1]

    def _make_reader(self) -> Reader:
        self.readers.append(FakeReader(self.told))
        return cast("Reader", self.readers[-1])

    def _beat(self) -> None:
        self.clock.now += 0.5

    def _settle(self) -> None:
        self.told.append(("settle",))
        if self.settle_fails is not None:
            raise self.settle_fails

    def call(self, name: str, *partitions: int) -> None:
        """Have the consumer call back: `on_assign`, `on_revoke` or `on_lost`."""
        topic = self.config.topic("words")
        self.reader.consumer.on[name](self.reader.consumer, [TopicPartition(topic, p) for p in partitions])

    def joined(self, *partitions: int) -> "Loop":
        """Have these partitions assigned and open; what was told till then is forgotten."""
        self.membership.join()
        self.call("on_assign", *partitions)
        self.membership.open()
        self.told.clear()
        return self
