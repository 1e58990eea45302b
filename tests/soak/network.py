"""Faults of the broker and of the way to it."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from soak.field import TIME_OUTS, Field, NobodyError
from soak.journal import Event
from wcsup.audit.proxy import Api, Trap

_SPRING_SECONDS = 8.0
_STALL_SECONDS = 0.2, 1.5 * TIME_OUTS[1]


def kill_broker(field: Field, rng: random.Random, event: Event) -> None:
    with _link(field):
        seconds = rng.uniform(0, 3)
        field.broker.kill()
        try:
            field.pause(seconds)
        finally:
            field.broker.start()
        event.note(f"down for {seconds:.1f} s and its start")


@contextmanager
def _link(field: Field) -> Iterator[None]:
    """Have all connections to oneself."""
    if not field.link.acquire(blocking=False):
        raise NobodyError
    try:
        yield
    finally:
        field.link.release()


def slow(field: Field, rng: random.Random, event: Event) -> None:
    with _link(field):
        delay, seconds = rng.uniform(0.01, 0.2), rng.uniform(2, 8)
        event.note(f"{1000 * delay:.0f} ms for {seconds:.1f} s")
        field.proxy.slow(delay)
        try:
            field.pause(seconds)
        finally:
            field.proxy.slow(0)


def stall(field: Field, rng: random.Random, event: Event) -> None:
    with _link(field):
        seconds = rng.uniform(*_STALL_SECONDS)
        event.note(f"for {seconds:.1f} s")
        field.proxy.stall()
        try:
            field.pause(seconds)
        finally:
            field.proxy.resume()


def shut(field: Field, rng: random.Random, event: Event) -> None:
    with _link(field):
        seconds = rng.uniform(*_STALL_SECONDS)
        event.note(f"for {seconds:.1f} s")
        field.proxy.shut()
        try:
            field.pause(seconds)
        finally:
            field.proxy.reopen()


def cut(field: Field, rng: random.Random, event: Event) -> None:
    cuts = rng.randrange(1, 5)
    event.note(f"{cuts} times")
    for _ in range(cuts):
        field.proxy.cut()
        field.pause(rng.uniform(0, 0.5))


def lose_answer(field: Field, rng: random.Random, event: Event) -> None:
    api = _kind(rng)
    event.note(api.name)
    _spring(field, field.proxy.lose_answer(api, skip=rng.randrange(3)), 0)


def delay_answer(field: Field, rng: random.Random, event: Event) -> None:
    api, seconds = _kind(rng), rng.uniform(*_STALL_SECONDS)
    event.note(f"{api.name} for {seconds:.1f} s")
    _spring(field, field.proxy.hold_answer(api, skip=rng.randrange(3)), seconds)


def delay_request(field: Field, rng: random.Random, event: Event) -> None:
    api, seconds = _kind(rng), rng.uniform(*_STALL_SECONDS)
    event.note(f"{api.name} for {seconds:.1f} s")
    _spring(field, field.proxy.hold_request(api, skip=rng.randrange(3)), seconds)


def _kind(rng: random.Random) -> Api:
    """Return a kind of request; those that make a transaction come as often as all others."""
    mine = [Api.PRODUCE, Api.ADD_PARTITIONS, Api.ADD_OFFSETS, Api.TXN_OFFSET_COMMIT, Api.END_TXN, Api.INIT_PRODUCER_ID]
    return rng.choice(mine if rng.random() < 0.5 else list(Api))


def _spring(field: Field, trap: Trap, seconds: float) -> None:
    """Wait until a request gets into the trap, keep it for a while, and let go of it.

    Raises `NobodyError` where no such request comes.
    """
    try:
        deadline = time.monotonic() + _SPRING_SECONDS
        while not trap.sprung.wait(0.1):
            if field.over.is_set() or time.monotonic() > deadline:
                raise NobodyError
        field.pause(seconds)
    finally:
        field.proxy.disarm(trap)
