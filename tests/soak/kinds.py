"""The kinds of faults, and how often each comes for once that the others do."""

import random
from collections.abc import Callable

from soak import disk, network, processes, strangers
from soak.field import Field
from soak.journal import Event

Fault = Callable[[Field, random.Random, Event], None]
"""Does harm for a while and undoes what does not undo itself; notes what it hit.

Raises `NobodyError` where there is nobody to hit right now.
"""

KINDS: dict[str, tuple[int, Fault]] = {
    "a worker killed": (4, processes.kill),
    "several workers killed": (2, processes.kill_several),
    "a worker killed at a named step": (6, processes.crash),
    "a worker stopped": (4, processes.stop),
    "a worker stopped at a named step": (4, processes.stop_at_a_step),
    "a worker fenced": (2, processes.fence),
    "a worker drained": (2, processes.drain),
    "a worker joins for a while": (2, processes.join),
    "three come, two go": (1, processes.change_many),
    "the broker killed": (1, network.kill_broker),
    "a slow network": (1, network.slow),
    "a stalled network": (1, network.stall),
    "connections cut": (2, network.cut),
    "connections refused": (1, network.shut),
    "a lost answer": (3, network.lose_answer),
    "a delayed answer": (3, network.delay_answer),
    "a delayed request": (3, network.delay_request),
    "a stranger's transaction": (2, strangers.transaction),
    "malformed records": (1, strangers.malformed),
    "stores deleted": (1, disk.delete_stores),
    "a bit flipped in a table": (2, disk.flip_in_table),
    "a bit flipped in a log": (1, disk.flip_in_log),
    "a torn log": (1, disk.tear_log),
    "a host's state lost": (1, disk.lose_host),
}


def deal(rng: random.Random) -> list[str]:
    """Return every kind as often as its weight says, shuffled."""
    deck = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]
    rng.shuffle(deck)
    return deck
