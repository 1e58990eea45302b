"""The transactions of a history: what each wrote to which partition, how each was decided, and what readers see of it.

A partition's log has a producer's records, and behind them a marker that says commit or abort; the records between two
markers are that producer's part of one transaction there. Which parts are one transaction no record says. The
coordinator does: for each transaction it writes down the decision and all partitions, and puts one marker in each of
them before the next transaction of that name begins. So the n-th marker of a producer in a partition belongs to its
n-th decision with that partition, counted from the first one, or backwards from a moment at which the name rested.

Timestamps are not used: brokers' clocks differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Literal

from wcsup.kafka.batches import RecordBatch
from wcsup.kafka.hanging import OFFSETS
from wcsup.kafka.outcomes import Decision, Step
from wcsup.kafka.requests import Place

Kind = Literal[
    "aborted-read",
    "lost-write",
    "duplicate",
    "inconsistent-offsets",
    "nonmonotonic-poll",
    "nonmonotonic-send",
    "write-cycle",
    "open-transaction",
]

_SEQUENCES = 1 << 31
"""Sequence numbers begin again at 0 behind the highest 32-bit number."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something in the history that must not be there."""

    kind: Kind
    """As Jepsen names it, see the guide."""
    what: str
    """In words, for a reader."""
    topic: str
    """Where to look first."""
    partition: int
    """The topic's partition."""
    offset: int | None
    """Of the first record that it is about; none where that is not known."""
    transactional_id: str | None = None
    """Who wrote it; none where no coordinator knows the producer, or the producer had no transaction."""
    producer: int | None = None
    """The producer's id; none where it has none."""
    epoch: int | None = None
    """The producer's epoch."""


def told(name: str | None, producer: int, epoch: int) -> str:
    """Return a transaction in words."""
    return f"a transaction of {name or 'an unknown name'} (producer id {producer}, epoch {epoch})"


@dataclass(slots=True, eq=False)
class Part:
    """What one transaction wrote to one partition."""

    place: Place
    producer: int
    epoch: int
    first: int | None = None
    """Offset of its first record; none where it wrote none."""
    last: int | None = None
    marker: int | None = None
    """Offset of its marker; none while it is open."""
    commit: bool | None = None
    """What the marker says."""
    decided: int | None = None
    """The epoch in the marker, which is a later one where a successor had the transaction aborted."""
    whole: bool = False
    """Whether all of its records are there, and none is deleted."""
    transaction: "OneTransaction | None" = None

    @property
    def offsets(self) -> str:
        """Its offsets in words."""
        if self.first is None:
            return f"the marker at offset {self.marker}"
        return f"offset {self.first}" if self.first == self.last else f"offsets {self.first} to {self.last}"


@dataclass(slots=True, eq=False)
class OneTransaction:
    """A transaction as its coordinator decided it."""

    name: str
    decision: Decision
    parts: dict[Place, Part] = field(default_factory=dict)
    """What is known of its parts."""


