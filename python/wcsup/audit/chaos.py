"""`wcsup chaos`: harm a running application on purpose, again and again, and wait for its recovery.

Workers are killed (SIGKILL), stopped for a while (SIGSTOP, now and then for longer than their session), fenced (another
process takes a slot's name for a moment) and restarted, as a seed determines. At the end, all harm is undone, even
after an error.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import psutil

from wcsup.audit.recovery import RECOVERY_SECONDS, ChaosReport, Event, RecoveryWatch, Worker
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus, WcsupError
from wcsup.kafka import clients, progress
from wcsup.pipeline.report import Job, Role
from wcsup.supervisor import request
from wcsup.supervisor.processes import Child, start_worker

ACTIONS = ("kill", "stop", "fence", "restart")
_LOOK_SECONDS = 0.02
_PAUSES = (0.2, 2.0)
_SECOND = 0.25
"""The probability that a second worker is killed at the same time."""
_SHORT_STOP = (0.1, 2.0)
_LONG = 0.25
_LONG_STOP = (1.0, 3.0)
"""How long a worker is stopped; one in four times for longer than its session."""
_FENCED_SECONDS = 30.0
_DRAIN_SECONDS = 30.0
_NOTICE_SECONDS = 3.0
"""How long a worker may take to notice that it is fenced: a heartbeat tells it, and there are a few a second."""


class _GoneError(Exception):
    """The slot is gone, since the run was scaled."""


class Chaos:
    """Harms the workers of one supervisor."""

    def __init__(self, config: Config, seed: int, say: Callable[[Event], None] = lambda _: None) -> None:
        """`config` has a broker's address, and the application's partitions and word rule."""
        self._config, self._say = config, say
        self._random = random.Random(seed)  # noqa: S311 - it has to be repeatable, not secure
        self._deck: list[str] = []
        self._supervisor = 0
        self._stopped: dict[str, psutil.Process] = {}
        self._intruder: tuple[str, Child] | None = None
        self._watches: dict[str, RecoveryWatch] = {}

    def run(self, seconds: float) -> ChaosReport:
        """Do harm for `seconds`; return when every slot works again. Raises `ConfigurationError` where nothing runs."""
        outcome = ChaosReport()
        self._await_all()
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                for event in self._round():
                    outcome.events.append(event)
                    self._say(event)
                time.sleep(min(self._random.uniform(*_PAUSES), max(0.0, end - time.monotonic())))
            self._await_all()
        except WcsupError as error:
            outcome.ended = str(error)
        finally:
            self.mend()
        return outcome

    def mend(self) -> None:
        """Undo all harm: continue stopped workers, end processes that took a name, restart fenced slots."""
        for process in self._stopped.values():
            with suppress(psutil.Error):
                process.resume()
        self._stopped.clear()
        if self._intruder:
            slot, child = self._intruder
            self._intruder = None
            self._end(child)
            with suppress(WcsupError, _GoneError):
                worker, deadline = self._worker(slot), time.monotonic() + _NOTICE_SECONDS
                while not worker["failed"] and time.monotonic() < deadline:
                    time.sleep(_LOOK_SECONDS)
                    worker = self._worker(slot)
                if worker["failed"]:
                    self._ask("restart", slot=slot)

    def _round(self) -> Iterator[Event]:
        """Harm one worker, now and then a second one at the same time, and wait until they work again."""
        if not self._deck:  # a shuffled deck, so that each kind of harm comes equally often
            self._deck = self._random.sample(ACTIONS, len(ACTIONS))
        action = self._deck.pop()
        # A standby's name can't be taken by another process, and counting does not depend on it.
        workers = [w for w in self._look().values() if w["pid"] is not None and w["role"] != "standby"]
        victims = self._random.sample(workers, min(len(workers), 1 + (self._random.random() < _SECOND)))
        victim, others = victims[0], victims[1:]
        try:
            for other in others:
                self._process(other).kill()
            watches = [self._watch(other) for other in others]
            yield getattr(self, f"_{action}")(victim)
            for watch in watches:
                yield self._recovery("kill", watch, f"pid {watch.worker['pid']} with it")
        except _GoneError as gone:
            yield Event(action, str(gone), "its slot was scaled away", 0.0)
        except psutil.NoSuchProcess as gone:  # before the harm was done
            yield Event(action, victim["slot"], f"pid {gone.pid} had ended by itself", 0.0)

    def _kill(self, worker: Worker) -> Event:
        self._process(worker).kill()
        return self._recovery("kill", self._watch(worker), f"pid {worker['pid']}")

    def _stop(self, worker: Worker) -> Event:
        seconds = self._random.uniform(*_SHORT_STOP)
        if self._random.random() < _LONG:
            seconds = self._config.session_timeout + self._random.uniform(*_LONG_STOP)
        process = self._process(worker)
        self._stopped[worker["slot"]] = process
        process.suspend()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._wait()
        before = self._worker(worker["slot"])  # its reports from before the stop have arrived by now
        with suppress(psutil.NoSuchProcess):  # the supervisor may have killed it as hung
            process.resume()
        del self._stopped[worker["slot"]]
        return self._recovery("stop", self._watch(before, new=False), f"pid {worker['pid']} for {seconds:.1f} s")

    def _restart(self, worker: Worker) -> Event:
        self._ask("restart", slot=worker["slot"])
        return self._recovery("restart", self._watch(worker), f"pid {worker['pid']}")

    def _fence(self, worker: Worker) -> Event:
        """Have another process take the slot's name until the worker has noticed, then give the slot back."""
        slot = worker["slot"]
        began = time.monotonic()
        child = start_worker()
        self._intruder = slot, child
        # The same process as `wcsup map NAME` starts. It ends with this one, even if this one is killed.
        child.assign(Job(cast(Role, worker["role"]), slot.partition("-")[2], self._config, child.report_fd, "error"))
        while self._worker(slot)["pid"] == worker["pid"] and time.monotonic() - began < _FENCED_SECONDS:
            self._wait(child)
        fenced = time.monotonic() - began
        status = self._end(child)
        self._intruder = None
        how = f"ended {fenced:.1f} s after another took its name"
        if status != ExitStatus.DONE:
            how += f", which ended with {status}"
        return self._recovery("fence", self._watch(worker), f"pid {worker['pid']} {how}")

    def _end(self, child: Child) -> int | None:
        """Drain a process that took a name; kill it if that takes long."""
        process = psutil.Process(child.pid)
        process.terminate()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while child.poll() is None and time.monotonic() < deadline:
            self._wait(child)
        status = child.poll()
        child.close()
        return status

    def _watch(self, worker: Worker, *, new: bool = True) -> RecoveryWatch:
        watch = self._watches[worker["slot"]] = RecoveryWatch(worker, new, time.monotonic())
        return watch

    def _recovery(self, action: str, watch: RecoveryWatch, what: str) -> Event:
        """Wait until the slot is at work."""
        slot, deadline = watch.worker["slot"], time.monotonic() + RECOVERY_SECONDS
        asked = False
        while watch.seconds is None and time.monotonic() < deadline:
            failed = self._worker(slot)["failed"]
            if failed and not asked:  # a fenced slot stays down until `restart` is requested
                self._ask("restart", slot=slot)
            asked = bool(failed)
            time.sleep(_LOOK_SECONDS)
        del self._watches[slot]
        if watch.seconds is None:
            what += f"; NOT at work again after {RECOVERY_SECONDS:.0f} s: {watch.now['state']}"
        else:
            what += f"; at work again after {watch.seconds:.2f} s"
            what += "" if watch.now["pid"] == watch.worker["pid"] else f" as pid {watch.now['pid']}"
        return Event(action, slot, what, watch.seconds)

    def _wait(self, child: Child | None = None) -> None:
        """Wait a moment, looking at the watched slots; read the child's output, so that its pipe does not fill up."""
        self._look()
        if child:
            child.logs.read()
            child.reports.read()
        time.sleep(_LOOK_SECONDS)

    def _await_all(self) -> None:
        """Wait until every slot works."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while not all(worker["ready"] for worker in self._look().values()):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"not every worker is at work after {RECOVERY_SECONDS:.0f} s; see wcsup status"
                )
            time.sleep(_LOOK_SECONDS)

    def _process(self, worker: Worker) -> psutil.Process:
        """Return the worker's process. It has to be the supervisor's child: no other process is ever harmed."""
        process = psutil.Process(worker["pid"])
        if process.ppid() != self._supervisor:
            raise ConfigurationError(f"{worker['slot']} (pid {worker['pid']}) is not a child of the supervisor")
        return process

    def _look(self) -> dict[str, Worker]:
        """Return every worker by its slot."""
        status = self._ask("status")
        self._supervisor = status["pid"]
        workers = {worker["slot"]: worker for worker in status["workers"]}
        for slot, watch in self._watches.items():
            if slot in workers:
                watch.look(workers[slot])
        return workers

    def _worker(self, slot: str) -> Worker:
        workers = self._look()
        if slot not in workers:
            raise _GoneError(slot)
        return workers[slot]

    def _ask(self, command: str, **arguments: Any) -> Any:
        return request(self._config.state, {"command": command, **arguments})


def await_idle(config: Config, seconds: float) -> bool:
    """Wait until every line is counted; return whether that took no longer than `seconds`."""
    admin = clients.admin(config)
    deadline = time.monotonic() + seconds
    while True:
        # `lines` first: if no line is left to map, `words` already has all records.
        lag = progress.lag(admin, config)
        if lag.lines == lag.words == 0:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
