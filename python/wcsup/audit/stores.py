"""Comparing local stores with `counts`: a store has to be the fold of the topic below its stamp."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from wcsup.config import Config
from wcsup.errors import StoreBrokenError
from wcsup.kafka.topics import Identity
from wcsup.state.store import Stamp, StoreLockedError, peek

OF_ANOTHER = "of another topic or time, and rebuilt when opened"

Fold = dict[bytes, tuple[int, int]]
"""For each word the last total, and the offset of its record."""


@dataclass(slots=True)
class StoreCheck:
    """The result for one store."""

    partition: int
    result: str = "agree"
    """`agree`, `differ`, or why it was not compared."""
    broken: str | None = None
    """What is wrong with the store as a whole."""
    stamp: Stamp | None = None
    totals: dict[bytes, int] = field(default_factory=dict)
    unresolved: dict[bytes, int] = field(default_factory=dict)
    """Totals that the store has and the topic below the stamp lacks: wrong, unless compaction removed the record."""

    def place(self, start: int, end: int) -> None:
        """Take the bounds of the partition of `counts`: a stamp outside of them does not belong to this topic."""
        if self.stamp is not None and not start <= self.stamp.next_offset <= end:
            self.result, self.stamp, self.totals = OF_ANOTHER, None, {}


@dataclass(frozen=True, slots=True)
class StoreDifference:
    """A word whose total in a store is not that in `counts`."""

    word: bytes
    in_store: int | None
    in_counts: int | None
    offset: int | None


def find(config: Config) -> dict[int, Path]:
    """Return the stores of the application in its state directory, by partition."""
    state = config.state
    try:
        about = json.loads((state / "application.json").read_text())
        if (about["app_id"], about["topic_prefix"]) != (config.app_id, config.topic_prefix):
            return {}
        return {int(path.name): path for path in (state / "stores").iterdir() if path.name.isdigit()}
    except (OSError, ValueError, KeyError):
        return {}


def load(partition: int, path: Path, identity: Identity, partitions: int) -> StoreCheck:
    """Read a store, if no worker has it open."""
    try:
        stamp, totals = peek(path)
    except StoreLockedError:
        return StoreCheck(partition, "in use")
    except StoreBrokenError as error:
        return StoreCheck(partition, "damaged", str(error))
    if stamp is None:
        return StoreCheck(partition, "empty")
    if (stamp.cluster, stamp.topic, stamp.partitions) != (identity.cluster, identity.topics["counts"], partitions):
        return StoreCheck(partition, OF_ANOTHER)
    return StoreCheck(partition, stamp=stamp, totals={word: _number(total) for word, total in totals.items()})


def compare(check: StoreCheck, fold: Fold) -> list[StoreDifference]:
    """Compare a store with the fold of `counts` below its stamp."""
    assert check.stamp is not None  # noqa: S101 - only stores that could be read are compared
    left = check.totals
    differences = []
    figures = len(left), sum(left.values())
    if figures != (check.stamp.distinct, check.stamp.total):
        says = f"its stamp says {check.stamp.distinct:,} words and a sum of {check.stamp.total:,}"
        check.broken = f"the store has {figures[0]:,} words and a sum of {figures[1]:,}, {says}"
    for word, (total, offset) in fold.items():
        in_store = left.pop(word, None)
        if in_store != total:
            differences.append(StoreDifference(word, in_store, total, offset))
    check.unresolved, check.totals = left, {}
    return differences


def resolve(check: StoreCheck, fold: Fold) -> list[StoreDifference]:
    """Judge the words that only the store had, after all of `counts` is folded.

    A word with a record above the stamp may have had another one below it: compaction keeps only the last record.
    """
    wrong = [StoreDifference(word, total, None, None) for word, total in check.unresolved.items() if word not in fold]
    for difference in wrong:
        del check.unresolved[difference.word]
    return wrong


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "big", signed=True)
