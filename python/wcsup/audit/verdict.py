"""The result of `wcsup verify`, for a reader and for a program."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from wcsup.audit.history import HistoryReport
from wcsup.audit.recount import recounted_by
from wcsup.config import WordRule
from wcsup.pipeline.records import readable
from wcsup.process.printable import printable

_WORD_CHARACTERS = 60
_SPARE = 1000


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One wrong total, or another mismatch."""

    what: str
    """In words, for a reader."""
    word: str | None
    topic: str
    partition: int
    offset: int | None
    """The offset of the wrong record; none where the record is missing."""
    found: int | None = None
    least: int | None = None
    most: int | None = None
    """The bounds of the total: the same number twice where it is known exactly, no `most` where nothing bounds it."""
    store: bool = False
    """Whether the local store's total is wrong, and not the topic's."""

    @property
    def size(self) -> int:
        """By how much the total is wrong."""
        found = self.found or 0
        return max((self.least or 0) - found, 0 if self.most is None else found - self.most)


@dataclass(slots=True)
class Verdict:
    """The result of a verification."""

    rule: WordRule
    shown: int = 20
    """How many disagreements are kept."""
    lines: int = 0
    """Committed lines that were recounted, without null lines and lines in `dead-letters`."""
    words: int = 0
    distinct: int = 0
    null_lines: int = 0
    rejected_lines: int = 0
    lines_waiting: int = 0
    """Lines that no mapper has committed yet."""
    loose: int = 0
    """Words whose totals changed meanwhile: they are within bounds, but not proven to be exact."""
    mismatches: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)
    """Some of the mismatches, the largest first."""
    undecided: list[str] = field(default_factory=list)
    """Why the verification could not be decided."""
    stores: dict[int, str] = field(default_factory=dict)
    """The result for each local store."""
    unresolved: int = 0
    """Words of stores whose records below the stamp were compacted away."""
    seconds: float = 0.0
    history: HistoryReport | None = None
    """With `--history`, the result of looking at the history."""

    def add(self, disagreement: Disagreement) -> None:
        """Count a disagreement, and keep it if it is among the largest."""
        self.mismatches += 1
        self.disagreements.append(disagreement)
        if len(self.disagreements) >= 2 * self.shown + _SPARE:
            self._keep_worst()

    def finish(self, seconds: float) -> None:
        """End the verdict; `seconds` is how long it took."""
        self.seconds = seconds
        self._keep_worst()

    def _keep_worst(self) -> None:
        self.disagreements.sort(key=lambda one: -one.size)
        del self.disagreements[self.shown :]

    @property
    def holds(self) -> bool:
        """Whether the verification was decided, and nothing disagrees."""
        return not self.mismatches and not self.undecided and (self.history is None or self.history.holds)

    @property
    def exact(self) -> bool:
        """Whether each total is proven to be exact, and not only to be within bounds, and the history holds."""
        return self.holds and not self.loose

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "exact": self.exact,
            "holds": self.holds,
            **asdict(self),
            "recounted_by": recounted_by(self.rule),
        }

    def text(self) -> str:
        """Return the verdict in one line, then the disagreements, the history, and remarks."""
        history = [] if self.history is None else self.history.text(self.shown)
        return "\n".join([self._verdict(), *self._disagreeing(), *history, *self._remarks()])

    def _verdict(self) -> str:
        recount = f"a recount of {self.lines:,} lines with {self.words:,} words"
        if self.mismatches:
            return f"WRONG: {self.mismatches:,} of what was compared disagree with {recount}"
        if self.undecided:
            return f"undecided: nothing disagrees with {recount}, but {'; '.join(self.undecided)}"
        if self.loose:
            return (
                f"within bounds: the totals of {self.distinct - self.loose:,} words equal {recount}; "
                f"{self.loose:,} were being counted, and are neither too low nor too high"
            )
        return f"exact: the totals of {self.distinct:,} words equal {recount}"

    def _disagreeing(self) -> list[str]:
        lines = [f"  {one.what}" for one in self.disagreements]
        more = self.mismatches - len(lines)
        return [*lines, f"  and {more:,} more (--most {self.mismatches} shows all)"] if more > 0 else lines

    def _remarks(self) -> list[str]:
        remarks = []
        if self.mismatches:
            remarks += self.undecided
        if any(one.most is not None and (one.found or 0) > one.most and not one.store for one in self.disagreements):
            remarks.append(
                "totals are too high where somebody else wrote to words or counts, or where lines was made again"
            )
        if self.null_lines or self.rejected_lines:
            remarks.append(f"{self.null_lines:,} null lines and {self.rejected_lines:,} in dead-letters do not count")
        if self.lines_waiting:
            remarks.append(f"{self.lines_waiting:,} lines wait to be counted")
        if self.stores:
            results = Counter(self.stores.values())
            remarks.append("local stores: " + ", ".join(f"{count} {result}" for result, count in results.items()))
        if self.unresolved:
            remarks.append(f"{self.unresolved:,} words of stores could not be compared: compaction took their records")
        if self.rule != "ascii":
            remarks.append(f"words were split by {recounted_by(self.rule)}")
        speed = self.lines / self.seconds if self.seconds else 0
        return [*remarks, f"took {self.seconds:.1f} s, {speed:,.0f} lines/s"]


def short(word: bytes) -> str:
    """Return a word shortened for a reader: a word of a million bytes would fill the screen."""
    text = printable(readable(word))
    return text if len(text) <= _WORD_CHARACTERS else f"{text[:_WORD_CHARACTERS]}… ({len(word):,} bytes)"
