"""How long workers are away while they are restarted one after another, as a user sees it in their states."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wcsup.errors import WcsupError

Worker = dict[str, Any]
"""A worker as in `status --json`."""


@dataclass(slots=True)
class _Away:
    """One worker that is to be replaced. Times are in seconds of one monotonic clock."""

    pid: int | None
    since: float | None = None
    """When it was first seen to be no longer at work."""
    until: float | None = None
    """When its new process was first seen to be at work."""

    @property
    def seconds(self) -> float:
        """How long it was away."""
        return (self.until or 0.0) - (self.since or 0.0)


class Pauses:
    """Follows workers from before a restart until all of them are at work again."""

    def __init__(self, workers: Sequence[Worker], now: float) -> None:
        """`workers` are those that will be restarted, as they are before."""
        self._began = self._ended = now
        self._away = {worker["slot"]: _Away(worker["pid"]) for worker in workers}

    @property
    def over(self) -> bool:
        """Whether each worker has a new process that is at work."""
        return all(one.until is not None for one in self._away.values())

    def look(self, workers: Sequence[Worker], now: float) -> None:
        """Take the states of the workers at a time.

        Raises `WcsupError` for a worker that will not come back: it was left down, or scaled away.
        """
        found = {worker["slot"]: worker for worker in workers}
        for slot, one in self._away.items():
            worker = found.get(slot)
            if worker is None or worker["failed"]:
                raise WcsupError(f"{slot} is not at work again: {worker['failed'] if worker else 'it was scaled away'}")
            at_work = worker["ready"] and worker["state"] == "running"
            replaced = worker["pid"] not in {None, one.pid}
            if one.since is None and (replaced or not at_work):
                one.since = now
            if one.until is None and replaced and at_work:
                one.until = self._ended = now

    def to_json(self) -> dict[str, Any]:
        """Return the object that `restart --measure --json` prints; times in seconds."""
        pauses = {slot: round(one.seconds, 3) for slot, one in self._away.items()}
        return {
            "seconds": round(self._ended - self._began, 3),
            "longest": max(pauses.values(), default=0.0),
            "pauses": pauses,
        }

    def text(self) -> str:
        """Return a line for each worker, and one for all."""
        told = self.to_json()
        width = max(map(len, told["pauses"]), default=0)
        lines = [f"{slot:{width}}  away for {seconds:.2f} s" for slot, seconds in told["pauses"].items()]
        return "\n".join(
            [*lines, f"all restarted in {told['seconds']:.1f} s, each away for {told['longest']:.2f} s at most"]
        )
