"""Totals of words, asked of the reducers that own them: `wcsup count`, and the page's search."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from wcsup import _core
from wcsup.pipeline.report import Found, Question, Reply
from wcsup.supervisor.control import Pending
from wcsup.supervisor.policy import Clock
from wcsup.supervisor.pool import Pool
from wcsup.supervisor.slot import Slot

ANSWER_SECONDS = 2.0
"""How long a reducer may take. It answers between two batches; while it scans a store, that takes longer."""

_MOST_REPLIES = 1000


class Lookup:
    """The questions that are under way. Nothing waits: a command's reply is given when all reducers have answered."""

    def __init__(self, pool: Pool, partitions: int, clock: Clock) -> None:
        self._pool, self._partitions, self._clock = pool, partitions, clock
        self._numbers = itertools.count(1)
        self._replies: dict[int, list[Found | None]] = {}
        """By the number of a question that has been answered."""

    def ask(self, words: Sequence[bytes]) -> Pending:
        """Ask for totals; return the command's pending reply.

        It has for each word its total, offset, time and slot, in the order of the words, or none where no reducer of
        this run told it in `ANSWER_SECONDS`. Beside it is, for each word, the slot that is opening the word's store.
        """
        partitions = [_core.partition(word, self._partitions) for word in words]
        asked: dict[int, tuple[Slot, list[int]]] = {}
        for slot in self._pool.of("reduce"):
            places = [place for place, partition in enumerate(partitions) if partition in slot.report.partitions]
            if places and slot.child is not None:
                number = next(self._numbers)
                asked[number] = slot, places
                question = Question(number, [(partitions[place], words[place].decode("latin-1")) for place in places])
                slot.child.tell(question.to_json().encode() + b"\n")
        restoring = [
            next((slot.name for slot in self._pool.of("reduce") if partition in slot.report.restoring), None)
            for partition in partitions
        ]
        until = self._clock.monotonic() + ANSWER_SECONDS

        def reply() -> Mapping[str, Any] | None:
            if not asked.keys() <= self._replies.keys() and self._clock.monotonic() < until:
                return None
            totals: list[dict[str, Any] | None] = [None] * len(words)
            for number, (slot, places) in asked.items():
                for place, found in zip(places, self._replies.pop(number, [None] * len(places)), strict=True):
                    if found is not None:
                        totals[place] = {
                            "count": found.count,
                            "offset": found.offset,
                            "committed_at": found.committed_at,
                            "owner": slot.name,
                        }
            return {"totals": totals, "restoring": restoring}

        return reply

    def heard(self, line: bytes) -> None:
        """Take a reducer's reply."""
        reply = Reply.from_json(line)
        self._replies[reply.number] = reply.totals
        for number in sorted(self._replies)[:-_MOST_REPLIES]:  # late ones, which nobody waits for any more
            del self._replies[number]
