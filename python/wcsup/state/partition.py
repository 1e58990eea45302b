"""One partition's state: what is in memory of its totals, and the store that is written behind them."""

import time
from dataclasses import dataclass, replace

from wcsup import _core
from wcsup.state.store import Stamp, Store

TOP_WORDS = 100
"""How many words of a partition are kept for `top`."""


@dataclass(slots=True)
class Partition:
    """What a reducer has of a partition. `rust/totals/state.rs` says where a word's total is found."""

    store: Store
    stamp: Stamp
    """What has been counted, without the top words: the store's own stamp is behind while totals are unwritten."""
    totals: _core.State
    input_offset: int = 0
    unwritten_since: float | None = None
    """When the oldest total that the store does not have came; none where it has all of them."""

    @classmethod
    def of(cls, store: Store, stamp: Stamp, before: "Partition | None" = None) -> "Partition":
        """Return the state of an opened store.

        `before` is the state that this process had of the partition until its store was closed, as for an aborted
        batch. Its totals are still right where the store is as it was then.
        """
        plain = replace(stamp, top=())
        if before is not None and before.unwritten_since is None and before.stamp == plain:
            return cls(store, plain, before.totals)
        top = [(word.encode("latin-1"), total) for word, total in stamp.top]
        totals = _core.State(TOP_WORDS, top, empty=stamp.distinct == 0)
        if stamp is store.stamp:
            store.kept(totals)
        return cls(store, plain, totals)

    def close(self, *, keep: bool) -> None:
        """Close the store; `keep` the resident totals for the next process that opens it, where it has all of them."""
        if keep and self.unwritten_since is None:
            self.store.keep(self.totals)
        self.store.close()

    def new_totals(self, batch: _core.Aggregator | _core.Changelog, number: int) -> _core.Totals:
        """Return what a batch makes of the totals of this partition, which has that number; nothing changes here."""
        words = batch.words(number, self.totals)
        return batch.totals(number, self.store.lookup(words), self.totals)

    def take(self, totals: _core.Totals, next_offset: int, *, own: bool) -> bool:
        """Take in totals that `counts` has below `next_offset`; return whether the top words may have changed.

        `own`: as in `Stamp`. The totals are unwritten: a process that dies before `write` leaves the store behind, as
        its stamp says, and a new one reads what it missed.
        """
        if self.unwritten_since is None:
            self.unwritten_since = time.monotonic()
        self.stamp = self.stamp.after(totals, next_offset, own=own)
        return self.totals.take(totals)

    @property
    def stamped(self) -> Stamp:
        """The stamp for the store, with the top words as Latin-1 text, so that any word can stand in JSON."""
        return replace(self.stamp, top=tuple((word.decode("latin-1"), total) for word, total in self.totals.top()))

    def write(self, *, loaded: bool = False) -> None:
        """Write what is unwritten to the store, with its stamp; `loaded`: the store has the totals already."""
        self.store.only_written(self.totals.frontier is None or self.totals.has_room)
        self.store.write(None if loaded else self.totals.behind(), self.stamped)
        self.totals.written()
        self.unwritten_since = None

    @property
    def scannable(self) -> bool:
        """Whether the store has words that are not resident, and there is room for them."""
        return self.totals.frontier is not None and self.totals.has_room

    def scan(self, size: int) -> None:
        """Make the next words of the store resident, in byte order, so many bytes of them."""
        self.store.scan(self.totals, size)
