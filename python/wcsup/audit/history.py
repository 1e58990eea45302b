"""What `wcsup verify --history` found, for a reader and for a program; `wcsup.audit.analyses` looks for it."""

from collections import Counter
from dataclasses import dataclass, field

from wcsup.audit.transactions import Anomaly
from wcsup.process.printable import printable


@dataclass(slots=True)
class TopicSeen:
    """How much of a topic is still there to be looked at."""

    offsets: int
    """Offsets that were ever given, markers included."""
    missing: int
    """Those that are deleted: by retention, behind what is counted, or by compaction."""
    records: int
    """Records that are there, without markers of transactions."""
    plain: int
    """Records that no transaction wrote."""


@dataclass(slots=True)
class HistoryReport:
    """The result of looking at the history."""

    transactions: int = 0
    """Transactions of the application that coordinators still know, committed or aborted."""
    judged: int = 0
    """Commits that were compared with the fold of what they polled."""
    unjudged: dict[str, int] = field(default_factory=dict)
    """Why others were not, and how many."""
    unknown_producers: int = 0
    """Producers of `words` and `counts` that no coordinator knows any more, or that this user may not see."""
    going_on: int = 0
    """Transactions that are open, since they go on."""
    topics: dict[str, TopicSeen] = field(default_factory=dict)
    """By plain name, and `__consumer_offsets`."""
    anomalies: list[Anomaly] = field(default_factory=list)
    """What must not be there."""
    undecided: list[str] = field(default_factory=list)
    """Why not all could be looked at."""

    @property
    def holds(self) -> bool:
        """Whether all could be looked at that is still there, and nothing is wrong with it."""
        return not self.anomalies and not self.undecided

    def text(self, shown: int) -> list[str]:
        """Return the result as lines for a reader, with so many anomalies at most."""
        what = f"{self.transactions:,} transactions, of which {self.judged:,} commits were compared with what they read"
        if self.anomalies:
            kinds = Counter(one.kind for one in self.anomalies)
            found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items())
            lines = [f"history: WRONG: {found}, in {what}"]
        elif self.undecided:
            lines = [f"history: undecided: nothing is wrong with {what}, but {'; '.join(self.undecided)}"]
        elif not self.transactions:
            lines = ["history: no transaction is there to be looked at"]
        else:
            lines = [f"history: nothing is wrong with {what}"]
        lines += [f"  {one.kind}: {printable(one.what)}" for one in self.anomalies[:shown]]
        if (more := len(self.anomalies) - shown) > 0:
            lines.append(f"  and {more:,} more (--most {len(self.anomalies)} shows all)")
        if self.anomalies:
            lines += [f"  undecided: {why}" for why in self.undecided]
        lines += [f"  not compared: {count:,}, since {why}" for why, count in self.unjudged.items()]
        if self.topics:
            lines.append(
                "  still there: " + ", ".join(f"{name} {_share(name, one)}" for name, one in self.topics.items())
            )
        if self.unknown_producers:
            lines.append(
                "  producers that no coordinator knows now, or that are hidden from this user: "
                f"{self.unknown_producers:,}; only their records were looked at"
            )
        if plain := {name: one.plain for name, one in self.topics.items() if one.plain and name in WRITTEN}:
            told_plain = ", ".join(f"{count:,} of {name}" for name, count in plain.items())
            lines.append(f"  records that another program wrote, without a transaction: {told_plain}")
        if self.going_on:
            lines.append(f"  open transactions that go on: {self.going_on:,}")
        return lines


WRITTEN = ("words", "counts")
"""Topics to which workers alone are to write, in transactions."""

_WHY_MISSING = {"words": "deleted behind what is counted", "lines": "deleted by retention"}


def _share(name: str, seen: TopicSeen) -> str:
    there = seen.offsets - seen.missing
    if not seen.missing:
        return f"all {there:,} offsets"
    return f"{there:,} of {seen.offsets:,} offsets (the rest is {_WHY_MISSING.get(name, 'compacted')})"
