"""Opening stores: the five steps between being assigned a partition and working on it.

1. Take the store's lock; the previous owner may be closing it, so the wait is bounded, not refused.
2. Read the group's committed offset of the input, waiting for pending transactions, and only then the
   uncommitted end of `counts`: totals of every commit that the offset tells of are below that end.
3. Check the stamp: a store of another cluster, topic or partition count, or with a stamp outside of
   `counts`, is discarded.
4. Read `counts` from the stamp to that end: until the partition's EOF is reported there or past it,
   since control records and compaction leave gaps where a "last record" is waited for in vain. Partitions
   take turns, so that the totals of those being read fit memory: then a store that was empty is loaded in
   one go, in the order of its words, and no old total has to be looked up.
5. Hand the store over with the input offset to go on from.

Nothing here blocks for long: the work loop calls `step` between its polls, so that heartbeats, rebalances
and the partitions that are open already go on.
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
from wcsup.crash import point
from wcsup.errors import RetryError, StoreBrokenError
from wcsup.kafka import clients, topics
from wcsup.kafka.reader import Reader
from wcsup.state.directory import StateDirectory
from wcsup.state.pace import Pace
from wcsup.state.store import Cached, Stamp, Store, StoreLockedError, discard

log = logging.getLogger("wcsup.restore")

TOP_WORDS = 100
"""How many words of a partition are kept for `top`."""

LOCK_SECONDS = 20.0
"""How long another process may keep a store's lock before this one gives up and is started anew."""

_PAUSE_SECONDS = 0.2
"""How long to wait before the broker is asked again what it did not answer."""

_BATCH_RECORDS = 4_000
_WAIT_SECONDS = 0.05
"""How long one turn waits for records."""

_STEP_SECONDS = 0.1
"""How long one step reads: the work loop waits some milliseconds for its input between two of them."""

_TURN_RECORDS = 500_000
"""About so many records are read by the partitions that are at it together."""

_FOLD_BYTES = 64 << 20
"""Bound on the totals that are not in a store yet."""

KNOWN_BYTES = 128 << 20
"""Bound on the totals kept in memory for all partitions: at 9 to 12 bytes a word, more than 10 million words."""

_LOAD_WORDS = 10_000
"""From so many words on an empty store is loaded with a file: it costs some files and a sync, and then less a word."""


@dataclass(slots=True)
class Open:
    """A store that is up to date, and where its input goes on."""

    store: Store
    stamp: Stamp
    """What has been counted, without the top words."""
    top: _core.Top
    input_offset: int
    known: _core.Known | None
    """All totals of the store, where it was empty and they fit memory."""


class _Step(Enum):
    LOCK = auto()
    COMPARE = auto()
    WAIT = auto()
    """For its turn to be read."""
    READ = auto()


@dataclass(slots=True)
class _Opening:
    partition: int
    step: _Step
    since: float
    store: Store | None = None
    stamp: Stamp | None = None
    top: _core.Top | None = None
    known: _core.Known | None = None
    input_offset: int = 0
    first: int = 0
    end: int = 0


