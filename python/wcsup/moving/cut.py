"""A cut: all totals, and the offsets of `lines` up to which exactly these lines are in the totals.

No worker may run meanwhile. The totals are those of `counts`, with the words that are mapped and not reduced added to
them. The steps are in this order:

1. Read `M`, the mappers' offsets, and `R`, the reducers' offsets. This waits for pending transactions (KIP-447).
2. Add up the records of `words` from `R` to the end.
3. Read `counts` to its end, one partition after the other, and add the words of step 2.
4. Read the offsets again. If any of them has moved, somebody counted meanwhile, and the cut is given up.

With equal offsets at steps 1 and 4, the sum of step 3 is exactly the words of the lines below `M`; the proof is that of
`wcsup.audit.verify`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Protocol, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.audit.reading import HELD_SECONDS, GroupProgress, HeldBackError, TopicReader
from wcsup.config import Config, WordRule
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients, positions, topics
from wcsup.kafka.moving import CountedLines
from wcsup.kafka.reader import Reader, reads_on
from wcsup.kafka.topic_guard import COUNTS_LOST

Pair = tuple[bytes, bytes]
"""A word and its total: 8 bytes, big endian, signed."""
OnProgress = Callable[[str, int, int], None]
"""Called with what is being read, how many partitions of it are read, and how many there are."""

_PAIRS = 1_000
"""How many words are handed on at a time: a word may have a million bytes."""
_WAIT_SECONDS = 0.2
_MOST = (1 << 63) - 1


class Folded(Protocol):
    """A batch that takes records."""

    def add(self, inbox: _core.Inbox) -> None:
        """Add the inbox's records and empty the inbox."""


class Cut:
    """The totals of an application that rests."""

    def __init__(self, config: Config, admin: AdminClient, on_progress: OnProgress = lambda *_: None) -> None:
        """Make step 1. Raises `ConfigurationError` where the positions of counting are in doubt."""
        self._config, self._admin, self._on_progress = config, admin, on_progress
        self._identity = topics.identity(admin, config)
        self._mapped, self._reduced = self._progress()
        self.lines = CountedLines(self._identity.topics["lines"], self._mapped.next)
        rules = {position.words for position in (*self._mapped.positions, *self._reduced.positions)}
        self.words = cast(WordRule, rules.pop()) if rules else config.words
        self.distinct = 0
        """How many words `totals` has yielded."""
        self.total = 0
        """The sum of their totals."""

    def totals(self) -> Iterator[list[Pair]]:
        """Yield all words with their totals, each word once: steps 2 to 4.

        Raises `ConfigurationError` at the end if somebody has counted meanwhile.
        """
        with closing(clients.assigned_reader(self._config)) as reader:
            pending = self._pending(reader)
            for partition in range(self._config.partitions):
                self._on_progress("counts", partition, self._config.partitions)
                yield from self._partition(reader, partition, pending.pop(partition, {}))
        mapped, reduced = self._progress()
        if (mapped.next, reduced.next) != (self._mapped.next, self._reduced.next):
            raise ConfigurationError(
                "somebody counted while the totals were read: stop all workers, with wcsup drain --leave --wait"
            )

    def _progress(self) -> tuple[GroupProgress, GroupProgress]:
        with closing(TopicReader(self._config, self._admin)) as reader:
            try:
                found = [reader.progress(stage, self._identity.topics[stage]) for stage in positions.STAGES]
            except HeldBackError as error:
                raise RetryError(str(error)) from error
        mapped, reduced = found
        if any(position.counts != self._identity.topics["counts"] for position in reduced.positions):
            raise ConfigurationError(COUNTS_LOST)
        if mapped.by_others or reduced.by_others:
            raise ConfigurationError(
                "somebody set the offsets of a group, so that it is not known which lines the totals count: wcsup "
                "positions shows and mends this"
            )
        return mapped, reduced

    def _pending(self, reader: Reader) -> dict[int, dict[bytes, int]]:
        """Return the words that are mapped and not reduced, with their counts, by partition of `counts`."""
        name, everywhere = "words", range(self._config.partitions)
        wanted = [TopicPartition(self._config.topic(name), p) for p in everywhere]
        starts, ends = topics.starts(self._admin, wanted), topics.ends(self._admin, wanted)
        batch = _core.Aggregator(self._config.partitions)
        spans: dict[int, tuple[int, int]] = {}
        for one in wanted:
            where = one.topic, one.partition
            first = max(self._reduced.next[one.partition], starts[where])
            batch.own(one.partition, first)
            spans[one.partition] = first, ends[where]
        at = {partition: first for partition, (first, _) in spans.items()}

        def reached(partition: int) -> int:
            at.update(batch.offsets())
            return at[partition]

        fold(self._config, reader, name, spans, batch=batch, reached=reached)
        if batch.rejected():
            raise ConfigurationError(
                f"topic {self._config.topic(name)} has records that can't be counted, and no reducer has put them into "
                f"{self._config.topic('dead-letters')} yet: run wcsup run --exit-when-done first"
            )
        found: dict[int, dict[bytes, int]] = {}
        for partition in batch.partitions():
            words = batch.words(partition)
            counts = batch.totals(partition, [None] * len(words)).pairs()
            found[partition] = {word: int.from_bytes(count, "big", signed=True) for word, count in counts}
        return found

    def _partition(self, reader: Reader, partition: int, pending: dict[bytes, int]) -> Iterator[list[Pair]]:
        where = TopicPartition(self._config.topic("counts"), partition)
        (start,), (end,) = (ask(self._admin, [where]).values() for ask in (topics.starts, topics.ends))
        changelog = _core.Changelog()
        changelog.own(partition, start)
        fold(
            self._config,
            reader,
            "counts",
            {partition: (start, end)},
            batch=changelog,
            reached=changelog.next_offset,
        )
        totals = changelog.totals(partition, None)
        self.distinct += len(totals)
        self.total += totals.added + sum(pending.values())
        for pairs in parts(totals):
            if pending:
                yield [(word, added(word, total, pending.pop(word, 0))) for word, total in pairs]
            else:
                yield pairs
        self.distinct += len(pending)
        yield [(word, count.to_bytes(8, "big", signed=True)) for word, count in pending.items()]


