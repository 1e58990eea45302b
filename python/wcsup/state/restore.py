"""Opening stores: the five steps between being assigned a partition and working on it.

1. Take the store's lock. The previous owner may still be closing the store, so wait for the lock, up to
   `LOCK_SECONDS`.
2. Read the group's committed offset of the input, waiting for pending transactions, and only then the
   high watermark of `counts`: the totals of every commit up to that offset are below it.
3. Check the stamp: a store of another cluster, topic or partition count, or with a stamp outside of
   `counts`, is discarded.
4. Read `counts` from the stamp to that high watermark. The end is the partition's EOF at or past it: a last
   record is no sign, since control records and compaction leave gaps. Partitions take turns, so that the
   totals being read fit into memory: then an empty store is loaded in one go, in the order of its words,
   and no old total has to be looked up.
5. Hand the partition over with the input offset at which it resumes.

Nothing here blocks for long: the work loop calls `step` between its polls, so that heartbeats, rebalances
and work on open partitions go on.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import RefusedError, RetryError, StoreBrokenError
from wcsup.kafka import clients, failures, refusals, topics
from wcsup.kafka.asking import Asking
from wcsup.kafka.failures import Failure
from wcsup.kafka.reader import Reader
from wcsup.process.crash import point
from wcsup.state.directory import StateDirectory
from wcsup.state.memory import partition_memory
from wcsup.state.pace import RestorePace
from wcsup.state.partition import Partition
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError, discard

log = logging.getLogger("wcsup.restore")

LOCK_SECONDS = 20.0
"""How long another process may keep a store's lock before this process gives up and is replaced."""

_PAUSE_SECONDS = 0.2
"""How long to wait before a failed request is made again."""

_BATCH_RECORDS = 4_000
_WAIT_SECONDS = 0.05
"""How long one turn waits for records."""

_STEP_SECONDS = 0.1
"""How long one step reads: between two steps the work loop waits some milliseconds for its input."""

_TURN_RECORDS = 500_000
"""About how many records the partitions have to read that take their turn together."""

_FOLD_BYTES = 64 << 20
"""Bound on the totals that are not in a store yet."""

_LOAD_WORDS = 10_000
"""With at least this many words an empty store is loaded with a sorted file: it costs some files and a sync, but less
for each word."""


class _Step(Enum):
    LOCK = auto()
    COMPARE = auto()
    WAIT = auto()
    """Until it is its turn to be read."""
    READ = auto()


@dataclass(slots=True)
class _Opening:
    partition: int
    step: _Step
    since: float
    before: Partition | None
    """The state that this process had of the partition when it closed the store."""
    store: Store | None = None
    state: Partition | None = None
    first: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Offsets of `counts`, by topic and partition."""

    stable: dict[tuple[str, int], int]
    end: dict[tuple[str, int], int]
    start: dict[tuple[str, int], int]


Committed = Callable[[list[int]], dict[int, int] | None]
"""Reads the group's committed offsets of input partitions; none where the broker has no stable offsets yet."""


