"""The Rust core. Every call takes a batch and gives a batch.

Records come to a batch in an `Inbox`, which takes them out of librdkafka, so that no Python object is made of
any. Partitions are those of the input topic. Words are bytes.

The GIL is released while records are taken and worked on and held while result lists are built, so that
heartbeats and librdkafka's callbacks go on. An object belongs to one thread.

A batch keeps, for each partition that it owns, the offset that is expected next. Records below it (a fetch
from before a seek) and records of partitions that are not owned are passed over, so no record can be
taken twice or by the wrong owner, whatever the consumer's queues still held. After `own` has moved an offset
back, only records taken since may be added: one from before lies ahead of the offset, where compaction and
control records leave gaps too, so it would be counted and what is between passed over.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, final

__all__ = [
    "MAX_WORD_BYTES",
    "Aggregator",
    "Changelog",
    "Combiner",
    "Inbox",
    "Outlet",
    "Records",
    "State",
    "Totals",
    "partition",
    "plugin",
    "separate_heap",
    "tokenize",
]

MAX_WORD_BYTES: int
"""Longest word that is counted: 1,000,000 bytes, which with its overhead fits a record under Kafka's default
`max.message.bytes` of 1,048,588."""

def partition(key: bytes, partitions: int) -> int:
    """Return the partition of a key as Java's default partitioner has it: murmur2, sign bit cleared, modulo."""

def tokenize(line: bytes, rule: Literal["ascii", "unicode"]) -> list[bytes]:
    """Return the words of a line in order, folded.

    ascii: runs of [a-zA-Z_] in lower case; any other byte splits. unicode: words of UAX 29 that have a letter or
    number, case-folded; a line that is not UTF-8 is read with U+FFFD for each invalid sequence. Words may be
    longer than MAX_WORD_BYTES here.
    """

def plugin() -> str:
    """Return what `plugin.library.paths` of a client has to name for `Inbox.of_newest_consumer` and `Outlet`.

    A transactional producer then makes delivery reports only of what failed.

    Raises OSError where the librdkafka of confluent-kafka lacks a function that is needed.
    """

def separate_heap() -> bool:
    """Give librdkafka a heap (mimalloc) in which records are made and freed by different threads without a lock.

    To be called before the first client is made. Returns False where it goes on with what it has: it is not known how
    on this machine, or the system refuses.

    Raises RuntimeError where a client is there already, and OSError as `plugin` does.
    """

