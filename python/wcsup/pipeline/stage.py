"""What a mapper and a reducer each bring to the loop that they share."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wcsup import _core
from wcsup.kafka.writer import Written
from wcsup.pipeline.pacing import Batch
from wcsup.pipeline.report import Report
from wcsup.pipeline.transaction import Outbox

if TYPE_CHECKING:
    from wcsup.state.restore import Committed


class Upkeep(Protocol):
    """What a stage has to do without input: publish what changed, write to stores what was kept from them."""

    @property
    def owing(self) -> bool:
        """Whether something is left that a commit is to publish."""

    @property
    def is_due(self) -> bool:
        """Whether it is time for a commit of some of it."""

    def tend(self, counted: Mapping[int, int], *, last: bool = False) -> None:
        """Do what is due beside commits, or, as the `last` thing, all of it.

        `counted` is the first input offset of each open partition that is not counted.
        """


class Stage(Batch, Protocol):
    """One step of the pipeline: takes records of its input in, gives what one commit writes."""

    input: str
    """Plain name of the input topic."""
    pause_seconds: float
    """How long after the last commit began a light batch is committed at the earliest."""
    fetch_seconds: float
    """How long the broker gathers input for a fetch; 0: it answers as soon as there is any."""

    @property
    def gather_seconds(self) -> float:
        """How long it is waited for what comes behind the records of a light batch that has just begun."""

    def own(self, partition: int, offset: int) -> None:
        """Take records of a partition from `offset` on."""

    def disown(self, partition: int, *, again: bool = False) -> None:
        """Take no more of a partition and let go of its state; its batch was committed or dropped.

        `again`: the partition stays, and is begun anew next.
        """

    def begin(self, partition: int) -> None:
        """Start opening what the partition needs."""

    def opened(self, committed: "Committed") -> dict[int, int]:
        """Go on opening; return the partitions that are open now, and the input offset that each goes on from."""

    def add(self, inbox: _core.Inbox) -> None:
        """Take in what an inbox has."""

    def offsets(self) -> list[tuple[int, int]]:
        """Return (partition, next offset) of what moved since the last commit."""

    def outbox(self, *, last: bool = False) -> Outbox:
        """Return what the batch's commit writes, without the offsets; `last`: with all that its upkeep owes."""

    def committed(self, written: Written) -> None:
        """Keep the batch for good: its commit succeeded. Also clears it."""

    def clear(self) -> None:
        """Drop the batch."""

    def tell(self, report: Report) -> None:
        """Add the stage's own figures to a report."""

    def close(self) -> None:
        """Close what is open."""

    @property
    def upkeep(self) -> Upkeep | None:
        """What is to be done beside its input; none where nothing is."""
