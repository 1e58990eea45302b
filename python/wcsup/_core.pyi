"""The Rust core. Every call takes a batch and gives a batch.

Records come to a batch in an `Inbox`, which takes them out of librdkafka without a Python object for each.
Partitions are those of the input topic. Words are bytes.

The GIL is released while records are taken and worked on, so that heartbeats and librdkafka's callbacks go on.
The GIL is held while result lists are built. An object belongs to one thread.

A batch keeps, for each partition that it owns, the offset that is expected next. It skips records below that
offset (of a fetch from before a seek) and records of partitions that it does not own. So no record is taken
twice or by the wrong owner, whatever was still in the consumer's queues. After `own` has moved an offset back,
only records taken since then may be added. A record from before lies ahead of the offset, and compaction and
control records leave gaps there, too: the batch would take that record and skip all records in between.
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
    """Return the partition of a key, as Java's default partitioner computes it: murmur2, sign bit cleared, modulo."""

def tokenize(line: bytes, rule: Literal["ascii", "unicode"]) -> list[bytes]:
    """Return the words of a line in order, folded.

    ascii: runs of [a-zA-Z_] in lower case; any other byte splits. unicode: words of UAX 29 that have a letter or
    number, case-folded; a line that is not UTF-8 is read with U+FFFD for each invalid sequence. Words may be
    longer than MAX_WORD_BYTES here.
    """

def plugin() -> str:
    """Return the path for a client's `plugin.library.paths`, which `Inbox.of_newest_consumer` and `Outlet` need.

    With the plugin a transactional producer makes delivery reports only for failed records.

    Raises OSError where the librdkafka of confluent-kafka lacks a function that is needed.
    """

def separate_heap() -> bool:
    """Give librdkafka a heap (mimalloc) in which one thread makes records and another one frees them without a lock.

    Call it before the first client is made. Returns False where librdkafka keeps the heap of the C library, since this
    kind of machine is not supported or the system refuses.

    Raises RuntimeError where there is a client already, and OSError as `plugin` does.
    """

