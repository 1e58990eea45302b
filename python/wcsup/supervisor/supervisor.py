"""The parent process: one loop that waits for signals, pipes, requests and time, and for nothing else.

`run` is the entry. Signal handlers only enqueue (`signals`). A pure function decides what follows from a death
(`policy`). The `pool` has the slots and their order. Users steer through `control`.
"""

import functools
import logging
import os
import random
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wcsup.config import Config
from wcsup.errors import ExitStatus, WcsupError
from wcsup.kafka.sighting import Sighting
from wcsup.pipeline.report import Reply
from wcsup.process import logs
from wcsup.supervisor import strangers
from wcsup.supervisor.autoscale import Autoscaler, Scaling
from wcsup.supervisor.control import ControlServer
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.lookup import Lookup
from wcsup.supervisor.notify import Notifier, Service
from wcsup.supervisor.observer import Observer
from wcsup.supervisor.options import RunOptions, Task
from wcsup.supervisor.policy import Clock, Policy
from wcsup.supervisor.pool import ROLES, Ending, Pool
from wcsup.supervisor.processes import WORKER, Child, LinePipe, start_task, start_worker
from wcsup.supervisor.relay import Relay
from wcsup.supervisor.signals import SignalQueue, has_terminal
from wcsup.supervisor.slot import Deadlines, Slot
from wcsup.supervisor.snapshot import LagView, Snapshot
from wcsup.supervisor.steering import Steering
from wcsup.supervisor.tasks import Tasks

log = logging.getLogger(__name__)

_TICK = 0.5
_MEASURE_EVERY = 4
"""Ticks between two measurements of the processes."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions that a caller of `run` hands in. The loop calls them, so none may block."""

    lag: Callable[[], LagView | None] = lambda: None
    """Returns the lag; none where it is not known."""
    sighting: Callable[[], Sighting | None] = lambda: None
    """Returns a lookout's newest sighting of topics and groups, which is passed to the workers."""
    on_tick: Callable[[Snapshot], None] = lambda _: None
    """Called twice a second."""
    done: Callable[[Snapshot], bool] = lambda _: False
    """Called after each tick; if it returns true, the run drains."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What tests replace: time, chance, the numbers of the policy, the worker's command."""

    command: Sequence[str] = WORKER
    policy: Policy = field(default_factory=Policy)
    deadlines: Deadlines | None = None
    scaling: Scaling = field(default_factory=Scaling)
    clock: Clock = time
    chance: random.Random = field(default_factory=random.Random)


def run(
    config: Config,
    options: RunOptions,
    *,
    tasks: Sequence[Task] = (),
    hooks: Hooks = Hooks(),
    surroundings: Surroundings = Surroundings(),
) -> ExitStatus:
    """Run the workers of an application until it is drained, and return `DONE`.

    Raises a `WcsupError` with status and reason where it has to give up. Call it from the main thread, with logging set
    up, and with the lock of an existing state directory (`locked`).
    """
    if options.drain_timeout <= config.transaction_timeout:
        log.warning(
            "--drain-timeout %g is not above the transaction time-out %g: a commit that waits for Kafka is cut off",
            options.drain_timeout,
            config.transaction_timeout,
        )
    stop = Supervisor(config, options, hooks, surroundings).run(tasks)
    if stop.status is not ExitStatus.DONE:
        error = WcsupError(stop.reason)
        error.status = stop.status
        raise error
    return stop.status


