"""Observes the run: measures each process, and makes a `Snapshot` of everything."""

import os
from collections.abc import Callable

from wcsup.config import Config
from wcsup.kafka.sighting import Sighting
from wcsup.process.rates import Rate
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.latency import LatencyWindow
from wcsup.supervisor.policy import Clock
from wcsup.supervisor.pool import Pool
from wcsup.supervisor.reach import Reach
from wcsup.supervisor.resources import ProcessWatch, Usage
from wcsup.supervisor.snapshot import LagView, Snapshot, view
from wcsup.supervisor.tasks import Tasks
from wcsup.supervisor.words import WordsWatch


class Observer:
    """The run as it looks now."""

    def __init__(
        self,
        config: Config,
        pool: Pool,
        tasks: Tasks,
        events: RunEvents,
        *,
        lag: Callable[[], LagView | None],
        sighting: Callable[[], Sighting | None],
        clock: Clock,
    ) -> None:
        self._config, self._events = config, events
        self._pool, self._tasks, self._lag, self._sighting, self._clock = pool, tasks, lag, sighting, clock
        self._reach = Reach(clock, events)
        self._rates: dict[str, Rate] = {}
        self._latency, self._words = LatencyWindow(), WordsWatch()
        self._began = clock.monotonic()
        self._own = ProcessWatch(os.getpid())
        self._own_usage: Usage | None = None
        self._watches: dict[int, ProcessWatch | None] = {}

    def measure(self) -> None:
        """Measure every process."""
        slots = {slot.child.pid: slot for slot in self._pool.slots.values() if slot.child}
        self._watches = {pid: self._watches.get(pid) or ProcessWatch.of(pid) for pid in slots}
        for pid, watch in self._watches.items():
            slots[pid].measured(watch.look() if watch else None)
            self._pool.outgrown(slots[pid])
        self._own_usage = self._own.look()

    def forgive(self, seconds: float) -> None:
        """Take note that this process itself did not run for so long: what it knows of Kafka is old for that reason."""
        self._reach.forgive(seconds)

    def look(self) -> Snapshot:
        """Return the run as it is now."""
        now = self._clock.monotonic()
        pool, broker = self._pool, self._reach.look(self._sighting())
        slots, totals = pool.in_order(), pool.totals()
        self._rates = {name: self._rates.get(name) or Rate() for name in ("", " ", *pool.slots)}
        workers = [view(slot, now, self._rates[slot.name].take(now, slot.counters.records)) for slot in slots]
        silent = any(worker.silent for worker in workers if worker.role != "standby")
        return Snapshot(
            pid=os.getpid(),
            uptime=now - self._began,
            ready=pool.ready and not silent and broker.reachable is not False,
            broker=broker,
            stopping=pool.stop.reason if pool.stop else None,
            workers=workers,
            tasks=[task.view() for task in self._tasks.running],
            spares=[spare.pid for spare in pool.spares],
            lag=self._lag() or LagView(),
            totals=totals,
            restarts=dict(pool.restarts),
            supervisor=self._own_usage,
            events=list(self._events.last),
            application=self._config.app_id,
            bootstrap_servers=self._config.bootstrap_servers or "",
            lines_per_second=self._rates[""].take(now, totals["map"].records),
            words_per_second=self._rates[" "].take(now, totals["reduce"].words),
            latency=self._latency.look(now, totals["reduce"].latency),
            words_here=self._words.look(slots, now),
        )
