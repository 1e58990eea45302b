"""All slots: starting, replacing, scaling, rolling restarts, and draining in order."""

import logging
import random
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

from wcsup.config import Config
from wcsup.errors import ExitStatus, UsageError
from wcsup.pipeline.report import Counters, Job, Role
from wcsup.supervisor.events import RunEvents
from wcsup.supervisor.options import RunOptions
from wcsup.supervisor.policy import Clock, Death, LeaveDown, Policy, Restart, StopAll
from wcsup.supervisor.processes import Child
from wcsup.supervisor.slot import Deadlines, Slot

log = logging.getLogger(__name__)

ROLES: tuple[Role, ...] = get_args(Role)
"""In the order of draining: reducers still count the words of the mappers' last commits, and a standby is idle then."""

_SPARE_SECONDS = 1.0
"""How long after a worker's start a spare process is started: earlier, it would take processor time from the worker."""
_SPARE_AGAIN_SECONDS = 5.0
_WARM_SECONDS = 0.7
"""How long after its start a spare process has imported everything, about."""
_COLD_SECONDS = 2.0
"""How long a rolling restart waits for a spare process that is warm, before it goes on without."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of the run: its exit status and the reason."""

    status: ExitStatus
    reason: str


class Pool:
    """The slots of a run. The pool starts processes by `launch` and is told how each ends; it never waits."""

    def __init__(
        self,
        config: Config,
        options: RunOptions,
        launch: Callable[[], Child],
        release: Callable[[Child], None],
        *,
        policy: Policy,
        deadlines: Deadlines,
        events: RunEvents,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self.slots: dict[str, Slot] = {}
        self.spares: deque[Child] = deque()
        self.stop: Ending | None = None
        self.was_ready = False
        self.restarts: Counter[str] = Counter()
        self._config, self._options = config, options
        self._launch, self._release, self._events = launch, release, events
        self._policy, self._deadlines, self._clock, self._chance = policy, deadlines, clock, chance
        self._retired: dict[Role, Counters] = {role: Counters() for role in ROLES}
        self._rolling: deque[tuple[str, str]] = deque()
        self._rolled: str | None = None
        self._leave = False
        """Whether the run's partitions are for others at its end."""
        self._spare_from = clock.monotonic() + _SPARE_SECONDS
        self._warm_from = self._roll_by = 0.0
        """When the newest spare is warm, and until when a rolling restart waits for it."""

    @property
    def ready(self) -> bool:
        """Whether every slot that counts is ready."""
        return bool(self.slots) and all(slot.ready for slot in self._counting)

    @property
    def finished(self) -> bool:
        """Whether the run is ending and every worker has ended."""
        return self.stop is not None and not self.slots

    @property
    def rolling(self) -> bool:
        """Whether a rolling restart is under way."""
        return bool(self._rolled or self._rolling)

    @property
    def settled(self) -> bool:
        """Whether no slot is to go, and each is ready or has failed."""
        return all(slot.wanted and (slot.ready or slot.failed) for slot in self._counting)

    @property
    def _counting(self) -> list[Slot]:
        """The slots that counting depends on: all but a standby."""
        return [slot for slot in self.slots.values() if slot.role != "standby"]

    def of(self, role: Role) -> list[Slot]:
        """Return the slots of a role by number."""
        return sorted((slot for slot in self.slots.values() if slot.role == role), key=lambda slot: slot.number)

    def in_order(self) -> list[Slot]:
        """Return every slot: mappers, then reducers, by number."""
        return [slot for role in ROLES for slot in self.of(role)]

    def count(self, role: Role) -> int:
        """Return how many slots of a role are wanted."""
        return sum(slot.wanted for slot in self.of(role))

    def totals(self) -> dict[Role, Counters]:
        """Return the work of all processes that the run has had."""
        return {role: sum((slot.counters for slot in self.of(role)), self._retired[role]) for role in ROLES}

    def scale(self, role: Role, count: int) -> None:
        """Change a role to `count` slots: new slots start, those with the highest numbers drain."""
        if (self.was_ready or self.of(role)) and count != self.count(role):
            self._events.add("scaled", f"{role}: {self.count(role)} to {count} workers")
        for number in range(count):
            slot = self.slots.setdefault(f"{role}-{number}", Slot(role, number))
            slot.wanted = True
            if slot.child is None and slot.retry_at is None and not slot.failed and self.stop is None:
                self._start(slot)
        for slot in self.of(role)[count:]:
            slot.wanted = False
            if slot.child is None:
                self._remove(slot)
            else:
                self._drain(slot, "scaled", signal.SIGINT)

    def restart(self, names: Iterable[str], cause: str = "requested") -> list[str]:
        """Restart slots one after another: drain one, fill it, wait until it is ready, then the next."""
        names = list(names)
        for name in names:
            if name not in self.slots:
                raise UsageError(f"no slot {name!r}; there are {', '.join(self.slots)}")
        queued = {name for name, _ in self._rolling}
        self._rolling.extend((name, cause) for name in names if name not in queued)
        # A spare process has already imported the old code, and a restart may be meant to load new code.
        for spare in self.spares:
            self._release(spare)
        self.spares.clear()
        self._spare_from = 0.0
        self._roll_by = self._clock.monotonic() + _COLD_SECONDS
        return names

    def drain(self, reason: str, status: ExitStatus = ExitStatus.DONE, *, leave: bool = False) -> None:
        """End the run: mappers drain, then reducers. The first reason stays.

        `leave`: workers that have yet to be asked leave their groups, so that others have their partitions at once.
        """
        self._leave |= leave
        if self.stop is None:
            log.log(logging.ERROR if status else logging.INFO, "stopping: %s", reason)
            self._events.add("stopping", reason)
            self.stop = Ending(status, reason)
            self._rolling.clear()

    def shoot(self, name: str) -> None:
        """Kill a slot's process, as if something outside had: to see that nothing is lost."""
        slot = self.slots.get(name)
        if slot is None or slot.child is None:
            raise UsageError(f"{name!r} has no process that could be killed")
        slot.shot = True
        slot.child.send(signal.SIGKILL)

    def kill(self) -> None:
        """End every process now."""
        for slot in self.slots.values():
            if slot.child:
                slot.put_down = True
                slot.child.send(signal.SIGKILL)

    def outgrown(self, slot: Slot) -> None:
        """Replace a worker that uses too much memory, but not soon after its start, so that it gets to work.

        A slot is replaced for its memory once in `Policy.memory_rest` seconds. Where the work takes more than the
        limit, the next process soon uses as much, and to replace that one, too, would only disturb the work.
        """
        limit, now = self._options.max_rss, self._clock.monotonic()
        if limit is None or slot.usage is None or slot.usage.rss_bytes <= limit or not slot.ready or self.stop:
            return
        if (slot.ready_for(now) or 0) < self._policy.healthy_after or slot.name in dict(self._rolling):
            return
        used = slot.usage.rss_bytes >> 20
        if slot.outgrown_at is None or now - slot.outgrown_at >= self._policy.memory_rest:
            slot.outgrown_at, slot.told_of_memory = now, False
            log.warning("%s uses %d MB, more than --max-rss; it is replaced", slot.name, used)
            self._rolling.append((slot.name, "max_rss"))
        elif not slot.told_of_memory:
            slot.told_of_memory = True
            reason = f"uses {used} MB again, soon after it was replaced: its work takes more than --max-rss"
            log.warning(
                "%s %s. Raise it; until then it is replaced every %.0f min",
                slot.name,
                reason,
                self._policy.memory_rest / 60,
            )
            self._events.add("too large", reason, slot.name)

    def tick(self) -> None:
        """Do what is due by now."""
        now = self._clock.monotonic()
        for slot in list(self.slots.values()):
            if news := slot.news():
                self._events.add(*news, slot.name)
            if reason := slot.overdue(now, self._deadlines):
                self._dump(slot, reason, now)
            elif slot.kill_due(now) and slot.child:
                slot.child.send(signal.SIGKILL)
            elif slot.retry_at is not None and now >= slot.retry_at and self.stop is None:
                self._start(slot)
        if self.stop:
            self._drain_in_order()
            return
        if not self.was_ready and self.slots and self.settled:
            self.was_ready = True
            ready = sum(slot.ready for slot in self.slots.values())
            log.info("ready: %d workers", ready)
            self._events.add("ready", f"{ready} workers")
        self._roll(now)
        self._keep_spares(now)

    def next_event(self) -> float:
        """Return when `tick` is due next, even if nothing happens."""
        return min((slot.next_event() for slot in self.slots.values()), default=float("inf"))

    def ended(self, slot: Slot, code: int) -> None:
        """Take the end of a slot's process and decide what follows."""
        now = self._clock.monotonic()
        asked, why = slot.drain_until is not None, slot.last_error
        pid = slot.child.pid if slot.child else None
        death = slot.ended(code, now)
        expected = asked and code == ExitStatus.DONE
        said = {"slot": slot.name, "pid": pid}
        log.log(logging.INFO if expected else logging.WARNING, "ended: %s", slot.last_exit, extra=said)
        self._events.add("ended", f"{slot.last_exit}, {slot.cause}" if asked else f"{slot.last_exit}", slot.name)
        if self.stop or not slot.wanted:
            self._remove(slot)
        elif asked and (expected or death.from_outside or death.hung):
            self._replace(slot, slot.cause, 0.0)
        else:
            self._follow(slot, death, why)

    def spare_ended(self, spare: Child) -> None:
        """Take the end of a spare process; the next spare is started a while later."""
        self.spares.remove(spare)
        self._spare_from = self._clock.monotonic() + _SPARE_AGAIN_SECONDS

    def _follow(self, slot: Slot, death: Death, why: str | None) -> None:
        slot.deaths.append(death)
        # A standby is judged alone, and keeps no run going whose workers are all down.
        peers = [slot] if slot.role == "standby" else self._counting
        living = {one.name: one.deaths for one in peers if not one.failed}
        working = {one.name for one in peers if one.ready}
        match self._policy.decide(slot.name, living, self.was_ready, self._chance, working):
            case Restart(delay):
                self._replace(slot, death.cause, delay)
            case LeaveDown(reason) | StopAll(_, reason) if slot.role == "standby":
                self._leave_down(slot, f"{reason}: {why}" if why else reason)
            case LeaveDown(reason):
                self._leave_down(slot, reason)
                if all(one.failed for one in self._counting):
                    self.drain(f"every worker is down; {slot.name}: {reason}", ExitStatus(death.code))
            case StopAll(status, reason):
                slot.failed = reason
                self.drain(f"{reason}: {why}" if why else reason, status)

    def _leave_down(self, slot: Slot, reason: str) -> None:
        slot.failed = reason
        log.error("left down: %s", reason, extra={"slot": slot.name})
        self._events.add("left down", reason, slot.name)

    def _replace(self, slot: Slot, cause: str, delay: float) -> None:
        slot.restarts += 1
        self.restarts[cause] += 1
        slot.drain_until = None
        if delay:
            log.info("starts again in %.1f s", delay, extra={"slot": slot.name})
            self._events.add("waits", f"starts again in {delay:.1f} s", slot.name)
            slot.retry_at = self._clock.monotonic() + delay
        else:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        now = self._clock.monotonic()
        try:
            child = self._fill(slot)
        except OSError as error:  # the host has no process or descriptor left: treated like a death
            log.warning("can't start a process: %s", error, extra={"slot": slot.name})
            self._follow(slot, Death(now, ExitStatus.RETRY), str(error))
        else:
            slot.started(child, now)
            log.info("started", extra={"slot": slot.name, "pid": child.pid})
            self._events.add("started", f"process {child.pid}", slot.name)

    def _fill(self, slot: Slot) -> Child:
        """Give the slot's job to a spare process, or to a new one."""
        self._spare_from = self._clock.monotonic() + _SPARE_SECONDS
        while True:
            spare = self.spares.popleft() if self.spares else None
            child = spare or self._launch()
            if processors := self._options.cpu_affinity:
                offset = self._options.mappers.high if slot.role == "reduce" else 0
                child.pin(processors[(offset + slot.number) % len(processors)])
            job = Job(
                slot.role,
                str(slot.number),
                self._config,
                child.report_fd,
                self._options.log_level,
                self._options.standby,
            )
            if child.assign(job) or not spare:  # a new process that is already dead is handled like any other death
                return child
            self._release(spare)

    def _keep_spares(self, now: float) -> None:
        if len(self.spares) < self._options.spares and now >= self._spare_from:
            try:
                self.spares.append(self._launch())
                self._warm_from = now + _WARM_SECONDS
            except OSError as error:
                log.warning("can't start a spare process: %s", error)
                self._spare_from = now + _SPARE_AGAIN_SECONDS

    def _drain(self, slot: Slot, cause: str, how: signal.Signals = signal.SIGTERM) -> None:
        """Drain a slot. After SIGINT its partitions are reassigned at once; after SIGTERM they stay with the slot."""
        if slot.child and slot.drain_until is None:
            slot.draining(self._clock.monotonic() + self._deadlines.drain, cause)
            slot.child.send(how)

    def _dump(self, slot: Slot, reason: str, now: float) -> None:
        """Ask a hung process for its stacks; faulthandler writes them to the log even from within a C call."""
        assert slot.child  # noqa: S101 - overdue means that there is one
        log.error("%s; its stacks follow, then it is killed", reason, extra={"slot": slot.name, "pid": slot.child.pid})
        self._events.add("hung", reason, slot.name)
        slot.dumped(reason, now + self._deadlines.dump)
        slot.child.send(signal.SIGUSR2)
        slot.child.send(signal.SIGCONT)  # a stopped process writes its stacks only after it is continued

    def _drain_in_order(self) -> None:
        for role in ROLES:
            for slot in self.of(role):
                if slot.child is None:
                    self._remove(slot)
                else:
                    self._drain(slot, "stopping", signal.SIGINT if self._leave else signal.SIGTERM)
            if self.of(role):
                return

    def _roll(self, now: float) -> None:
        """Go on with a rolling restart. Each worker is drained when a warm process waits to take its place."""
        slot = self.slots.get(self._rolled or "")
        if slot and not slot.failed and not slot.ready:
            return
        if self._rolled:
            self._rolled, self._roll_by = None, now + _COLD_SECONDS
        warm = bool(self.spares) and now >= self._warm_from
        if self._options.spares and not warm and now < self._roll_by:
            return
        while self._rolling and not self._rolled:
            name, cause = self._rolling.popleft()
            slot = self.slots.get(name)
            if slot is None or not slot.wanted:
                continue
            self._rolled = name
            if slot.child:
                self._drain(slot, cause)
            else:  # waiting or left down: there is nothing to drain, and its earlier deaths no longer count
                slot.deaths.clear()
                self._replace(slot, cause, 0.0)

    def _remove(self, slot: Slot) -> None:
        self._retired[slot.role] += slot.counters
        del self.slots[slot.name]