@final
class Inbox:
    """Records on their way from a consumer to a batch."""

    def __new__(
        cls, records: Iterable[tuple[int, int, bytes | None, bytes | None] | tuple[int, int]] | None = None
    ) -> Inbox:
        """Return an inbox without a consumer that holds records: (partition, offset, key, value).

        A pair (partition, offset) says that the partition ends there.
        Raises TypeError or OverflowError for anything else. The methods below up to `take` raise RuntimeError then.
        """
    @staticmethod
    def of_newest_consumer() -> Inbox:
        """Return the inbox of the consumer that this thread made last, with `plugin()` among its settings.

        Raises RuntimeError where there is none, or it was asked for before. Once the consumer is closed, what was taken
        and not added is gone, and all but `len` and `since_heartbeat` raises RuntimeError.
        """
    def divert(self, topic: str, partition: int) -> None:
        """Have the records of a partition come here from now on, instead of to the consumer's `poll` and `consume`.

        To be called before the partition is assigned, and again now and then: librdkafka undoes it when a former
        assignment of the partition has ended, and keeps what comes in the partition's own queue until the next call.
        """
    def wake(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Have the threads of librdkafka that fetch from the leaders of partitions (topic, partition) look for work.

        It sends each leader a request, and does not wait for an answer.
        """
    def since_heartbeat(self) -> float | None:
        """Return how many seconds ago the consumer sent its group a heartbeat; none where it sent none yet."""
    def wait(self, seconds: float) -> None:
        """Return when there is something to take here or to `poll` for, after so long, at a signal, or too early."""
    def take(self, records: int, bytes: int) -> list[tuple[int, int, str]]:
        """Take what librdkafka has there, without waiting: about so much of it.

        Returns what is no record as (code of the error, partition, text); -191 is the end of a partition.
        """
    def __len__(self) -> int:
        """Return how many records and others were taken and not added to a batch yet."""

@final
class Records:
    """Records of one topic: partition, key and value."""

    def __new__(cls, records: Sequence[tuple[int, bytes, bytes]] = ()) -> Records:
        """Return these; ValueError where one is of a partition below 0."""
    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> tuple[int, bytes, bytes]:
        """Return the record at a place; IndexError behind the last, OverflowError before the first."""

@final
class Outlet:
    """Records on their way to a producer."""

    @staticmethod
    def of_newest_producer() -> Outlet:
        """Return the outlet of the producer that this thread made last, with `plugin()` among its settings.

        Raises RuntimeError where there is none, or it was asked for before.
        """
    def begin(self) -> None:
        """Begin to count anew, as `settle` and `written` have it."""
    def produce(self, topic: str, records: Records, start: int, stop: int) -> tuple[int, int]:
        """Have librdkafka take records, from the place `start` to before `stop`; it copies them.

        Returns how many it took, and the code of the error for the first that it did not: 0 where it took all. Where
        its queue is full it takes the first ones; behind a record that it refuses it may have taken others. Raises
        RuntimeError once the producer is closed.
        """
    def settle(self, left: int, seconds: float) -> None:
        """Wait until all but `left` of the records taken since `begin` are acknowledged or failed, or for so long.

        Records that the producer was given otherwise may be taken for some of them.
        """
    def written(self) -> list[tuple[str, int, int]]:
        """Return the highest offset acknowledged since `begin` by topic and partition, below 0 where it is not known.

        Records that the producer was given otherwise are among them.
        """
    def broke(self) -> bool:
        """Return whether a connection to a broker was lost, or could not be made, since this was asked last."""
    def unanswered(self) -> bool:
        """Return whether a request that changes a transaction had no answer since the producer was made.

        Its connection broke, or its time was up: it may reach its broker at any later time. Once a commit has succeeded
        this is known of all requests of its transaction. A request for a producer id is not meant: whenever it arrives,
        it fences the producer.
        """
    def in_doubt(self) -> int:
        """Return how many records failed since `begin` and may be in their topics all the same.

        They were sent, and no answer told what came of them: a connection broke, or a broker was silent. Records that
        the producer was given otherwise are among them.
        """
    def failed(self) -> tuple[str, int] | None:
        """Return the topic and the error of the first record that failed since `begin`.

        Those that were dropped with an aborted transaction are not meant. An abort ends with all of them known.
        """

@final
class Combiner:
    """A mapper's batch: equal words of many lines added up (the combiner of the MapReduce paper)."""

    def __new__(cls, rule: Literal["ascii", "unicode"], partitions: int) -> Combiner:
        """`partitions` is that of `words`; the words of the batch are grouped by it."""
    def own(self, partition: int, offset: int) -> None:
        """Take lines of an input partition from this offset on; -1: from whatever comes first.

        The partition has not moved then (see `offsets`). Other negative numbers raise ValueError.
        """
    def disown(self, partition: int) -> None:
        """Take no more lines of it. Lines taken already stay in the batch: commit or clear before."""
    def add(self, inbox: Inbox) -> None:
        """Take in what an inbox has; it is empty then.

        A null value is a null line: skipped and counted. A line with a word longer than MAX_WORD_BYTES is
        rejected whole: none of its words count. The end of a partition moves its next offset there.
        """
    def records(self) -> Records:
        """Return the `words` records, one for each distinct word, in byte order of the words of each partition.

        The key is the word, the value how often the batch has it: 8 bytes, big endian, signed. The batch keeps.
        """
    def packed(self, limit: int) -> Records:
        """Return the same as records that carry many words each, with values of at most `limit` bytes.

        A word that is longer by itself has a record of its own. `rust/wire/packed.rs` has the format.
        """
    def mixed(self, homes: Sequence[int], limit: int) -> Records:
        """Return the same with the words of several partitions in one record.

        `homes` has for each partition the one that its words are written to. Raises ValueError where it has not one for
        each, or other numbers.
        """
    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of every owned partition whose next offset moved since `clear`."""
    def rejected(self) -> list[tuple[int, int, bytes | None, bytes | None, str]]:
        """Return the records of the batch that can't be processed: (partition, offset, key, value, reason)."""
    def clear(self) -> None:
        """Forget the batch, after its commit or to drop it; what is owned and expected next stays."""
    @property
    def taken(self) -> int:
        """Records in the batch, null lines and rejected ones included."""
    @property
    def null_lines(self) -> int: ...
    @property
    def words(self) -> int:
        """Words in the batch."""
    @property
    def distinct(self) -> int:
        """Distinct words in the batch."""
    @property
    def bytes(self) -> int:
        """Bytes of the lines taken."""
    @property
    def memory(self) -> int:
        """Bytes that the batch holds in memory, about: its words and its rejected records.

        0 after `clear`, though the process keeps the memory of the table for the next batch.
        """

@final
class Aggregator:
    """A reducer's batch: `words` records added up by partition and word."""

    def __new__(cls, partitions: int) -> Aggregator:
        """`partitions` is that of `words`: for records with words of any of them."""
    def own(self, partition: int, offset: int) -> None:
        """As `Combiner.own`."""
    def disown(self, partition: int) -> None:
        """As `Combiner.disown`."""
    def add(self, inbox: Inbox) -> None:
        """Take in what an inbox has.

        The value is how often, 8 bytes, big endian, signed; null means 1; or packed words.
        A record is rejected without a key, with a key longer than MAX_WORD_BYTES, with a value of another length
        that is not well-formed packed words, and where the counts of one of its words in the batch would not fit
        8 bytes: packed words all or none. Ends as in `Combiner.add`.
        """
    def partitions(self) -> list[int]:
        """Return the owned partitions that the batch has words of, in order."""
    def words(self, partition: int, state: State | None = None) -> list[bytes]:
        """Return the partition's distinct words in byte order, the order in which `totals` takes the old ones.

        With a state, only those whose totals it does not know: they are to be looked up in the store.
        """
    def totals(self, partition: int, old: Sequence[bytes | None], state: State | None = None) -> Totals:
        """Add the batch to the old totals: those of `words`, and those that the state knows. The batch keeps.

        An old total has 8 bytes, or 4 from an older word count; None where a word is new. Raises ValueError where
        one has another length or there are not as many as words. A sum that does not fit 8 bytes is `refused`.
        """
    def forwarded(self, limit: int) -> Records:
        """Return the words of partitions that are not owned, as packed `words` records for those.

        They came in records with words of any partition, which are to be committed together with these. The batch
        keeps.
        """
    def offsets(self) -> list[tuple[int, int]]:
        """As `Combiner.offsets`; of every owned partition where a record had words of any partition.

        Totals of a partition are written then whose offset did not move. It is committed with them, so that whoever
        owns the partition next waits for the transaction: for the offset is pending (KIP-447).
        """
    def rejected(self) -> list[tuple[int, int, bytes | None, bytes | None, str]]:
        """As `Combiner.rejected`."""
    def clear(self) -> None:
        """As `Combiner.clear`."""
    @property
    def taken(self) -> int: ...
    @property
    def mixed(self) -> bool:
        """Whether a record had words of any partition."""
    @property
    def counted(self) -> int:
        """Sum of the counts that are not forwarded: words of text."""
    @property
    def distinct(self) -> int: ...
    @property
    def bytes(self) -> int:
        """Bytes of the words taken."""
    @property
    def memory(self) -> int:
        """As `Combiner.memory`."""

@final
class Totals:
    """New totals of one partition, in byte order of the words."""

    def append_to(self, records: Records, partition: int) -> None:
        """Append the `counts` records of the partition: the key is the word, the value its total (8 bytes)."""
    def pairs(self, start: int = 0, stop: int | None = None) -> list[tuple[bytes, bytes]]:
        """Return (word, 8-byte total), for the store; deleted words are left out.

        Of all words, or of those from the place `start` to before `stop`.
        """
    def refused(self) -> list[tuple[bytes, bytes]]:
        """Return (word, 8-byte count of the batch) of the words whose totals would not fit; they stay as they are."""
    def deleted(self) -> list[bytes]:
        """Return the words to delete from the store (only a changelog has any)."""
    @property
    def new_words(self) -> int:
        """By how much the number of words in the store changes."""
    @property
    def added(self) -> int:
        """By how much the sum of all totals changes."""
    def __len__(self) -> int:
        """Return the number of totals, which leaves deleted words out."""

@final
class State:
    """What is in memory of one partition's totals: resident ones, those the store is yet to be given, top words.

    Resident are all words before the `frontier`, in byte order: one that is not among them is new. Others are
    unwritten, or in the store. Some 10 bytes for each resident word.
    """

    def __new__(cls, listed: int, top: Sequence[tuple[bytes, int]] = (), *, empty: bool) -> State:
        """Return the state of a partition that has these top words, of at most `listed`.

        `empty`: it has no words at all, so that all are known. Else none is.
        """
    def take(self, totals: Totals) -> bool:
        """Take new totals in: those of an `Aggregator` after their commit, or of a `Changelog`. They are unwritten.

        Returns whether that may have changed the top words.
        """
    def top(self, most: int | None = None, totals: Totals | None = None) -> list[tuple[bytes, int]]:
        """Return (word, total) of all top words or the first so many, highest first, equal ones in byte order.

        `totals`: as they will be with these. Words over 256 bytes are left out. The list is exact as long as totals
        only rise; deleted words leave it, and a listed word whose total fell is listed with the total that it has now.
        """
    def behind(self) -> Totals:
        """Return what is unwritten: the last total of each word, and words to delete. What they change is not told."""
    def written(self) -> None:
        """Forget what is unwritten: the store has it."""
    @property
    def unwritten(self) -> int:
        """How many words are unwritten."""
    def scan(self, entries: Iterable[tuple[bytes, bytes]], bytes: int) -> bool:
        """Make words of the store resident, given with their totals in byte order from the frontier on.

        Takes so many bytes of them, about; returns whether there were no more. Newer totals that are unwritten count.
        Raises ValueError where a word does not come behind the one before it, or as `Aggregator.totals` does; then the
        state is as it was.
        """
    def packed(self) -> bytes:
        """Return the resident totals as they are in memory."""
    def unpack(self, packed: bytes, frontier: bytes | None) -> None:
        """Have the totals resident that another state with the same words had packed, with its frontier.

        To be called before anything is taken in. Raises ValueError where they are damaged.
        """
    def complete(self) -> None:
        """Know that the store has no words from the frontier on."""
    def limit(self, bytes: int) -> None:
        """Have the resident totals take at most so many bytes: the last words are forgotten, now or later."""
    @property
    def has_room(self) -> bool:
        """Whether the limit leaves room to scan more words."""
    @property
    def frontier(self) -> bytes | None:
        """Before which word all are resident; none where all are."""
    @property
    def resident(self) -> int:
        """How many words are resident."""
    @property
    def memory(self) -> int:
        """Bytes that the resident words hold, about."""

@final
class Changelog:
    """Records of `counts` folded by partition and word while a store is restored: the last one counts."""

    def __new__(cls) -> Changelog: ...
    def own(self, partition: int, offset: int) -> None:
        """As `Combiner.own`."""
    def disown(self, partition: int) -> None:
        """Forget the partition and what was read of it."""
    def add(self, inbox: Inbox) -> None:
        """Take in what an inbox has: a value of 8 or 4 bytes is a total, null deletes the word.

        Others are passed over and counted in `malformed`. Ends as in `Combiner.add`.
        """
    def next_offset(self, partition: int) -> int:
        """Return the offset expected next, past control records once the end was reported.

        Raises ValueError for a partition that is not owned.
        """
    def words(self, partition: int, state: State | None = None) -> list[bytes]:
        """Return the distinct words read of a partition, deleted ones too, as `Aggregator.words`."""
    def totals(self, partition: int, old: Sequence[bytes | None] | None, state: State | None = None) -> Totals:
        """Return the partition's last totals as changes to the old ones, and forget them; the next offset stays.

        `old` and the state are as for `Aggregator.totals`, which also says what is raised: then nothing is forgotten.
        None: there are no old ones.
        """
    @property
    def taken(self) -> int:
        """Records read since it was made, malformed ones included."""
    @property
    def malformed(self) -> int: ...
    @property
    def memory(self) -> int:
        """Bytes that the records read hold in memory, about."""