Committed = Callable[[list[int]], dict[int, int] | None]
"""Reads the group's committed offsets of input partitions; None where the broker has no stable answer yet."""


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
    ) -> None:
        self._config = config
        self._directory = directory
        self._admin = admin
        self._identity = identity
        self._clock = clock
        self._cached = Cached()
        self._topic = config.topic("counts")
        self._openings: dict[int, _Opening] = {}
        self._changelog = _core.Changelog()
        self._reader: Reader | None = None
        self._ask_again = 0.0
        self._pace = Pace(clock)
        self.read = 0
        """Records of `counts` read so far."""

    def begin(self, partition: int) -> None:
        """Start opening the store of an assigned partition."""
        self._openings[partition] = _Opening(partition, _Step.LOCK, self._clock())

    def abandon(self, partition: int) -> None:
        """Stop opening a store: its partition is gone. What was restored so far stays on disk and is right."""
        opening = self._openings.pop(partition, None)
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
        """Return in how many seconds all will be read at the pace so far; None where that can't be told."""
        if any(o.step in {_Step.LOCK, _Step.COMPARE} for o in self._openings.values()):
            return None
        progress = self.progress().values()
        return self._pace.remaining(sum(done for done, _ in progress), sum(todo for _, todo in progress))

    def _progress(self, opening: _Opening) -> tuple[int, int]:
        at = self._changelog.next_offset(opening.partition) if opening.step is _Step.READ else opening.first
        return at - opening.first, opening.end - opening.first

    def step(self, committed: Committed) -> dict[int, Open]:
        """Do a bounded piece of work; return the stores that are open now, by partition."""
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
        return opened

    def _tell(self) -> None:
        """Log how far the reading is; at its end, let go of the consumer."""
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        if not self._openings:
            records, seconds = self._pace.end(self.read)
            log.info("restored %d records of %s in %.2f s", records, self._topic, seconds)
            self._reader.close()
            self._reader = None
        elif self._pace.is_due():
            done, todo = (sum(each) for each in zip(*self.progress().values(), strict=True))
            left = self.remaining()
            soon = "" if left is None else f", {left:.0f} s left"
            log.info("restoring: %d of %d offsets of the open partitions read%s", done, todo, soon)

    def close(self) -> None:
        """Give up what is not open yet."""
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
                broken = error  # the others are opened first, so that one new start rebuilds all damaged ones
                continue
            opening.step = _Step.COMPARE
            point("open-lock")
        if broken is not None:
            raise broken

    # Steps 2 and 3
    def _compare(self, committed: Committed) -> dict[int, Open]:
        openings = self._at(_Step.COMPARE)
        if not openings or self._clock() < self._ask_again:
            return {}
        offsets = committed([o.partition for o in openings])
        if offsets is None:
            return {}
        point("open-compare")
        wanted = [TopicPartition(self._topic, o.partition) for o in openings]
        try:
            stable = topics.stable_ends(self._admin, wanted)  # before `end`: `Stamp.missed` relies on it
            end = topics.ends(self._admin, wanted)
            start = topics.starts(self._admin, wanted)
        except KafkaException as error:
            log.warning("the end of %s can't be read, trying again: %s", self._topic, error)
            self._ask_again = self._clock() + _PAUSE_SECONDS
            return {}
        opened = {}
        for opening in openings:
            first, last = start[self._topic, opening.partition], end[self._topic, opening.partition]
            opening.input_offset = offsets[opening.partition]
            self._check(opening, first, last)
            assert opening.stamp is not None  # noqa: S101 - set by _check
            if opening.stamp.missed(last, stable[self._topic, opening.partition]) <= 0:
                opened[opening.partition] = self._opened(opening)
                continue
            opening.step = _Step.WAIT
            opening.first, opening.end = opening.stamp.next_offset, last
        return opened

    def _check(self, opening: _Opening, start: int, end: int) -> None:
        fresh = Stamp(self._identity.cluster, self._identity.topics["counts"], self._config.partitions, start)
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
                opening.store = Store.open(store.path, self._cached)
            stamp = fresh
        opening.stamp = stamp or fresh
        opening.top = top_of(opening.stamp)
        opening.known = _core.Known() if opening.stamp.distinct == 0 else None

    # Step 4
    def _take_turns(self) -> None:
        """Begin to read those partitions that fit memory beside the ones being read, and always one."""
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

    def _read(self) -> dict[int, Open]:
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        before = self._changelog.taken
        for error, _ in self._reader.read(_WAIT_SECONDS, _BATCH_RECORDS):
            if error.code() != KafkaError._PARTITION_EOF:
                log.warning("reading %s: %s", self._topic, error.str())
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
                opened[opening.partition] = self._opened(opening)
        return opened

    def _stop_reading(self, opening: _Opening) -> None:
        assert self._reader is not None  # noqa: S101 - made by _take_turns
        self._changelog.disown(opening.partition)
        self._reader.unassign([TopicPartition(self._topic, opening.partition)])
        opening.step = _Step.WAIT

    def _write(self, opening: _Opening) -> None:
        store, stamp, top = opening.store, opening.stamp, opening.top
        assert store is not None and stamp is not None and top is not None  # noqa: S101 - set by steps 1 to 3
        totals = self._changelog.totals(opening.partition, self._old(opening))
        top.merge(totals)
        next_offset = self._changelog.next_offset(opening.partition)
        opening.stamp = stamp.after(totals, next_offset, own=False, top=latin(top))
        if store.empty and len(totals) >= _LOAD_WORDS:
            store.load(totals)
            point("open-loaded")
            store.write(None, opening.stamp)
        else:
            store.write(totals, opening.stamp)
        self._learn(opening, totals)

    def _old(self, opening: _Opening) -> list[bytes | None] | _core.Known:
        if opening.known is not None:
            return opening.known
        assert opening.store is not None  # noqa: S101 - opened in step 1
        return opening.store.lookup(self._changelog.words(opening.partition))

    def _learn(self, opening: _Opening, totals: _core.Totals) -> None:
        known = opening.known
        if known is not None and (not known.merge(totals) or known.memory > KNOWN_BYTES):
            opening.known = None

    # Step 5
    def _opened(self, opening: _Opening) -> Open:
        assert opening.store is not None and opening.stamp is not None and opening.top is not None  # noqa: S101
        stamp = replace(opening.stamp, top=())
        return Open(opening.store, stamp, opening.top, opening.input_offset, opening.known)

    def _at(self, step: _Step) -> list[_Opening]:
        return [opening for opening in self._openings.values() if opening.step is step]


def latin(top: _core.Top) -> tuple[tuple[str, int], ...]:
    """Return the words of `top` as a stamp keeps them."""
    return tuple((word.decode("latin-1"), total) for word, total in top.words())


def top_of(stamp: Stamp) -> _core.Top:
    """Return the top words that a stamp keeps."""
    return _core.Top(TOP_WORDS, [(word.encode("latin-1"), total) for word, total in stamp.top])