class PartitionLog:
    """The log of one partition, as far as it is still there."""

    def __init__(self, place: Place, start: int, *, compacted: bool, sequenced: bool = True) -> None:
        """Begin at a log's start.

        `sequenced`: whether producers number their records; a group's coordinator writes the offsets of transactions
        under the number 0 each time.
        """
        self.place, self.start = place, start
        self.end = start
        """Behind the last batch that was read."""
        self.whole_from = start
        """From here on nothing is missing between the batches."""
        self.records = 0
        self.plain = 0
        """Records without a transaction."""
        self.parts: list[Part] = []
        """In the order of their first batch, be it of records or a marker."""
        self.anomalies: list[Anomaly] = []
        self._compacted, self._sequenced = compacted, sequenced
        self._open: dict[int, Part] = {}
        self._ended: set[int] = set()
        """Producers with a marker."""
        self._next: dict[tuple[int, int], int] = {}
        """The sequence number that is expected next, by producer and epoch."""
        self._epochs: dict[int, int] = {}
        self._batches: list[tuple[int, int, Part | None]] = []

    @property
    def complete(self) -> bool:
        """Whether the log is there from its first record on."""
        return self.whole_from == 0

    def skip(self, start: int) -> None:
        """Take note that all below an offset was deleted during the reading."""
        self.end = max(self.end, start)
        self._break(self.end)
        self._next.clear()
        self._open.clear()

    def take(self, batch: RecordBatch) -> None:
        """Add the next batch."""
        self.reach(batch.offset)
        if batch.records < batch.last - batch.offset + 1:
            self._break(batch.last + 1)
        self.end = batch.last + 1
        if batch.producer >= 0:
            self._check_epoch(batch)
        if batch.marker:
            self._end(batch)
            return
        self.records += batch.records
        if self._sequenced and batch.producer >= 0 and batch.sequence >= 0:
            self._check_sequence(batch)
        part = self._part(batch) if batch.transactional else None
        self.plain += 0 if batch.transactional else batch.records
        if part is not None:
            part.last = batch.last
            part.whole &= batch.offset >= self.whole_from
        self._batches.append((batch.offset, batch.last, part))

    def reach(self, offset: int) -> None:
        """Take note that there is nothing more below an offset."""
        if offset > self.end:
            if not self._compacted:
                what = f"offsets {self.end} to {offset - 1} of {_at(self.place)} are not there"
                self.anomalies.append(Anomaly("lost-write", what, *self.place, self.end))
            self._break(offset)
            self.end = offset

    def written(self) -> Iterator[tuple[int, int, Part | None]]:
        """Yield first and last offset of each batch of records, and whose part it is; none without a transaction."""
        yield from self._batches

    def open(self) -> list[Part]:
        """Return the parts that have no marker."""
        return list(self._open.values())

    def _break(self, offset: int) -> None:
        """Take note that something is missing below an offset: records and markers, nobody knows whose."""
        self.whole_from = offset
        self._ended.clear()
        for part in self._open.values():
            part.whole = False

    def _part(self, batch: RecordBatch) -> Part:
        part = self._open.get(batch.producer)
        if part is None:
            part = self._open[batch.producer] = Part(self.place, batch.producer, batch.epoch, batch.offset)
            # The first batch of an epoch begins its part; so does the first one behind a marker.
            first = self._sequenced and batch.sequence == 0
            part.whole = first or batch.producer in self._ended or self.complete
            self.parts.append(part)
        return part

    def _end(self, batch: RecordBatch) -> None:
        part = self._open.pop(batch.producer, None)
        if part is None:
            part = Part(self.place, batch.producer, batch.epoch)
            part.whole = batch.producer in self._ended or self.complete
            self.parts.append(part)
        part.marker, part.commit, part.decided = batch.offset, batch.commit, batch.epoch
        part.whole &= batch.offset >= self.whole_from
        self._ended.add(batch.producer)

    def _check_epoch(self, batch: RecordBatch) -> None:
        last = self._epochs.get(batch.producer, -1)
        if batch.epoch < last:
            what = f"{_who(batch)} wrote to {_at(self.place)} at offset {batch.offset} after epoch {last} did"
            self._find("nonmonotonic-send", what, batch)
        self._epochs[batch.producer] = max(last, batch.epoch)

    def _check_sequence(self, batch: RecordBatch) -> None:
        """Compare with the producer's last batch. Compaction takes batches away, but none appears twice by it."""
        who, length = (batch.producer, batch.epoch), batch.last - batch.offset + 1
        expected = self._next.get(who, batch.sequence)
        ahead = (batch.sequence - expected) % _SEQUENCES
        where = f"at offset {batch.offset} of {_at(self.place)}"
        if ahead >= _SEQUENCES // 2:
            what = f"{_who(batch)} has sequence number {batch.sequence} {where}, and had {expected - 1} before"
            self._find("duplicate", what, batch)
        elif ahead and not self._compacted:
            what = f"{_who(batch)} has sequence number {batch.sequence} {where}, where {expected} was to be"
            self._find("lost-write", what, batch)
        self._next[who] = (batch.sequence + length) % _SEQUENCES

    def _find(self, kind: Kind, what: str, batch: RecordBatch) -> None:
        self.anomalies.append(Anomaly(kind, what, *self.place, batch.offset, None, batch.producer, batch.epoch))


