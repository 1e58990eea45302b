"""The interface of mapper and reducer to the loop that they share."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from wcsup import _core
from wcsup.kafka.writer import Written
from wcsup.pipeline.pacing import Batch
from wcsup.pipeline.report import Found, Report
from wcsup.pipeline.transaction import Outbox

if TYPE_CHECKING:
    from wcsup.state.restore import Committed


class Upkeep(Protocol):
    """Work of a stage that needs no input: publish top words, write buffered totals to the stores, scan stores."""

    @property
    def owing(self) -> bool:
        """Whether a commit has something left to publish."""

    @property
    def is_due(self) -> bool:
        """Whether it is time for a commit that publishes some of it."""

    def tend(self, counted: Mapping[int, int], alive: Callable[[], None], *, last: bool = False) -> None:
        """Do the work that is due and needs no commit; with `last`, all of that work.

        `counted` has, for each open partition, its first input offset that is not counted yet. `alive` is called again
        and again where the work takes long.
        """


class Stage(Batch, Protocol):
    """One step of the pipeline: takes records of its input, gives the records that one commit writes."""

    input: str
    """Name of the input topic, without prefix."""
    pause_seconds: float
    """The shortest time from the beginning of a commit to the next commit of a light batch."""
    fetch_seconds: float
    """How long the broker gathers input for a fetch; with 0 it answers as soon as there is any."""

    @property
    def gather_seconds(self) -> float:
        """How long the loop waits for more records when a light batch has just begun."""

    def own(self, partition: int, offset: int) -> None:
        """Take records of a partition from `offset` on."""

    def disown(self, partition: int, *, again: bool = False) -> None:
        """Take no more records of a partition and release its state; its batch was committed or dropped before.

        `again`: the partition stays with this worker, and `begin` is called next.
        """

    def begin(self, partition: int) -> None:
        """Start opening what the partition needs."""

    def opened(self, committed: "Committed") -> dict[int, int]:
        """Go on opening; return the partitions that are open now, and the input offset at which each resumes."""

    def add(self, inbox: _core.Inbox) -> None:
        """Add the inbox's records to the batch."""

    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of the partitions that had records since the last commit."""

    def outbox(self, *, last: bool = False) -> Outbox:
        """Return what the batch's commit writes, without the offsets; `last`: with all that its upkeep owes."""

    def committed(self, written: Written) -> None:
        """Take the batch into the stage's state, since its commit succeeded, and begin a new batch."""

    def clear(self) -> None:
        """Drop the batch."""

    def find(self, words: Sequence[tuple[int, bytes]]) -> list[Found | None]:
        """Return the committed totals of words, each given with its partition; none where it has no such partition."""

    def tell(self, report: Report) -> None:
        """Add the stage's own figures to a report."""

    def close(self) -> None:
        """Close all that is open."""

    @property
    def upkeep(self) -> Upkeep | None:
        """The stage's work that needs no input; none where it has no such work."""
