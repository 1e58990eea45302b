"""A reducer: `words` records in, new totals out; a store for each partition is a cache of `counts`."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import StoreBrokenError
from wcsup.kafka.topics import Identity
from wcsup.kafka.writer import Written
from wcsup.pipeline.letters import Letters
from wcsup.pipeline.records import PACKED_BYTES, Letter, readable, refuse_newer, top_record
from wcsup.pipeline.report import Counters, Found, Report
from wcsup.pipeline.transaction import Outbox
from wcsup.pipeline.trim import Trim
from wcsup.process.crash import point
from wcsup.state.directory import StateDirectory
from wcsup.state.partition import Partition
from wcsup.state.restore import Committed, Restore

FULL_DISTINCT = 200_000
FULL_BYTES = 32 << 20
"""Bounds on a batch. In a larger batch a word is written less often, but twice the size saves only 2 % of the writes
(uniform, 5 million words), and adds 100 MB to a reducer's peak."""

KEPT_SECONDS = 3.0
KEPT_RECORDS = 5_000
KEPT_WORDS = 50_000
"""Bounds of the write-behind buffer. New totals of commits of at most `KEPT_RECORDS`, and a new store's first totals,
stay in the buffer for `KEPT_SECONDS`, or until there are `KEPT_WORDS` of them.

A light load changes the same words dozens of times a second: writing each change to its store took 3 of the 10 ms of a
reducer's commit. A process that dies leaves stores without the buffered totals; the next process reads these from
`counts`.
"""

SCAN_BYTES = 512 << 10
"""How much of a store one turn of the loop scans into memory: some 50,000 words, in 10 ms. Scanned words need no
look-up."""

BACKLOG_SCAN_SECONDS = 4.0
"""How long one turn scans during a backlog: 5 million words are resident in memory after one turn.

In a backlog the latency of a line does not matter, and the look-up of one word costs as much as a scan of ten.
"""

FIRST_SECONDS = 1.0
"""How long after opening stores a reducer does not scan: no scan is to hold up its first commit."""

GATHER_SECONDS = 0.0005
TOP_SECONDS = 1.0
"""How often a partition's most frequent words are published at most, each partition at a time of its own.

To publish all partitions in one commit takes a dozen more requests: every fortieth commit of a light load took half as
long again.
"""

_REPORTED_TOP = 50
"""How many words a report has: of several reducers' lists as many can be shown in one list that is right."""


