"""The commands of the control socket."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wcsup.errors import UsageError
from wcsup.pipeline.report import Role
from wcsup.supervisor.control import Commands, Pending, Reply
from wcsup.supervisor.options import too_many
from wcsup.supervisor.pool import Pool
from wcsup.supervisor.snapshot import Snapshot

_OPTIONS: dict[str, Role] = {"mappers": "map", "reducers": "reduce"}


class Steering:
    """The commands: `status`, `scale`, `restart`, `drain`, `kill`, `count`."""

    def __init__(
        self,
        pool: Pool,
        look: Callable[[], Snapshot],
        ask: Callable[[Sequence[bytes]], Pending],
        partitions: int,
    ) -> None:
        """`look` returns the run as it is now, `ask` asks the reducers for totals of words."""
        self._pool, self._look, self._ask, self._partitions = pool, look, ask, partitions
        self.commands: Commands = {
            "status": self.status,
            "scale": self.scale,
            "restart": self.restart,
            "drain": self.drain,
            "kill": self.kill,
            "count": self.count,
        }

    def status(self, _asked: Mapping[str, Any]) -> Reply:
        """Return the snapshot."""
        return self._look().to_json()

    def scale(self, asked: Mapping[str, Any]) -> Reply | Pending:
        """Scale to the given numbers of `mappers` and `reducers`; a role without a number stays as it is.

        `mappers_by` and `reducers_by` say how many more are wanted, and below zero how many fewer.
        """
        self._refuse_when_stopping()
        wanted = {role: asked[option] for option, role in _OPTIONS.items() if asked.get(option) is not None}
        for option, role in _OPTIONS.items():
            by = asked.get(f"{option}_by")
            if isinstance(by, int):
                wanted[role] = max(0, self._pool.count(role) + by)
        if not wanted:
            raise UsageError("scale needs mappers, reducers or both")
        for count in wanted.values():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise UsageError(f"{count!r} is not a number of workers")
            if count > self._partitions:
                raise UsageError(too_many(count, self._partitions))
        for role, count in wanted.items():
            self._pool.scale(role, count)
        return self._when(asked, lambda: self._pool.settled)

    def restart(self, asked: Mapping[str, Any]) -> Reply | Pending:
        """Restart the `slot`, or `all`, one after another."""
        self._refuse_when_stopping()
        slot = asked.get("slot")
        if not isinstance(slot, str):
            raise UsageError("restart needs a slot, such as map-0, or all")
        self._pool.restart(list(self._pool.slots) if slot == "all" else [slot])
        return self._when(asked, lambda: not self._pool.rolling)

    def kill(self, asked: Mapping[str, Any]) -> Reply | Pending:
        """Kill the process of the `slot` with SIGKILL, to see that nothing is lost. It is replaced as always."""
        self._refuse_when_stopping()
        slot = asked.get("slot")
        if not isinstance(slot, str):
            raise UsageError("kill needs a slot, such as map-0")
        self._pool.shoot(slot)
        return self._when(asked, lambda: self._pool.settled)

    def drain(self, asked: Mapping[str, Any]) -> Reply | Pending:
        """End the run; with `leave` its partitions are for other hosts at once."""
        self._pool.drain("asked to drain", leave=asked.get("leave") is True)
        return self._when(asked, lambda: self._pool.finished)

    def count(self, asked: Mapping[str, Any]) -> Pending:
        """Return the totals of `words`, which are given as Latin-1 text, as far as reducers of this run own them."""
        words = asked.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UsageError("count needs words: a list of texts")
        try:
            return self._ask([word.encode("latin-1") for word in words])
        except UnicodeEncodeError as error:
            raise UsageError(f"{words!r} are not bytes as Latin-1 text") from error

    def _when(self, asked: Mapping[str, Any], done: Callable[[], bool]) -> Reply | Pending:
        """Reply at once, or with `wait` when the command is done or the run has ended."""

        def slots() -> Reply:
            return {"slots": {name: slot.state for name, slot in self._pool.slots.items()}}

        if asked.get("wait") is not True:
            return slots()
        return lambda: slots() if done() or self._pool.finished else None

    def _refuse_when_stopping(self) -> None:
        if self._pool.stop:
            raise UsageError(f"the run is ending: {self._pool.stop.reason}")
