"""A mapper: lines in, the distinct words of the batch out, with their counts (the combiner of the MapReduce paper)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient

from wcsup import _core
from wcsup.config import Config
from wcsup.kafka.ownership import Homes, Owners
from wcsup.kafka.sighting import Sight
from wcsup.kafka.writer import Written
from wcsup.pipeline.letters import Letters
from wcsup.pipeline.records import PACKED_BYTES
from wcsup.pipeline.report import Counters, Found, Report
from wcsup.pipeline.transaction import Outbox

if TYPE_CHECKING:
    from wcsup.state.restore import Committed

FULL_DISTINCT = 100_000
FULL_BYTES = 32 << 20
"""Bounds on a batch: its distinct words and the bytes that it holds, so that memory is bounded for any text."""

PLAIN_DISTINCT = 100
"""Batches of more distinct words are written packed: above this number that costs mapper, broker and reducer less."""
MIXED_DISTINCT = range(11, 5_001)
"""A batch with a number of distinct words in this range writes mixed records: one record for the words of all
partitions that one reducer owns.

Each partition of a transaction takes a request and a marker, which cost more than a light load's words: a dozen
partitions were half of its commit. Larger batches write every partition, since several brokers take the requests side
by side. Smaller batches write plain records, which any Kafka client can read.
"""


class Mapper:
    """The map stage. Its batch is its only state."""

    input = "lines"
    # This paces a light load at some 40 commits a second: a commit costs the broker 3 ms of processor time however few
    # records it has. New lines wait at the broker; without this wait, each line that is sent alone would be a fetch.
    # The time has to be longer than most commits take: lines are late if a commit has not ended when the next batch
    # comes.
    fetch_seconds = 0.024
    # With several brokers, `fetch_seconds` alone does not pace: each broker answers its fetches at a time of its own.
    pause_seconds = 0.015
    gather_seconds = 0.0
    upkeep = None

    def __init__(self, config: Config, admin: AdminClient, sight: Sight) -> None:
        self._batch = _core.Combiner(config.words, config.partitions)
        self._topic = config.topic("words")
        self._letters = Letters(admin, config, config.topic(self.input))
        # The broker does not describe a KIP-848 group to DescribeGroups: under KIP-848 there are no mixed records.
        self._homes = Homes(Owners(sight, config.reduce_group), config.partitions)
        self._opening: set[int] = set()
        self._counters = Counters()
        self._written = 0

    def own(self, partition: int, offset: int) -> None:
        """Take lines of a partition from `offset` on."""
        self._batch.own(partition, offset)

    def disown(self, partition: int, *, again: bool = False) -> None:  # noqa: ARG002 - see Stage
        """Take no more lines of a partition."""
        self._opening.discard(partition)
        self._batch.disown(partition)

    def begin(self, partition: int) -> None:
        """Start opening a partition: only its committed offset is needed."""
        self._opening.add(partition)

    def opened(self, committed: "Committed") -> dict[int, int]:
        """Return the partitions whose committed offsets are known now."""
        if not self._opening:
            return {}
        offsets = committed(sorted(self._opening))
        if offsets is None:
            return {}
        self._opening.clear()
        return offsets

    @property
    def taken(self) -> int:
        """Lines in the batch."""
        return self._batch.taken

    @property
    def taken_bytes(self) -> int:
        """Bytes of the lines in the batch."""
        return self._batch.bytes

    @property
    def full(self) -> bool:
        """Whether the batch is at its bound."""
        return self._batch.distinct >= FULL_DISTINCT or self._batch.memory >= FULL_BYTES

    def add(self, inbox: _core.Inbox) -> None:
        """Add the words of the inbox's lines to the batch."""
        self._batch.add(inbox)

    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of the partitions that had lines since the last commit."""
        return self._batch.offsets()

    def clear(self) -> None:
        """Drop the batch."""
        self._batch.clear()

    def outbox(self, *, last: bool = False) -> Outbox:  # noqa: ARG002 - a mapper owes nothing at its end
        """Return the distinct words with their counts, by partition of `words`."""
        records = self._records()
        self._written = len(records)
        letters = [self._letters.of(refused) for refused in self._batch.rejected()]
        apart = bool(letters) and self._letters.apart
        return Outbox([(self._topic, records)], letters, letters_apart=apart)

    def _records(self) -> _core.Records:
        batch = self._batch
        if batch.distinct in MIXED_DISTINCT and (homes := self._homes.now()) is not None:
            return batch.mixed(homes, PACKED_BYTES)
        return batch.packed(PACKED_BYTES) if batch.distinct > PLAIN_DISTINCT else batch.records()

    def committed(self, written: Written) -> None:  # noqa: ARG002 - a mapper keeps no changelog offset
        """Count the batch and begin the next one."""
        counters, batch = self._counters, self._batch
        counters.records += batch.taken
        counters.words += batch.words
        counters.bytes += batch.bytes
        counters.null_lines += batch.null_lines
        counters.dead_letters += len(batch.rejected())
        counters.written += self._written
        batch.clear()

    def find(self, words: Sequence[tuple[int, bytes]]) -> list[Found | None]:
        """Return nothing for each word: a mapper has no totals."""
        return [None] * len(words)

    def tell(self, report: Report) -> None:
        """Add the counters."""
        report.counters = self._counters

    def close(self) -> None:
        """Nothing is open."""
