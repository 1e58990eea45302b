"""How fast counters rise."""

from collections import deque

WINDOW_SECONDS = 3.0
"""In a backlog workers may commit only once a second: a window of three seconds evens the rate out."""


class Rate:
    """How fast a counter rises, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, at: float, count: int) -> float:
        """Take the counter's value; return how much it rises in a second."""
        self._seen.append((at, count))
        while len(self._seen) > 2 and self._seen[1][0] <= at - WINDOW_SECONDS:
            self._seen.popleft()
        first_at, first = self._seen[0]
        # A killed worker's unreported counts are lost, so the counter may fall: a rate is never negative.
        return max(0.0, (count - first) / (at - first_at)) if at > first_at else 0.0