def fold(
    config: Config,
    reader: Reader,
    name: str,
    spans: Mapping[int, tuple[int, int]],
    *,
    batch: Folded,
    reached: Callable[[int], int],
) -> None:
    """Read committed records of a topic into a batch; `spans` has the first offset of each partition and its end.

    The end is a high watermark: records behind the last stable offset are waited for (KAFKA-10167). `reached` returns
    the offset that the batch expects next. Raises `RetryError` where an open transaction holds the records back.
    """
    topic = config.topic(name)
    waiting = {partition: end for partition, (start, end) in spans.items() if start < end}
    assigned = [TopicPartition(topic, partition, spans[partition][0]) for partition in waiting]
    if not waiting:
        return
    reader.assign(assigned)
    heard = time.monotonic()
    while waiting:
        for error, _ in reader.read(_WAIT_SECONDS):
            if error.code() != KafkaError._PARTITION_EOF and not reads_on(error):
                raise KafkaException(error)
        if len(reader.inbox):
            heard = time.monotonic()
            batch.add(reader.inbox)
        elif time.monotonic() - heard > HELD_SECONDS + config.transaction_timeout:
            raise RetryError(
                f"{topic} can't be read to its end: a transaction stays open (wcsup doctor lists it), or the brokers "
                "fell silent"
            )
        waiting = {partition: end for partition, end in waiting.items() if reached(partition) < end}
    reader.unassign(assigned)


def parts(totals: _core.Totals) -> Iterator[list[Pair]]:
    """Yield totals in lists of bounded length."""
    for start in range(0, len(totals), _PAIRS):
        yield totals.pairs(start, start + _PAIRS)


def added(word: bytes, total: bytes, count: int) -> bytes:
    """Return a word's total with a count added; raise `ConfigurationError` where that does not fit."""
    if not count:
        return total
    new = int.from_bytes(total, "big", signed=True) + count
    if new > _MOST:
        raise ConfigurationError(
            f"the total of {word!r} does not fit 8 bytes with what is not reduced yet: run wcsup run --exit-when-done "
            "first, which puts it into dead-letters"
        )
    return new.to_bytes(8, "big", signed=True)
