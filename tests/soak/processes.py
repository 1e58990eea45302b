"""Faults of processes: killed, stopped, fenced, drained, joined by others."""

import random
import signal
import time
from contextlib import suppress

import psutil
from application import WorkerProcess, wait_for
from keeper import RESTARTED

from soak.field import Field
from soak.journal import Event
from wcsup.errors import ExitStatus
from wcsup.process.crash import POINTS

_REACH_SECONDS = 15.0
"""How long a worker may take to a step that it is to be stopped at; it may wait for lines, or a broker."""


def kill(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng) as [slot]:
        event.note(f"{slot} pid {field.keeper.running[slot].process.pid}")
        field.keeper.kill(slot)


def kill_several(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng, rng.choice((2, 3))) as slots:
        event.note(f"{slots}")
        for slot in slots:
            field.keeper.running[slot].signal(signal.SIGKILL)


def _step(rng: random.Random, role: str) -> str:
    names = [name for name in POINTS if role == "reduce" or not name.startswith("open-")]
    name = rng.choice(names)
    return f"{name}:{rng.randrange(1, 6)}" if name.startswith(("before-", "after-")) else name


def _reached(field: Field, what: str, worker: WorkerProcess, event: Event) -> bool:
    """Wait until a worker is stopped, or ended; false where that takes long."""
    deadline = time.monotonic() + _REACH_SECONDS
    while not field.over.is_set() and time.monotonic() < deadline:
        if worker.process.poll() is not None or _stopped(worker):
            return True
        field.pause(0.05)
    event.note(f"{what} not reached")
    return False


def _stopped(worker: WorkerProcess) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED
    return False


def crash(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng) as [slot]:
        step = _step(rng, slot[0])
        event.note(f"{slot} at {step}")
        field.keeper.release(slot).kill()
        worker = field.start(slot, step)
        if not _reached(field, step, worker, event):
            field.keeper.kill(slot)  # it is not to be killed later, where it is drained


def stop(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng) as [slot]:
        long = rng.random() < 0.5
        seconds = rng.uniform(1.1, 1.5) * field.time_out(slot) if long else rng.uniform(0.1, 1.5)
        worker = field.keeper.running[slot]
        event.note(f"{slot} pid {worker.process.pid} for {seconds:.1f} s")
        _hold(field, worker, seconds)


def stop_at_a_step(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng) as [slot]:
        step = _step(rng, slot[0])
        seconds = rng.uniform(0.1, 1.5) * field.time_out(slot)
        event.note(f"{slot} at {step} for {seconds:.1f} s")
        field.keeper.release(slot).kill()
        worker = field.start(slot, f"stop:{step}")
        if _reached(field, step, worker, event):
            _hold(field, worker, seconds)
        else:
            field.keeper.kill(slot)  # it is not to be stopped later, when nobody continues it


def _hold(field: Field, worker: WorkerProcess, seconds: float) -> None:
    worker.signal(signal.SIGSTOP)
    try:
        field.pause(seconds)
    finally:
        worker.signal(signal.SIGCONT)


def fence(field: Field, rng: random.Random, event: Event) -> None:
    """A second process with the name of a slot; the first one ends, and is started again when the second is gone."""
    with field.claim(rng) as [slot]:
        first = field.keeper.release(slot)

        def ended(worker: WorkerProcess) -> bool:
            return worker.process.poll() is not None

        # One that starts itself may come to `init_transactions` later than the second one, and is the second one then.
        wait_for("the first of a name is at work", lambda: first.ready or ended(first), 90)
        second = field.intrude(slot)
        event.note(f"{slot} pid {first.process.pid} by pid {second.process.pid}")
        try:
            wait_for("the second of a name is at work", lambda: second.ready or ended(second), 90)
            # Where the second one ends by itself, of some other fault, nobody has to find the first one fenced.
            wait_for("the first of a name ends", lambda: ended(first) or ended(second), 90)
            field.pause(rng.uniform(0, 3))
            if ended(first):
                status = first.wait()
                event.note(f"the first ended with {status}")
                assert status in {ExitStatus.FENCED, *RESTARTED}, (status, first.log[-3:])
            event.note("the second " + field.end(second, kill=rng.random() < 0.5))
        finally:
            for worker in (first, second):
                worker.kill()
            field.start(slot)


def drain(field: Field, rng: random.Random, event: Event) -> None:
    with field.claim(rng) as [slot]:
        event.note(f"{slot}")
        worker = field.keeper.release(slot)
        try:
            event.note(field.drained([worker]))
            field.pause(rng.uniform(0, 4))
        finally:
            field.start(slot)


def join(field: Field, rng: random.Random, event: Event) -> None:
    """Another worker comes for a while: two rebalances."""
    with field.claim_extra(rng) as [slot]:
        event.note(f"{slot}")
        field.start(slot)
        field.pause(rng.uniform(1, 8))
        event.note(field.end(field.keeper.release(slot), kill=rng.random() < 0.3))


def change_many(field: Field, rng: random.Random, event: Event) -> None:
    """Three come while two go, and then the other way round."""
    with field.claim_extra(rng, 3) as extra, field.claim(rng, 2) as slots:
        event.note(f"{extra} for {slots}")
        going = [field.keeper.release(slot) for slot in slots]
        try:
            for slot in extra:
                field.start(slot)
            event.note(field.drained(going))
            field.pause(rng.uniform(1, 6))
        finally:
            for slot in slots:
                field.start(slot)
            event.note(field.drained([field.keeper.release(slot) for slot in extra if slot in field.keeper.running]))