class Reducer:
    """The reduce stage."""

    input = "words"
    # Each commit of a mapper is followed at once, and held back only where several mappers commit in turns.
    fetch_seconds = 0.0
    pause_seconds = 0.01

    def __init__(self, config: Config, directory: StateDirectory, admin: AdminClient, identity: Identity) -> None:
        directory.check_room()
        self._config = config
        self._batch = _core.Aggregator(config.partitions)
        self._restore = Restore(config, directory, admin, identity)
        self._open: dict[int, Partition] = {}
        self._closed: dict[int, Partition] = {}
        """Partitions whose stores were closed a moment ago, and can be opened again without reading anything."""
        self._scan_from = 0.0
        """From when on stores may be scanned."""
        self._has_backlog = False
        """Whether the last commit was a large one."""
        self._totals: dict[int, _core.Totals] = {}
        self._letters = Letters(admin, config, config.topic(self.input))
        self._lettered = 0
        """Dead letters of the batch."""
        self._unpublished: set[int] = set()
        self._publishing: dict[int, int] = {}
        """Partitions whose top words the batch publishes, and the period in which it does."""
        self._published: dict[int, int] = {}
        """The period in which a partition's top words were published last."""
        self._committed_at: dict[int, float] = {}
        """When totals of a partition were last committed, in seconds since 1970."""
        self._kept_at_most = 0
        """An upper bound on the words in all write-behind buffers: their exact number takes a sum over the stores."""
        self._counters = Counters()
        self._trim = Trim(admin, config.topic(self.input))

    def own(self, partition: int, offset: int) -> None:
        """Take records of a partition from `offset` on."""
        self._batch.own(partition, offset)

    def add(self, inbox: _core.Inbox) -> None:
        """Add the counts in the inbox's records to the batch."""
        self._batch.add(inbox)

    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of the partitions that had records since the last commit."""
        return self._batch.offsets()

    def disown(self, partition: int, *, again: bool = False) -> None:
        """Take no more records of a partition. Write its buffered totals and close its store, or give up opening it.

        `again` is as in `Stage`: the partition's totals in memory stay there.
        """
        self._batch.disown(partition)
        self._restore.abandon(partition)
        self._unpublished.discard(partition)
        self._committed_at.pop(partition, None)
        if (opened := self._open.pop(partition, None)) is not None:
            try:
                if opened.unwritten_since is not None:
                    opened.write()
            finally:
                opened.close(keep=not again)
            self._closed[partition] = opened

    def begin(self, partition: int) -> None:
        """Start opening the partition's store."""
        self._restore.begin(partition, self._closed.pop(partition, None))

    def opened(self, committed: Committed) -> dict[int, int]:
        """Go on opening stores; return the partitions whose store is up to date, with the input offset to resume at."""
        if not self._restore.pending:
            return {}
        opened = self._restore.step(committed)
        self._counters.restored = self._restore.read
        self._open |= opened
        # The previous owner may have ended without publishing their top words.
        self._unpublished |= {partition for partition, o in opened.items() if o.totals.top(1)}
        if opened:
            self._scan_from = time.monotonic() + FIRST_SECONDS
            point("open-done")
        return {partition: o.input_offset for partition, o in opened.items()}

    @property
    def taken(self) -> int:
        """Records in the batch."""
        return self._batch.taken

    @property
    def taken_bytes(self) -> int:
        """Bytes of the words of the records in the batch."""
        return self._batch.bytes

    @property
    def gather_seconds(self) -> float:
        """Seconds until the records just behind the batch's first ones are there: else they wait for a whole commit.

        The records of a mapper's commit come in one fetch, but librdkafka queues them partition by partition.
        """
        return 0.0 if self._batch.mixed else GATHER_SECONDS

    @property
    def full(self) -> bool:
        """Whether the batch is at its bound."""
        return self._batch.distinct >= FULL_DISTINCT or self._batch.memory >= FULL_BYTES

    @property
    def upkeep(self) -> Self:
        """Top words to publish, stores to write and to scan, counted input to delete."""
        return self

    @property
    def owing(self) -> bool:
        """Whether top words changed since they were published."""
        return bool(self._unpublished)

    @property
    def is_due(self) -> bool:
        """Whether it is time to publish the top words of some partitions."""
        return bool(self._due(self._unpublished))

    def _due(self, changed: set[int]) -> set[int]:
        return {partition for partition in changed if self._published.get(partition) != self._period(partition)}

    def _period(self, partition: int) -> int:
        return int(time.monotonic() / TOP_SECONDS + partition / self._config.partitions)

    def outbox(self, *, last: bool = False) -> Outbox:
        """Return the new totals, and the top words where they are due or this is the `last` commit.

        Words of mixed records whose partitions other reducers own now go back to `words`, each to its own partition.
        """
        self._totals = {}
        rejected = self._batch.rejected()
        for refused in rejected:
            refuse_newer(self._config.topic(self.input), refused)
        letters = [self._letters.of(refused) for refused in rejected]
        broken: StoreBrokenError | None = None
        for partition in self._batch.partitions():
            try:
                totals = self._open[partition].new_totals(self._batch, partition)
            except StoreBrokenError as error:
                broken = error  # all other stores are tried first, so that one new start rebuilds all damaged ones
                continue
            letters += self._refused(partition, totals)
            if len(totals):
                self._totals[partition] = totals
        if broken is not None:
            raise broken
        changed = self._unpublished | self._totals.keys()
        publishing = changed if last else self._due(changed)
        self._publishing = {partition: self._period(partition) for partition in publishing}
        self._lettered = len(letters)
        apart = bool(letters) and self._letters.apart
        return Outbox(self._records(), letters, letters_apart=apart)

    def _refused(self, partition: int, totals: _core.Totals) -> list[Letter]:
        """Return dead letters for counts whose totals would not fit 8 bytes; the records they came in are not known."""
        refused = totals.refused()
        if not refused:
            return []
        last = partition, dict(self._batch.offsets())[partition] - 1
        why = "with these counts of the batch that ends here the total of the word would not fit 8 bytes"
        return [self._letters.at(last, why, word, count) for word, count in refused]

    def _records(self) -> Iterator[tuple[str, _core.Records]]:
        """Make the records only when they are written: there are many."""
        yield self._config.topic(self.input), self._batch.forwarded(PACKED_BYTES)
        counts = _core.Records()
        for partition, totals in self._totals.items():
            totals.append_to(counts, partition)
        yield self._config.topic("counts"), counts
        tops = ((partition, self._open[partition].totals) for partition in self._publishing)
        # The top words as they will be after this commit.
        published = [
            (number, *top_record(number, state.top(totals=self._totals.get(number)))) for number, state in tops
        ]
        yield self._config.topic("top"), _core.Records(published)

    def committed(self, written: Written) -> None:
        """Write each partition's totals and stamp to its store in one RocksDB batch, or buffer them; drop the batch."""
        counts = self._config.topic("counts")
        new_totals = sum(len(totals) for totals in self._totals.values())
        are_few, now = new_totals <= KEPT_RECORDS, time.time()
        for partition, totals in self._totals.items():
            opened = self._open[partition]
            # To create a new RocksDB now would delay the second commit.
            first = opened.store.empty and opened.unwritten_since is None
            if opened.take(totals, written[counts, partition] + 1, own=True):
                self._unpublished.add(partition)
            self._committed_at[partition] = now
            if not (are_few or first):
                opened.write()
        self._unpublished -= self._publishing.keys()
        self._published |= self._publishing
        counters, batch = self._counters, self._batch
        counters.records += batch.taken
        counters.words += batch.counted
        counters.bytes += batch.bytes
        counters.dead_letters += self._lettered
        counters.written += new_totals
        for made, words in batch.line_times():
            counters.latency.observe(max(0.0, now - made / 1000), words)
        self._totals = {}
        batch.clear()
        self._scan_from = 0.0
        self._has_backlog = not are_few
        self._kept_at_most += new_totals
        if self._kept_at_most > KEPT_WORDS:
            self._kept_at_most = self._kept
            if self._kept_at_most > KEPT_WORDS:
                self._write_kept(0.0, every=True)

    @property
    def _kept(self) -> int:
        return sum(opened.totals.unwritten for opened in self._open.values())

    def tend(self, counted: Mapping[int, int], alive: Callable[[], None], *, last: bool = False) -> None:
        """Write the buffered totals of one store, if they are old enough; scan one store; delete counted input.

        With `last` all buffered totals are written, nothing is scanned, and all counted input is deleted.
        """
        self._write_kept(0.0 if last else KEPT_SECONDS, every=last)
        if not self._restore.pending:
            self._closed.clear()
            if not last:
                self._scan(alive)
        if last:
            self._trim.finish(counted)
        else:
            self._trim.look(counted)

    def _write_kept(self, seconds: float, *, every: bool) -> None:
        """Write totals that were buffered for at least `seconds`: of `every` store, or of the first that has some."""
        due = time.monotonic() - seconds
        for opened in self._open.values():
            since = opened.unwritten_since
            if since is not None and since <= due:
                opened.write()
                if not every:
                    break

    def _scan(self, alive: Callable[[], None]) -> None:
        if time.monotonic() < self._scan_from:
            return
        until = time.monotonic() + (BACKLOG_SCAN_SECONDS if self._has_backlog else 0)
        while (scannable := next((opened for opened in self._open.values() if opened.scannable), None)) is not None:
            scannable.scan(SCAN_BYTES)
            point("scanned")
            alive()
            if time.monotonic() >= until:
                break

    def clear(self) -> None:
        """Drop the batch."""
        self._batch.clear()
        self._totals = {}

    def find(self, words: Sequence[tuple[int, bytes]]) -> list[Found | None]:
        """Return the committed totals of words, each given with its partition; none where that is not open here."""
        found: list[Found | None] = []
        for partition, word in words:
            opened = self._open.get(partition)
            if opened is None:
                found.append(None)
                continue
            [total] = opened.find([word])
            found.append(Found(total, opened.stamp.next_offset, self._committed_at.get(partition)))
        return found

    def tell(self, report: Report) -> None:
        """Add the counters, and the figures of the open stores."""
        report.counters = self._counters
        report.restoring = self._restore.progress()
        report.restore_seconds = self._restore.remaining()
        report.distinct = sum(o.stamp.distinct for o in self._open.values())
        report.total = sum(o.stamp.total for o in self._open.values())
        report.state_bytes = sum(o.store.size for o in self._open.values())
        report.kept_words = self._kept
        report.words_in_memory = sum(o.totals.resident for o in self._open.values())
        report.bytes_in_memory = sum(o.totals.memory for o in self._open.values())
        report.state_memory = self._restore.resident_bytes * len(self._open)
        words = [word for o in self._open.values() for word in o.totals.top(_REPORTED_TOP)]
        words.sort(key=lambda word: (-word[1], word[0]))
        report.top_cut = len(words) >= _REPORTED_TOP
        unlisted = [o.stamp.unlisted for o in self._open.values()]
        report.unlisted = None if None in unlisted else sum(filter(None, unlisted))
        report.top = [(readable(word), total) for word, total in words[:_REPORTED_TOP]]

    def close(self) -> None:
        """Close the stores."""
        self._restore.close()
        for opened in self._open.values():
            opened.close(keep=True)
        self._open.clear()
