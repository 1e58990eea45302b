"""One partition's state: its totals in memory, and its store, which is written behind (write-behind)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wcsup import _core
from wcsup.state.store import Stamp, Store

TOP_WORDS = 100
"""How many of a partition's most frequent words are kept for `top`."""


@dataclass(slots=True)
class Partition:
    """A reducer's state of one partition. `rust/totals/state.rs` says where a word's total is found."""

    store: Store
    stamp: Stamp
    """Up to where the partition is counted, without top words. The store's own stamp is behind while totals are
    unwritten."""
    totals: _core.State
    input_offset: int = 0
    unwritten_since: float | None = None
    """When the oldest total that is missing in the store was taken; none where the store has all totals."""

    @classmethod
    def of(cls, store: Store, stamp: Stamp, before: "Partition | None" = None) -> "Partition":
        """Return the state of an opened store.

        `before` is the state that this process had of the partition until it closed the store, such as after an aborted
        batch. Its totals are still valid if the store has the same stamp as then.
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
        """Close the store; `keep`: first save the resident totals for its next opening, if none is unwritten."""
        if keep and self.unwritten_since is None:
            self.store.keep(self.totals)
        self.store.close()

    def new_totals(self, batch: _core.Aggregator | _core.Changelog, number: int) -> _core.Totals:
        """Return the totals of this partition (its `number`) as they are after a batch; the state does not change."""
        words = batch.words(number, self.totals)
        return batch.totals(number, self.store.lookup(words), self.totals)

    def find(self, words: Sequence[bytes]) -> list[int]:
        """Return the committed total of each word, 0 for a word that was never counted; the state does not change."""
        batch = _core.Aggregator(1)
        batch.own(0, 0)
        batch.add(_core.Inbox((0, number, word, bytes(8)) for number, word in enumerate(words)))
        found = {word: int.from_bytes(total, "big", signed=True) for word, total in self.new_totals(batch, 0).pairs()}
        return [found.get(word, 0) for word in words]

    def take(self, totals: _core.Totals, next_offset: int, *, own: bool) -> bool:
        """Take new totals that `counts` has below `next_offset`; return whether the top words may have changed.

        `own` is as in `Stamp`. The totals are unwritten until `write`. If the process dies before, the store's stamp is
        behind, and the next process reads the missing records from `counts`.
        """
        if self.unwritten_since is None:
            self.unwritten_since = time.monotonic()
        self.stamp = self.stamp.after(totals, next_offset, own=own)
        return self.totals.take(totals)

    @property
    def stamped(self) -> Stamp:
        """The stamp for the store, with the top words as Latin-1 text, so that JSON can hold any word."""
        return replace(self.stamp, top=tuple((word.decode("latin-1"), total) for word, total in self.totals.top()))

    def write(self, *, loaded: bool = False) -> None:
        """Write the unwritten totals and the stamp to the store; `loaded`: the store has these totals already."""
        self.store.only_written(self.totals.frontier is None or self.totals.has_room)
        self.store.write(None if loaded else self.totals.behind(), self.stamped)
        self.totals.written()
        self.unwritten_since = None

    @property
    def scannable(self) -> bool:
        """Whether the store has words that are not resident, and there is room for them."""
        return self.totals.frontier is not None and self.totals.has_room

    def scan(self, size: int) -> None:
        """Make the next words of the store resident, in byte order, `size` bytes of them."""
        self.store.scan(self.totals, size)
