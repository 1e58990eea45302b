"""Faults of what workers keep on disk: stores deleted or damaged, a host that lost everything."""

import fcntl
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from keeper import Slot

from soak.field import ABROAD, Field, NobodyError
from soak.journal import Event


@contextmanager
def _stores_of_a_dead_reducer(field: Field, rng: random.Random) -> Iterator[tuple[Slot, list[Path]]]:
    """Kill a reducer and start it again behind the block; what of its host's stores nobody has open is locked."""
    with field.claim(rng, role="reduce") as [slot]:
        field.keeper.release(slot).kill()
        locks = []
        try:
            free = []
            for store in sorted((field.state(slot) / "stores").glob("*")):
                # Another reducer of the host may have it open, or discard it right now.
                with suppress(BlockingIOError, FileNotFoundError):
                    locks.append(os.open(store / "LOCK", os.O_RDWR | os.O_CLOEXEC))
                    fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                    free.append(store)
            yield slot, free
        finally:
            for lock in locks:
                os.close(lock)
            field.start(slot)


def delete_stores(field: Field, rng: random.Random, event: Event) -> None:
    with _stores_of_a_dead_reducer(field, rng) as (slot, stores):
        if not stores:
            raise NobodyError
        chosen = rng.sample(stores, rng.randrange(1, len(stores) + 1))
        event.note(f"{slot}: {[int(store.name) for store in chosen]}")
        for store in chosen:
            shutil.rmtree(store)
            field.damaged.discard(store)


def flip_in_table(field: Field, rng: random.Random, event: Event) -> None:
    with _stores_of_a_dead_reducer(field, rng) as (slot, stores):
        _flip(field, rng, [path for store in stores for path in store.glob("*.sst")], event, slot)


def flip_in_log(field: Field, rng: random.Random, event: Event) -> None:
    with _stores_of_a_dead_reducer(field, rng) as (slot, stores):
        _flip(field, rng, _logs(stores), event, slot)


def tear_log(field: Field, rng: random.Random, event: Event) -> None:
    """As after a crash of the host: the end of what was written last is not there."""
    with _stores_of_a_dead_reducer(field, rng) as (slot, stores):
        if not (logs := _logs(stores)):
            raise NobodyError
        path = rng.choice(logs)
        left = rng.randrange(path.stat().st_size)
        os.truncate(path, left)
        event.note(f"{slot}: {_name(path)} cut to {left:,} bytes")


def lose_host(field: Field, rng: random.Random, event: Event) -> None:  # noqa: ARG001 - there is one such host
    """Its state directory is gone, and with it its name."""
    with field.claim_all(ABROAD):
        for slot in ABROAD:
            field.keeper.release(slot).kill()
        state = field.state(ABROAD[0])
        shutil.rmtree(state)
        field.damaged -= {path for path in field.damaged if path.is_relative_to(state)}
        for slot in ABROAD:
            field.start(slot)
        event.note(state.name)


def _logs(stores: list[Path]) -> list[Path]:
    return [path for store in stores for path in store.glob("*.log") if path.stat().st_size]


def _flip(field: Field, rng: random.Random, paths: list[Path], event: Event, slot: Slot) -> None:
    if not paths:
        raise NobodyError
    path = rng.choice(paths)
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)
    field.damaged.add(path.parent)
    path.write_bytes(data)
    event.note(f"{slot}: {_name(path)} at {at:,} of {len(data):,}")


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