@final
class Inbox:
    """Records on their way from a consumer to a batch."""

    def __new__(
        cls,
        records: Iterable[
            tuple[int, int, bytes | None, bytes | None]
            | tuple[int, int, bytes | None, bytes | None, int | None]
            | tuple[int, int]
        ]
        | None = None,
    ) -> Inbox:
        """Return an inbox without a consumer, with these records: (partition, offset, key, value), or one item longer.

        The fifth item is the time that the batch asks for, in milliseconds since 1970: a line's own, or that of the
        oldest line whose words a record of `words` has. A pair (partition, offset) says that the partition ends there.
        Raises TypeError or OverflowError for anything else. Without a consumer the methods below up to `take` raise
        RuntimeError.
        """
    @staticmethod
    def of_newest_consumer() -> Inbox:
        """Return the inbox of the consumer that this thread made last, with `plugin()` among its settings.

        Raises RuntimeError where there is no such consumer, or its inbox was returned before. After the consumer is
        closed, records that were taken and not added are gone, and all methods but `len` and `since_heartbeat` raise
        RuntimeError.
        """
    def divert(self, topic: str, partition: int) -> None:
        """Have the records of a partition come here from now on, instead of to the consumer's `poll` and `consume`.

        Call it before the partition is assigned, and again now and then: librdkafka undoes the diversion when a former
        assignment of the partition has ended. The partition's records then wait in its own queue until the next call.
        """
    def wake(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Wake the threads of librdkafka that fetch from the leaders of these partitions (topic, partition).

        It sends a request to each leader, and does not wait for an answer.
        """
    def since_heartbeat(self) -> float | None:
        """Return how many seconds ago the consumer sent a heartbeat to its group; none where it has sent none yet."""
    def wait(self, seconds: float) -> None:
        """Wait until there is something to `take`, or to `poll` for: up to `seconds`. It may return earlier."""
    def take(self, records: int, bytes: int) -> list[tuple[int, int, str]]:
        """Take what librdkafka has now, without waiting: about so many `records` or `bytes` at most.

        Returns errors and ends of partitions as (error code, partition, text); code -191 is the end of a partition.
        """
    def __len__(self) -> int:
        """Return how many records and ends of partitions were taken and not added to a batch yet."""

@final
class Records:
    """Records of one topic: partition, key and value."""

    def __new__(cls, records: Sequence[tuple[int, bytes, bytes]] = ()) -> Records:
        """Make a list of these records. Raises ValueError where a partition is below 0."""
    def __len__(self) -> int: ...
    @property
    def line_time(self) -> int | None:
        """The time of the oldest line whose words these records have, in milliseconds since 1970, where it is known.

        Each of the records is written with the header `line-time`, which has it in 8 bytes, big endian.
        """
    def __getitem__(self, place: int, /) -> tuple[int, bytes, bytes]:
        """Return the record at an index; IndexError behind the last, OverflowError for a negative index."""

@final
class Outlet:
    """Records on their way to a producer."""

    @staticmethod
    def of_newest_producer() -> Outlet:
        """Return the outlet of the producer that this thread made last, with `plugin()` among its settings.

        Raises RuntimeError where there is no such producer, or its outlet was returned before.
        """
    def begin(self) -> None:
        """Reset what `settle`, `written`, `in_doubt` and `failed` count."""
    def produce(self, topic: str, records: Records, start: int, stop: int) -> tuple[int, int]:
        """Give librdkafka the records from index `start` to before `stop`; it copies them.

        Returns how many it took, and the error code for the first one that it did not take, 0 where it took all. If its
        queue is full, it takes the first ones. If it refuses a record, it may have taken later ones. Raises
        RuntimeError after the producer is closed.
        """
    def settle(self, left: int, seconds: float) -> None:
        """Wait until all but `left` of the records taken since `begin` are acknowledged or failed, or for `seconds`.

        Records that were produced by the producer's own methods may be counted, too.
        """
    def written(self) -> list[tuple[str, int, int]]:
        """Return the highest offset acknowledged since `begin` by topic and partition, below 0 where it is not known.

        Records that were produced by the producer's own methods count, too.
        """
    def broke(self) -> bool:
        """Return whether a connection to a broker was lost, or could not be made, since the last call."""
    def unanswered(self) -> bool:
        """Return whether a request that changes a transaction had no answer since the producer was made.

        Its connection broke, or it timed out: such a request may still reach its broker at any later time. After a
        successful commit this is known for all requests of its transaction. A request for a producer id does not count:
        whenever it arrives, it fences the producer.
        """
    def in_doubt(self) -> int:
        """Return how many records failed since `begin` and may be in their topics all the same.

        These were sent without an answer: a connection broke, or a broker was silent. Records that were produced by the
        producer's own methods count, too.
        """
    def failed(self) -> tuple[str, int] | None:
        """Return the topic and the error code of the first record that failed since `begin`.

        Records that were dropped with an aborted transaction do not count. After an abort all failures are known.
        """

@final
class Combiner:
    """A mapper's batch: equal words of many lines added up (the combiner of the MapReduce paper)."""

    def __new__(cls, rule: Literal["ascii", "unicode"], partitions: int) -> Combiner:
        """`partitions` is the number of partitions of `words`, by which the words of the batch are grouped."""
    def own(self, partition: int, offset: int) -> None:
        """Take lines of an input partition from `offset` on; with -1, from the first line that comes.

        This alone does not move the partition's next offset (see `offsets`). Other negative numbers raise ValueError.
        """
    def disown(self, partition: int) -> None:
        """Take no more lines of the partition. Its lines stay in the batch: commit or clear the batch before."""
    def add(self, inbox: Inbox) -> None:
        """Add the inbox's records to the batch and empty the inbox.

        A null value is a null line: skipped and counted. A line with a word longer than MAX_WORD_BYTES is
        rejected whole: none of its words count. The end of a partition moves its next offset there.
        """
    def records(self) -> Records:
        """Return the `words` records, one for each distinct word, in byte order of the words of each partition.

        They have the time of the oldest line counted (`Records.line_time`), as those of `packed` and `mixed`.

        The key is the word. The value is the word's count in the batch: 8 bytes, big endian, signed. The batch stays.
        """
    def packed(self, limit: int) -> Records:
        """Return the same words as packed records of many words, with values of at most `limit` bytes.

        A word that is longer than `limit` has a record of its own. `rust/wire/packed.rs` has the format.
        """
    def mixed(self, homes: Sequence[int], limit: int) -> Records:
        """Return the same words as packed records that may have words of several partitions.

        `homes` has, for each partition, the partition that its words are written to. Raises ValueError where its length
        is not the number of partitions, or a number in it is no partition.
        """
    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of every owned partition whose next offset moved since `clear`."""
    def rejected(self) -> list[tuple[int, int, bytes | None, bytes | None, str]]:
        """Return the records of the batch that can't be processed: (partition, offset, key, value, reason)."""
    def clear(self) -> None:
        """Forget the batch, after its commit or to drop it; owned partitions and next offsets stay."""
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
        """About how many bytes of memory the batch takes: its words and its rejected records.

        0 after `clear`, though the process keeps the memory of the table for the next batch.
        """

@final
class Aggregator:
    """A reducer's batch: `words` records added up by partition and word."""

    def __new__(cls, partitions: int) -> Aggregator:
        """`partitions` is the number of partitions of `words`; mixed records have words of any partition."""
    def own(self, partition: int, offset: int) -> None:
        """As `Combiner.own`."""
    def disown(self, partition: int) -> None:
        """As `Combiner.disown`."""
    def add(self, inbox: Inbox) -> None:
        """Add the inbox's records to the batch.

        A record's value is a count (8 bytes, big endian, signed), null, which means 1, or packed words.
        A record is rejected if it has no key, a key longer than MAX_WORD_BYTES, or a value that is neither a count nor
        well-formed packed words. It is also rejected if the sum of one of its words in the batch would not fit 8 bytes;
        a packed record is taken or rejected as a whole. Ends of partitions are as in `Combiner.add`.
        """
    def partitions(self) -> list[int]:
        """Return, in order, the owned partitions of which the batch has words."""
    def words(self, partition: int, state: State | None = None) -> list[bytes]:
        """Return the partition's distinct words in byte order, the order in which `totals` takes the old totals.

        With a state, return only the words whose totals the state does not know, which have to be looked up.
        """
    def totals(self, partition: int, old: Sequence[bytes | None], state: State | None = None) -> Totals:
        """Add the batch to the old totals, those in `old` for `words`, and those that the state knows. The batch stays.

        An old total has 8 bytes, or 4 from an older word count; it is None for a new word. Raises ValueError where an
        old total has another length, or their number is not that of the words. A sum that does not fit 8 bytes is
        `refused`.
        """
    def forwarded(self, limit: int) -> Records:
        """Return the words of partitions that are not owned, as packed `words` records of these partitions.

        The words came in mixed records. The transaction that commits the mixed records' offsets has to write these
        records. The batch stays. They have the oldest of the batch's `line_times`.
        """
    def line_times(self) -> list[tuple[int, int]]:
        """Return (time, words), oldest first: of how many words the records told this time of their oldest line.

        Times are milliseconds since 1970. Records of an older wcsup tell none. Words that are `forwarded` are among
        them.
        """
    def offsets(self) -> list[tuple[int, int]]:
        """Return what `Combiner.offsets` returns, or, after a mixed record, the offsets of all owned partitions.

        After a mixed record totals may be written of a partition whose offset did not move. Its offset is committed
        with them all the same: then it is pending, and the partition's next owner waits for the transaction (KIP-447).
        """
    def rejected(self) -> list[tuple[int, int, bytes | None, bytes | None, str]]:
        """As `Combiner.rejected`."""
    def clear(self) -> None:
        """As `Combiner.clear`."""
    @property
    def taken(self) -> int: ...
    @property
    def mixed(self) -> bool:
        """Whether the batch has a mixed record."""
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
        """Return (word, 8-byte total) pairs for the store, from index `start` to before `stop`; no deleted words."""
    def refused(self) -> list[tuple[bytes, bytes]]:
        """Return (word, 8-byte count in the batch) of words whose new totals would not fit; their totals stay."""
    def deleted(self) -> list[bytes]:
        """Return the words to delete from the store (only a changelog has any)."""
    @property
    def new_words(self) -> int:
        """By how much the number of words in the store changes."""
    @property
    def new_long(self) -> int:
        """By how much the number of words changes that are too long for the top words."""
    @property
    def added(self) -> int:
        """By how much the sum of all totals changes."""
    def __len__(self) -> int:
        """Return the number of totals, which leaves deleted words out."""

@final
class State:
    """The part of one partition's totals that is in memory: resident totals, unwritten totals, top words.

    All words before the `frontier`, in byte order, are resident: a word before it that is not resident is new. The
    totals of all other words are unwritten (in the write-behind buffer), or in the store. A resident word takes some 10
    bytes.
    """

    def __new__(cls, listed: int, top: Sequence[tuple[bytes, int]] = (), *, empty: bool) -> State:
        """Return the state of a partition with these top words, of which it lists at most `listed`.

        `empty`: the partition has no words, so all of its words are resident. Otherwise none is.
        """
    def take(self, totals: Totals) -> bool:
        """Take new totals: those of an `Aggregator` after their commit, or of a `Changelog`. They are unwritten.

        Returns whether that may have changed the top words.
        """
    def top(self, most: int | None = None, totals: Totals | None = None) -> list[tuple[bytes, int]]:
        """Return (word, total) of the top words, all or the first `most`: highest first, equal ones in byte order.

        With `totals`, as the top words will be after taking these. Words over 256 bytes are left out. The list is exact
        as long as totals only rise. A deleted word leaves the list; a listed word whose total fell stays listed
        with its new total.
        """
    def behind(self) -> Totals:
        """Return the unwritten totals: the last total of each word, and words to delete, but not what these change."""
    def written(self) -> None:
        """Forget the unwritten totals, since the store has them."""
    @property
    def unwritten(self) -> int:
        """How many words are unwritten."""
    def scan(self, entries: Iterable[tuple[bytes, bytes]], bytes: int) -> bool:
        """Make words of the store resident. `entries` has them with their totals, in byte order from the frontier on.

        Takes about `bytes` of them; returns whether there were no more. An unwritten total, which is newer, goes before
        the store's. Raises ValueError where words are not in byte order, or as `Aggregator.totals` does; then the state
        does not change.
        """
    def packed(self) -> bytes:
        """Return the resident totals in the form that they have in memory."""
    def unpack(self, packed: bytes, frontier: bytes | None) -> None:
        """Make the totals resident that `packed` of another state returned, which had the same words and `frontier`.

        Call it before `take`. Raises ValueError where they are damaged.
        """
    def complete(self) -> None:
        """Take note that the store has no words from the frontier on."""
    def limit(self, bytes: int) -> None:
        """Bound the memory of the resident totals: beyond the bound, the last words are dropped from memory."""
    @property
    def has_room(self) -> bool:
        """Whether the limit leaves room to scan more words."""
    @property
    def frontier(self) -> bytes | None:
        """The word before which all words are resident; none where all words are."""
    @property
    def resident(self) -> int:
        """How many words are resident."""
    @property
    def memory(self) -> int:
        """About how many bytes the resident totals take."""

@final
class Changelog:
    """Records of `counts`, folded by partition and word while a store is restored: the last record is valid."""

    def __new__(cls) -> Changelog: ...
    def own(self, partition: int, offset: int) -> None:
        """As `Combiner.own`."""
    def disown(self, partition: int) -> None:
        """Forget the partition and its records."""
    def add(self, inbox: Inbox) -> None:
        """Add the inbox's records: a value of 8 or 4 bytes is a total, null (a tombstone) deletes the word.

        Other values are skipped and counted in `malformed`. Ends of partitions are as in `Combiner.add`.
        """
    def next_offset(self, partition: int) -> int:
        """Return the offset that is expected next; behind control records after the end was reported.

        Raises ValueError for a partition that is not owned.
        """
    def words(self, partition: int, state: State | None = None) -> list[bytes]:
        """Return the distinct words of a partition's records, deleted ones too, as `Aggregator.words` does."""
    def totals(self, partition: int, old: Sequence[bytes | None] | None, state: State | None = None) -> Totals:
        """Return the partition's last totals as changes to the old ones, and forget them; the next offset stays.

        `old`, the state and the errors are as in `Aggregator.totals`; after an error nothing is forgotten. `old` is
        None where there are no old totals.
        """
    @property
    def taken(self) -> int:
        """Records read since the changelog was made, with malformed ones."""
    @property
    def malformed(self) -> int: ...
    @property
    def memory(self) -> int:
        """About how many bytes of memory the records take."""
