"""When partitions are committed, as somebody sees it who asks all the time.

Of mappers the committed offsets of `lines` tell it. Of reducers the ends of `counts` do: under a light load the words
of all partitions come in records of some, and the offsets of the others stand still.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial

from application import Application, wait_for
from confluent_kafka import TopicPartition

from wcsup.config import Config
from wcsup.kafka import clients, groups, topics

ROLES = ("map", "reduce")


def counted(config: Config) -> dict[int, int]:
    """Return the end of each partition of `counts`, without open transactions."""
    wanted = [TopicPartition(config.topic("counts"), partition) for partition in range(config.partitions)]
    return {partition: end for (_, partition), end in topics.stable_ends(clients.admin(config), wanted).items()}


class Sampler(threading.Thread):
    """Notes when a commit is seen in each partition of a role."""

    def __init__(self, application: Application, role: str) -> None:
        super().__init__(daemon=True)
        self.config = application.config
        self.role = role
        self.moves: dict[int, list[float]] = defaultdict(list)
        self.ended = False

    def run(self) -> None:
        last: dict[int, int] = {}
        while not self.ended:
            offsets = self._offsets()
            now = time.monotonic()
            for partition, offset in offsets.items():
                if offset >= 0 and offset != last.get(partition):  # below: nothing is committed yet
                    assert offset >= last.get(partition, -1), "committed offsets never go back"
                    last[partition] = offset
                    self.moves[partition].append(now)
            time.sleep(0.005)

    def _offsets(self) -> dict[int, int]:
        config = self.config
        if self.role == "map":
            return groups.committed(config, config.map_group, config.topic("lines"), config.partitions)
        return counted(config)

    def moved_after(self, partition: int, moment: float) -> float | None:
        return min((move for move in list(self.moves[partition]) if move > moment), default=None)

    def all_moved_after(self, partitions: Collection[int], moment: float) -> bool:
        return all(self.moved_after(partition, moment) for partition in partitions)

    def wait_all_moved(self, partitions: Collection[int], moment: float) -> float:
        """Wait until each of the partitions has moved after a moment; return when the last one did."""
        wait_for("its partitions move", partial(self.all_moved_after, partitions, moment))
        return max(self.moved_after(partition, moment) or moment for partition in partitions)

    def longest_pause(self, partition: int, begin: float, end: float) -> float:
        return longest_pause(self.moves[partition], begin, end)


def longest_pause(moments: Sequence[float], begin: float, end: float) -> float:
    """Return the longest time between two of these moments, of the begin and of the end; others may add to them."""
    within = [begin, *(moment for moment in list(moments) if begin < moment < end), end]
    return max(b - a for a, b in itertools.pairwise(within))