class Restore:
    """The stores of one reducer that are being opened."""

    def __init__(
        self,
        config: Config,
        directory: StateDirectory,
        admin: AdminClient,
        identity: topics.Identity,
        *,
        clock: Callable[[], float] = time.monotonic,
        log_level: int = logging.INFO,
    ) -> None:
        """`log_level` is that of the lines about its progress."""
        self._config = config
        self._directory = directory
        self._admin = admin
        self._identity = identity
        self._clock, self._log_level = clock, log_level
        self._cached = Cached()
        self._topic = config.topic("counts")
        self._openings: dict[int, _Opening] = {}
        self._changelog = _core.Changelog()
        self._reader: Reader | None = None
        self._ask_again = 0.0
        self._offsets: dict[int, int] = {}
        """The input offsets of partitions whose bounds of `counts` are being requested."""
        self._reads = 0
        """How often these offsets were read."""
        self._bounds: Asking[_Bounds] = Asking("bounds")
        self._refused: dict[_Step, RefusedError] = {}
        """Refusals that hold steps up; kept, since librdkafka reports only once that it may not fetch, and retries."""
        self._pace = RestorePace(clock)
        self.read = 0
        """Records of `counts` read so far."""
        self.resident_bytes = partition_memory(config)
        """How many bytes the resident totals of each partition may take."""

    def begin(self, partition: int, before: Partition | None = None) -> None:
        """Start opening the store of an assigned partition; `before` is as in `Partition.of`."""
        self._offsets.pop(partition, None)
        self._openings[partition] = _Opening(partition, _Step.LOCK, self._clock(), before)

    def abandon(self, partition: int) -> None:
        """Stop opening a store, since its partition was released. What was restored so far stays valid on disk."""
        opening = self._openings.pop(partition, None)
        self._offsets.pop(partition, None)
        if opening is None:
            return
        if opening.store is not None:
            opening.store.close()
        if opening.step is _Step.READ:
            self._stop_reading(opening)

    @property
    def pending(self) -> bool:
        """Whether any store is not open yet."""
        return bool(self._openings)

    def progress(self) -> dict[int, tuple[int, int]]:
        """Return by partition how many offsets of `counts` were read, of how many."""
        return {partition: self._progress(opening) for partition, opening in self._openings.items()}

    def remaining(self) -> float | None:
        """Return the seconds until all is read at the pace so far; none where that can't be told."""
        if any(o.step in {_Step.LOCK, _Step.COMPARE} for o in self._openings.values()):
            return None
        progress = self.progress().values()
        return self._pace.remaining(sum(done for done, _ in progress), sum(todo for _, todo in progress))

    def _progress(self, opening: _Opening) -> tuple[int, int]:
        at = self._changelog.next_offset(opening.partition) if opening.step is _Step.READ else opening.first
        return at - opening.first, opening.end - opening.first

    def step(self, committed: Committed) -> dict[int, Partition]:
        """Do a bounded part of the work; return the stores that are open now, by partition.

        Raises `RefusedError` at each call for as long as `counts` may not be read; call it again then.
        """
        self._lock()
        opened = self._compare(committed)
        self._take_turns()
        until = self._clock() + _STEP_SECONDS
        while self._at(_Step.READ):
            opened |= self._read()
            if opened or self._clock() >= until:
                break
        for partition in opened:
            self._pace.passed(self._progress(self._openings.pop(partition))[1])
        if self._reader is not None:
            self._tell()
        for step, refused in self._refused.items():
            if self._at(step) and not opened:
                raise refused
        return opened

    def _judge(self, error: KafkaError, step: _Step, doing: str) -> None:
        if failures.meaning(error) is not Failure.REFUSED:
            log.warning("%s: %s", doing, error.str())
        elif step not in self._refused:
            about = replace(refusals.of_role(self._config, "reduce"), topic=self._topic)
            self._refused[step] = refusals.refused(self._config, error, about)

    def _tell(self) -> None:
        """Log the progress; at the end of all reading, close the consumer."""
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        if not self._openings:
            records, seconds = self._pace.end(self.read)
            log.log(self._log_level, "restored %d records of %s in %.2f s", records, self._topic, seconds)
            self._reader.close()
            self._reader = None
        elif self._pace.is_due():
            done, todo = (sum(each) for each in zip(*self.progress().values(), strict=True))
            left = self.remaining()
            soon = "" if left is None else f", {left:.0f} s left"
            log.log(self._log_level, "restoring: %d of %d offsets of the open partitions read%s", done, todo, soon)

    def close(self) -> None:
        """Stop opening the stores that are not open yet."""
        for partition in list(self._openings):
            self.abandon(partition)
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    # Step 1
    def _lock(self) -> None:
        broken: StoreBrokenError | None = None
        for opening in self._at(_Step.LOCK):
            path = self._directory.store(opening.partition)
            try:
                opening.store = Store.open(path, self._cached)
            except StoreLockedError as error:
                if self._clock() - opening.since > LOCK_SECONDS:
                    raise RetryError(f"store {path} is held by another process since {LOCK_SECONDS:.0f} s") from error
                continue
            except StoreBrokenError as error:
                broken = error  # all other stores are tried first, so that one new start rebuilds all damaged ones
                continue
            opening.step = _Step.COMPARE
            point("open-lock")
        if broken is not None:
            raise broken

    # Steps 2 and 3
    def _compare(self, committed: Committed) -> dict[int, Partition]:
        openings = self._at(_Step.COMPARE)
        if not openings or self._clock() < self._ask_again:
            return {}
        partitions = [o.partition for o in openings]
        if self._offsets.keys() != set(partitions):
            self._offsets = committed(partitions) or {}
            if not self._offsets:
                return {}
            self._reads += 1
            point("open-compare")
        wanted = [TopicPartition(self._topic, partition) for partition in partitions]
        try:
            bounds = self._bounds.answer(self._reads, lambda: self._ask(wanted))
        except KafkaException as failed:
            self._judge(failures.of(failed), _Step.COMPARE, f"the end of {self._topic} can't be read, trying again")
            self._ask_again = self._clock() + _PAUSE_SECONDS
            self._offsets = {}
            return {}
        if bounds is None:
            return {}
        offsets, self._offsets = self._offsets, {}
        self._refused.pop(_Step.COMPARE, None)
        opened = {}
        for opening in openings:
            where = self._topic, opening.partition
            first, last = bounds.start[where], bounds.end[where]
            state = opening.state = self._check(opening, first, last)
            state.input_offset = offsets[opening.partition]
            state.totals.limit(self.resident_bytes)
            if state.stamp.missed(last, bounds.stable[where]) <= 0:
                opened[opening.partition] = state
                continue
            opening.step = _Step.WAIT
            opening.first, opening.end = state.stamp.next_offset, last
        return opened

    def _ask(self, partitions: list[TopicPartition]) -> "_Bounds":
        stable = topics.stable_ends(self._admin, partitions)  # before `end`: `Stamp.missed` relies on it
        return _Bounds(stable, topics.ends(self._admin, partitions), topics.starts(self._admin, partitions))

    def _check(self, opening: _Opening, start: int, end: int) -> Partition:
        identity, partitions = self._identity, self._config.partitions
        fresh = Stamp(identity.cluster, identity.topics["counts"], partitions, start, unlisted=0)
        store = opening.store
        assert store is not None  # noqa: S101 - opened in step 1
        stamp = store.stamp
        fits = stamp is not None and (
            (stamp.cluster, stamp.topic, stamp.partitions) == (fresh.cluster, fresh.topic, fresh.partitions)
            and start <= stamp.next_offset <= end
        )
        if not fits:
            if not store.empty:
                why = "is of another topic, time or version, or was loaded in part"
                log.warning("store %s %s, and is rebuilt", store.path, why)
                store.close()
                discard(store.path)
                store = opening.store = Store.open(store.path, self._cached)
            stamp = fresh
        return Partition.of(store, stamp or fresh, opening.before)

    # Step 4
    def _take_turns(self) -> None:
        """Begin to read partitions that fit into memory beside those being read; one is always read."""
        records = sum(self._progress(opening)[1] for opening in self._at(_Step.READ))
        new: list[_Opening] = []
        for opening in self._at(_Step.WAIT):
            records += opening.end - opening.first
            if records > _TURN_RECORDS and (new or self._at(_Step.READ)):
                break
            new.append(opening)
        if not new:
            return
        if self._reader is None:
            self._reader = clients.restoring_reader(self._config)
            self._pace.begin(self.read)
        for opening in new:
            opening.step = _Step.READ
            self._changelog.own(opening.partition, opening.first)
        partitions = [TopicPartition(self._topic, o.partition, o.first) for o in new]
        self._reader.assign(partitions)

    def _read(self) -> dict[int, Partition]:
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        before, goes_on = self._changelog.taken, True
        for error, _ in self._reader.read(_WAIT_SECONDS, _BATCH_RECORDS):
            if error.code() != KafkaError._PARTITION_EOF and not failures.of_a_group(error):
                self._judge(error, _Step.READ, f"reading {self._topic}")
                goes_on = False
        self._changelog.add(self._reader.inbox)
        self.read += self._changelog.taken - before
        point("open-read")
        opened = {}
        for opening in self._at(_Step.READ):
            done = self._changelog.next_offset(opening.partition) >= opening.end
            if done or self._changelog.memory > _FOLD_BYTES:
                self._write(opening)
            if done:
                self._stop_reading(opening)
                assert opening.state is not None  # noqa: S101 - set by step 3
                opened[opening.partition] = opening.state
        if goes_on and (opened or self._changelog.taken > before):
            self._refused.pop(_Step.READ, None)
        return opened

    def _stop_reading(self, opening: _Opening) -> None:
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        self._changelog.disown(opening.partition)
        self._reader.unassign([TopicPartition(self._topic, opening.partition)])
        opening.step = _Step.WAIT

    def _write(self, opening: _Opening) -> None:
        state, partition = opening.state, opening.partition
        assert state is not None  # noqa: S101 - set by step 3
        totals = state.new_totals(self._changelog, partition)
        state.take(totals, self._changelog.next_offset(partition), own=False)
        load = state.store.empty and len(totals) >= _LOAD_WORDS
        if load:
            state.store.load(totals)
            point("open-loaded")
        state.write(loaded=load)

    def _at(self, step: _Step) -> list[_Opening]:
        return [opening for opening in self._openings.values() if opening.step is step]
