"""The age of the oldest line that no total has yet."""

import time
from collections.abc import Callable, Mapping, Sequence

from wcsup.config import Config
from wcsup.kafka.peek import Peek, Place
from wcsup.kafka.progress import PartitionProgress

PATIENCE_SECONDS = 0.5
_REST = 20.0
"""How many times as long as a look-up the next one waits: at full speed the offsets have always moved, and each look-up
fetches a whole batch of lines from every partition."""
_MOST_REST_SECONDS = 4.0
_HELD_SECONDS = 5.0
"""How long the last age holds while it is not looked up anew."""


def uncounted(lines: Sequence[PartitionProgress], words: Sequence[PartitionProgress]) -> dict[Place, int]:
    """Return the first uncounted offset of each place that has a lag, given the progress of both stages' partitions."""
    return {
        (stage, partition): one.offset
        for stage, found in (("lines", lines), ("words", words))
        for partition, one in enumerate(found)
        if one.lag
    }


class Oldest:
    """Follows the first uncounted record of each partition of `lines` and `words`."""

    def __init__(
        self,
        config: Config,
        peek: Peek | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`patience` is how long a look-up may take."""
        self._peek = peek or Peek(config)
        self._clock, self._wall_clock, self._patience = clock, wall_clock, patience
        self._known: dict[tuple[Place, int], float | None] = {}
        """The time of the line at a place and an offset; none where no line is there."""
        self._rest_until = 0.0
        self._held: tuple[float, float] | None = None
        """When an age was found last, and that age."""

    def close(self) -> None:
        """Close the client."""
        self._peek.close()

    def age(self, nexts: Mapping[Place, int]) -> float | None:
        """Return the age in seconds of the oldest line, given the first uncounted offset of each place that has a lag.

        It is 0 where there is no lag, and none where the time of a line is not known. While the last look-up was less
        than its rest ago, and offsets have moved since, the age is the one found then.
        """
        if not nexts:
            self._known, self._held = {}, None
            return 0.0
        now = self._clock()
        places = nexts.items()
        missing = {place: offset for place, offset in places if (place, offset) not in self._known}
        if missing and now >= self._rest_until:
            found = self._peek.times(missing, self._patience)
            ended = self._clock()
            self._rest_until, now = ended + min(_MOST_REST_SECONDS, _REST * (ended - now)), ended
            self._known = {key: at for key, at in self._known.items() if key in set(places)}
            self._known |= {(place, missing[place]): at for place, at in found.items()}
            missing = {place: offset for place, offset in missing.items() if place not in found}
            if missing:
                self._held = None
        if not missing:
            made = [at for place in places if (at := self._known[place]) is not None]
            self._held = now, max(0.0, self._wall_clock() - min(made)) if made else 0.0
        return self._held[1] if self._held is not None and now - self._held[0] <= _HELD_SECONDS else None
