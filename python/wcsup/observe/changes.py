"""How fast the most frequent words rise, and how their order changes."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from wcsup.process.rates import Rate

ORDER_SECONDS = 10.0
"""Places are compared with those of so long ago, so that a change can be seen for a while."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A word of the list."""

    rank: int
    word: str
    total: int
    rate: float | None
    """By how much its total rises in a second; none where it was not in the list a moment ago."""
    moved: int | None
    """How many places it rose in the last `ORDER_SECONDS`, below 0 where it fell; none where it is new in the list."""

    @property
    def change(self) -> str:
        """The change of its place, in a word or two."""
        if self.moved is None:
            return "new"
        if self.moved == 0:
            return ""
        return f"up {self.moved}" if self.moved > 0 else f"down {-self.moved}"


class Changes:
    """Compares lists of the most frequent words."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}
        self._orders: deque[tuple[float, dict[str, int]]] = deque()

    def take(self, at: float, words: Sequence[tuple[str, int]]) -> list[Ranked]:
        """Take the list of the time `at`, highest first; return it with its changes."""
        self._orders.append((at, {word: rank for rank, (word, _) in enumerate(words, 1)}))
        while len(self._orders) > 2 and self._orders[1][0] <= at - ORDER_SECONDS:
            self._orders.popleft()
        known, before = self._rates, self._orders[0][1]
        self._rates = {word: known.get(word) or Rate() for word, _ in words}
        rates = {word: self._rates[word].take(at, total) for word, total in words}
        return [
            Ranked(
                rank,
                word,
                total,
                rates[word] if word in known else None,
                before[word] - rank if word in before else None,
            )
            for rank, (word, total) in enumerate(words, 1)
        ]