class Supervisor:
    """The loop, and the parts that it dispatches to."""

    def __init__(self, config: Config, options: RunOptions, hooks: Hooks, surroundings: Surroundings) -> None:
        self._options, self._hooks = options, hooks
        self._command, self._clock = surroundings.command, surroundings.clock
        self._deadlines = surroundings.deadlines or Deadlines.fitting(config, options.drain_timeout)
        self._selector = selectors.DefaultSelector()
        self._children: dict[int, tuple[Child, Relay]] = {}
        events = RunEvents(config.state)
        self._pool = Pool(
            config,
            options,
            self._launch_worker,
            self._release,
            policy=surroundings.policy,
            deadlines=self._deadlines,
            events=events,
            clock=self._clock,
            chance=surroundings.chance,
        )
        self._tasks = Tasks(self._pool, self._launch_task)
        self._observer = Observer(
            config, self._pool, self._tasks, events, lag=hooks.lag, sighting=hooks.sighting, clock=self._clock
        )
        self._told: Sighting | None = None
        self._autoscalers = {
            role: Autoscaler(options.of(role), surroundings.scaling) for role in ROLES if options.of(role).scaled
        }
        self._service = Service(Notifier.from_environment(os.environ), self._clock)
        self._signals = SignalQueue()
        self._lookup = Lookup(self._pool, config.partitions, self._clock)
        commands = Steering(self._pool, self._observer.look, self._lookup.ask, config.partitions).commands
        self._control = ControlServer(config.state, commands, self._selector, self._clock)
        self._adopts = strangers.adopts()
        self._had_terminal = has_terminal()
        self._asked_to_stop = 0
        self._stopping = False
        self._turned_at = self._tick_at = self._clock.monotonic()
        self._ticks = 0

    def run(self, tasks: Sequence[Task]) -> Ending:
        """Work until every worker has drained, and return why."""
        with self._signals.installed():
            self._selector.register(self._signals, selectors.EVENT_READ, self._handle_signals)
            try:
                for role in ROLES:
                    self._pool.scale(role, self._options.of(role).low)
                self._tasks.start(tasks)
                while not (self._pool.finished and self._tasks.finished):
                    self._turn()
                self._hooks.on_tick(self._observer.look())  # the last snapshot, with everything counted
            finally:
                self._close()
        assert self._pool.stop  # noqa: S101 - finished means so
        return self._pool.stop

    def _turn(self) -> None:
        """Wait for the next event or deadline, and handle it."""
        now = self._clock.monotonic()
        wait = max(0.0, min(self._tick_at, self._pool.next_event()) - now)
        for key, _ in self._selector.select(min(wait, _TICK)):
            key.data()
        now = self._clock.monotonic()
        if now - self._turned_at > 2 * _TICK:  # this process itself was stopped or starved, and received no reports
            for slot in self._pool.slots.values():
                slot.forgive(now - self._turned_at)
            self._observer.forgive(now - self._turned_at)
        self._turned_at = now
        self._pool.tick()
        if self._pool.stop and not self._stopping:
            self._stopping, self._tick_at = True, now  # so that the hooks hear of the run's end at once
        if now >= self._tick_at:
            self._tick_at = now + _TICK
            self._tick()
        self._control.tick()

    def _tick(self) -> None:
        self.handle_chld()  # one signal may stand for many deaths, and polling is cheap
        self._tell()
        if self._ticks % _MEASURE_EVERY == 0:
            self._observer.measure()
        self._ticks += 1
        snapshot = self._observer.look()
        self._autoscale(snapshot)
        self._service.tick(snapshot, self._pool.was_ready, rolling=self._pool.rolling)
        self._hooks.on_tick(snapshot)
        if self._pool.stop is None and self._hooks.done(snapshot):
            self._pool.drain("everything is done")
        if self._pool.stop:
            self._tasks.stop(self._clock.monotonic(), self._deadlines.drain)

    def _tell(self) -> None:
        """Pass a new sighting to the workers."""
        newest = self._hooks.sighting()
        if newest is None or newest is self._told:
            return
        self._told = newest
        line = newest.to_json().encode() + b"\n"
        for slot in self._pool.slots.values():
            if slot.child is not None:
                slot.child.tell(line)

    def _autoscale(self, snapshot: Snapshot) -> None:
        if not snapshot.ready or self._pool.stop or self._pool.rolling:
            return
        for role, autoscaler in self._autoscalers.items():
            workers = [worker for worker in snapshot.workers if worker.role == role]
            records = snapshot.totals[role].records
            change = autoscaler.look(self._clock.monotonic(), workers, records, snapshot.lag.by_partition(role))
            if change:
                log.info("scaling %s from %d to %d: %s", role, len(workers), *change)
                self._pool.scale(role, change[0])

    def _handle_signals(self) -> None:
        for name in self._signals.take():
            getattr(self, f"handle_{name.lower()}")()

    def handle_int(self) -> None:
        """Drain at the first signal, kill at the second."""
        self._stop("SIGINT")

    def handle_term(self) -> None:
        """Drain at the first signal, kill at the second."""
        self._stop("SIGTERM")

    def handle_hup(self) -> None:
        """Restart every slot, one after another; drain instead if the terminal is gone."""
        if self._had_terminal and not has_terminal():
            self._stop("the terminal is gone")
        elif self._pool.stop is None:
            log.info("SIGHUP: restarting every slot")
            self._service.reload()
            self._pool.restart(slot.name for slot in self._pool.in_order())

    def handle_usr1(self) -> None:
        """Open the log file anew."""
        logs.reopen()

    def handle_chld(self) -> None:
        """Reap dead children."""
        for child, relay in list(self._children.values()):
            code = child.poll()
            if code is not None:
                self._bury(child, relay, code)
        if self._adopts:
            strangers.bury(self._children)

    def _stop(self, name: str) -> None:
        self._asked_to_stop += 1
        if self._asked_to_stop == 1:
            self._pool.drain(name)
        else:
            log.warning("%s again: killing every process", name)
            self._pool.kill()
            self._tasks.kill()

    def _launch_worker(self) -> Child:
        return self._watch(start_worker(self._command), "spare")

    def _launch_task(self, task: Task) -> Child:
        return self._watch(start_task(task.command), task.name)

    def _watch(self, child: Child, name: str) -> Child:
        relay = Relay(name, child.pid, self._clock)
        self._children[child.pid] = child, relay
        for pipe, read in ((child.logs, self._read_logs), (child.reports, self._read_reports)):
            self._selector.register(pipe, selectors.EVENT_READ, functools.partial(read, child, relay))
        return child

    def _slot_of(self, child: Child) -> Slot | None:
        return next((slot for slot in self._pool.slots.values() if slot.child is child), None)

    def _read_logs(self, child: Child, relay: Relay) -> None:
        if child.logs.closed:  # the child was reaped earlier in this turn
            return
        slot = self._slot_of(child)
        if slot:
            relay.name = slot.name
        relay.take(child.logs.read(), slot.report.phase if slot else "")
        if slot:
            slot.last_error = relay.last_error
        self._unwatch_ended(child.logs)

    def _read_reports(self, child: Child, relay: Relay) -> None:
        if child.reports.closed:
            return
        read = child.reports.read()
        lines = [line for line in read if not line.startswith(Reply.MARK)]
        for line in read:
            if line.startswith(Reply.MARK):
                self._lookup.heard(line)
        slot, task = self._slot_of(child), self._tasks.of(child)
        if lines and task:
            task.heard(lines[-1])
        elif lines and slot:
            report = relay.newest_report(lines)
            if report:
                slot.heard(report, self._clock.monotonic())
        self._unwatch_ended(child.reports)

    def _unwatch_ended(self, pipe: LinePipe) -> None:
        if pipe.ended and not pipe.closed and pipe in self._selector.get_map():
            self._selector.unregister(pipe)

    def _bury(self, child: Child, relay: Relay, code: int) -> None:
        """Read a dead child's last output, release it, and pass its end on."""
        for read in (self._read_logs, self._read_reports):
            read(child, relay)
        relay.finish()
        slot, task = self._slot_of(child), self._tasks.of(child)
        self._release(child)
        if slot:
            self._pool.ended(slot, code)
        elif task:
            self._tasks.ended(task, code, relay.last_error)
        elif child in self._pool.spares:
            self._pool.spare_ended(child)

    def _release(self, child: Child) -> None:
        """Close a child's pipes, and kill the child if it lives."""
        del self._children[child.pid]
        for pipe in (child.logs, child.reports):
            if pipe in self._selector.get_map():
                self._selector.unregister(pipe)
        child.close()

    def _close(self) -> None:
        """End the remaining children; after a drain these are only spare processes."""
        for child, _ in self._children.values():
            child.send(signal.SIGKILL)
        for child, _ in list(self._children.values()):
            self._release(child)
        self._control.close()
        self._service.close()
        self._selector.close()