class Decided:
    """The transactions of one `transactional.id`, as its coordinator decided them, joined with the partitions' logs."""

    def __init__(self, name: str, steps: Sequence[Step], rest: Mapping[Place, int] | None) -> None:
        """Take the `steps` that the coordinator still has, in their order.

        `rest` has each partition's end at a moment at which no transaction of the name was under way, and behind which
        `steps` end; none where there was no such moment.
        """
        self.name, self._rest = name, rest
        self.transactions = [OneTransaction(name, one.decision) for one in steps if one.decision is not None]
        self.producers = {one.producer for one in steps}
        firsts = {one.producer: one for one in reversed(steps)}
        self._known = {producer for producer, one in firsts.items() if one.began and one.epoch == 0}
        """Producers all of whose steps are there."""
        self.anomalies: list[Anomaly] = []

    def join(self, log: PartitionLog) -> None:
        """Give each transaction its part in a partition, and compare decisions with markers."""
        end = -1 if self._rest is None else self._rest.get(log.place, -1)
        for producer in self.producers:
            parts = [part for part in log.parts if part.producer == producer]
            decided = [
                one
                for one in self.transactions
                if one.decision.producer == producer and log.place in one.decision.places
            ]
            self._join(_kept(parts, log.whole_from), decided, end, known=producer in self._known and log.complete)

    def _join(self, parts: list[Part], decided: list[OneTransaction], end: int, *, known: bool) -> None:
        """Join a producer's parts, from the first one on where all are there, and from the last one where it rested."""
        rested = end >= 0
        ended = [part for part in parts if part.marker is not None and (not rested or part.marker < end)]
        if known:
            fitting = sum(1 for _ in takewhile(_fit, zip(ended, decided, strict=False)))
            self._pair(ended[:fitting], decided[:fitting])
            ended, decided = ended[fitting:], decided[fitting:]
        if not rested:
            return
        hanging = [part for part in parts if part.marker is None and part.first is not None and part.first < end]
        for part in hanging:
            what = f"{self._told(part)} is over, and has no marker in {_at(part.place)}: {part.offsets} stay open"
            self.anomalies.append(self._anomaly("open-transaction", what, part))
        if hanging:
            return
        backwards = zip(reversed(ended), reversed(decided), strict=False)
        fitting = sum(1 for _ in takewhile(_fit, backwards))
        if fitting:
            self._pair(ended[-fitting:], decided[-fitting:])
            ended, decided = ended[:-fitting], decided[:-fitting]
        if ended and (decided or known):
            self._contradicted(ended if known else ended[-1:], decided if known else decided[-1:])
            return
        for part in parts:
            if part.commit and part.first is None and part.whole and not _is_question(part):
                what = f"{self._told(part)} was committed with {_at(part.place)}, and no record of it is there"
                self.anomalies.append(self._anomaly("lost-write", what, part))

    @staticmethod
    def _pair(parts: Sequence[Part], decided: Sequence[OneTransaction]) -> None:
        for part, one in zip(parts, decided, strict=True):
            one.parts[part.place], part.transaction = part, one

    def _contradicted(self, parts: Sequence[Part], decided: Sequence[OneTransaction]) -> None:
        """Report records that readers see, or do not see, against the coordinator's decision."""
        for place, part in enumerate(parts):
            said = decided[place].decision.commit if place < len(decided) else None
            if part.first is None or part.commit == said:
                continue
            marker = f"a marker at offset {part.marker}"
            ordered = {
                True: f"was committed, and {marker} says abort",
                False: f"was aborted, and {marker} says commit",
                None: f"was ended by {marker} that its coordinator did not decide",
            }[said]
            seen = "readers see" if part.commit else "readers do not see"
            what = f"{self._told(part)} {ordered}: {seen} {part.offsets} of {_at(part.place)}"
            self.anomalies.append(self._anomaly("aborted-read" if part.commit else "lost-write", what, part))

    def _told(self, part: Part) -> str:
        return told(self.name, part.producer, part.epoch)

    def _anomaly(self, kind: Kind, what: str, part: Part) -> Anomaly:
        offset = part.marker if part.first is None else part.first
        return Anomaly(kind, what, *part.place, offset, self.name, part.producer, part.epoch)


def _kept(parts: Sequence[Part], whole_from: int) -> list[Part]:
    """Return the parts behind the last gap of a log: before it, compaction may have taken markers away."""
    return [part for part in parts if (part.first if part.first is not None else part.marker or 0) >= whole_from]


def _is_question(part: Part) -> bool:
    """Return whether a part is not known to be of a transaction that wrote something.

    A worker asks who has its name by a transaction whose offsets are refused (`Transactions._ask`). A late commit
    request of the transaction before may end it, and commits nothing.
    """
    return part.transaction is None or all(place[0] == OFFSETS for place in part.transaction.decision.places)


def _fit(pair: tuple[Part, OneTransaction]) -> bool:
    """Return whether a part's marker can be that of a decision."""
    part, one = pair
    return part.commit == one.decision.commit and part.decided == one.decision.epoch


def _at(place: Place) -> str:
    return f"{place[0]}, partition {place[1]}"


def _who(batch: RecordBatch) -> str:
    return f"producer id {batch.producer}, epoch {batch.epoch},"
