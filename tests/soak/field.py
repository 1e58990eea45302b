"""What faults act on: workers of three hosts, a broker, a proxy before it; and who is being harmed right now."""

import random
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from application import Application, WorkerProcess, wait_for
from brokers import TestBroker
from keeper import RESTARTED, Keeper, Slot

from soak.load import Letter
from wcsup.audit.proxy import Proxy
from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

HOME: list[Slot] = [("map", "0"), ("map", "1"), ("reduce", "0"), ("reduce", "1")]
"""Slots of the first host."""
ABROAD: list[Slot] = [("map", "10"), ("reduce", "10")]
"""Slots of the second one, which is behind the proxy."""
EXTRA: list[Slot] = [("map", "20"), ("map", "21"), ("reduce", "20"), ("reduce", "21")]
"""Slots of the third one, which come and go."""
VETERANS: list[Slot] = [("map", "1"), ("reduce", "1")]
"""Slots that only feel what happens around them: what they hold after many rebalances tells of leaks."""

TIME_OUTS = 2.0, 6.0
"""Between what seconds sessions and transactions end."""
DRAIN_SECONDS = 30.0
"""How long a drain may take until the supervisor kills the worker."""


class NobodyError(Exception):
    """Nobody is there to be harmed in this way right now."""


class Field:
    """Everything that a fault may need."""

    def __init__(self, application: Application, broker: TestBroker, proxy: Proxy, rng: random.Random) -> None:
        self.application = application
        self.broker = broker
        self.proxy = proxy
        self.over = threading.Event()
        """Faults come to their end at once."""
        self.link = threading.Lock()
        """Whoever has it changes what the proxy does to all connections."""
        self.letters: Counter[Letter] = Counter()
        """What strangers wrote to `words` that can't be processed."""
        self.damaged: set[Path] = set()
        """Stores in which a byte was flipped."""
        self.states = [application.config.state.parent / name for name in ("home", "abroad", "third")]
        self.late_drains = 0
        """How many workers were killed because they did not drain in time."""
        self._claimed: set[Slot] = set()
        self._lock = threading.Lock()
        self._changes = {slot: self._settings(slot, rng) for slot in [*HOME, *ABROAD, *EXTRA]}
        self.keeper = Keeper(application, {slot: self._changes[slot] for slot in [*HOME, *ABROAD]})

    def _settings(self, slot: Slot, rng: random.Random) -> dict[str, Any]:
        host = next(number for number, slots in enumerate((HOME, ABROAD, EXTRA)) if slot in slots)
        changes = {
            "state": self.states[host],
            "session_timeout": rng.uniform(*TIME_OUTS),
            "transaction_timeout": rng.uniform(*TIME_OUTS),
        }
        behind = slot in ABROAD or (slot in EXTRA and rng.random() < 0.5)
        return changes | ({"bootstrap_servers": self.proxy.address} if behind else {})

    def time_out(self, slot: Slot) -> float:
        """Return the longer one of its session and its transactions."""
        return float(max(self._changes[slot]["session_timeout"], self._changes[slot]["transaction_timeout"]))

    def state(self, slot: Slot) -> Path:
        return Path(self._changes[slot]["state"])

    def pause(self, seconds: float) -> None:
        """Let a fault last, until the soak ends."""
        self.over.wait(seconds)

    @contextmanager
    def claim(self, rng: random.Random, count: int = 1, *, role: Role | None = None) -> Iterator[list[Slot]]:
        """Have random slots to oneself. Raises `NobodyError` where there are not so many."""
        with self._taking([slot for slot in [*HOME, *ABROAD] if slot not in VETERANS], rng, count, role) as taken:
            yield taken

    @contextmanager
    def claim_extra(self, rng: random.Random, count: int = 1) -> Iterator[list[Slot]]:
        """Have slots to oneself that are not filled."""
        with self._taking(EXTRA, rng, count, None) as taken:
            yield taken

    @contextmanager
    def claim_all(self, slots: list[Slot]) -> Iterator[None]:
        """Have all these slots to oneself."""
        with self._taking(slots, random.Random(0), len(slots), None):
            yield

    @contextmanager
    def _taking(self, among: list[Slot], rng: random.Random, count: int, role: Role | None) -> Iterator[list[Slot]]:
        with self._lock:
            free = [slot for slot in among if slot not in self._claimed and role in {None, slot[0]}]
            if len(free) < count:
                raise NobodyError
            taken = rng.sample(free, count)
            self._claimed.update(taken)
        try:
            yield taken
        finally:
            with self._lock:
                self._claimed.difference_update(taken)

    def start(self, slot: Slot, crash: str | None = None) -> WorkerProcess:
        return self.keeper.start(slot, crash=crash, **self._changes[slot])

    def intrude(self, slot: Slot) -> WorkerProcess:
        """Start a second process under a slot's name, as on a clone of its host."""
        clone = self.application.config.state.parent / f"clone-{'-'.join(slot)}"
        clone.mkdir(exist_ok=True)
        if clone not in self.states:
            self.states.append(clone)
        about = self.state(slot) / "application.json"
        wait_for("the host has a name", about.exists)
        shutil.copy(about, clone)
        return self.application.start(*slot, **{**self._changes[slot], "state": clone})

    def end(self, worker: WorkerProcess, *, kill: bool) -> str:
        """End a process that nobody keeps; return how it did."""
        if kill:
            worker.kill()
            return "killed"
        return self.drained([worker])

    def drained(self, workers: list[WorkerProcess]) -> str:
        """Drain processes that nobody keeps, all at once; return how they ended. One may die of a fault instead."""
        for worker in workers:
            worker.signal(signal.SIGTERM)
        statuses = []
        for worker in workers:
            try:
                statuses.append(worker.wait(DRAIN_SECONDS))
            except subprocess.TimeoutExpired:
                worker.kill()
                statuses.append(-9)
                self.late_drains += 1
            # It dies of the signal itself where it came before its handler.
            assert statuses[-1] in {ExitStatus.DONE, -signal.SIGTERM, *RESTARTED}, (worker.job_name, worker.log[-3:])
        return f"drained with {statuses}"
