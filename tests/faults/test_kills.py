"""Workers killed with SIGKILL: at random moments, and at every named step of the commit and of opening a store."""

import itertools
import random
import shutil
from functools import partial

import pytest
from application import Application, WorkerProcess, prose, wait_for
from invariants import Witness, hold

from wcsup.pipeline.report import Role
from wcsup.process.crash import POINTS

ROUNDS = 12


def many_words(lines: int) -> list[bytes]:
    """Return lines of 20 words that no other has: enough that a store is restored by loading it."""
    letters = itertools.product(b"abcdefghijklmnopqrstuvwxyz", repeat=4)
    return [b" ".join(map(bytes, itertools.islice(letters, 20))) for _ in range(lines)]


def test_random_kills_while_200_000_lines_flow(application: Application) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    lines = prose(200_000, seed)
    slots: list[tuple[Role, str]] = [("map", "0"), ("map", "1"), ("reduce", "0"), ("reduce", "1")]
    running: dict[tuple[Role, str], WorkerProcess] = {slot: application.start(*slot) for slot in slots}

    def lives(slot: tuple[Role, str], beat: float) -> bool:
        return running[slot].report.beat >= beat

    with Witness(application), application.feeding(lines, rate=15_000):
        for _ in range(ROUNDS):
            victim = rng.choice(slots)
            moment = rng.uniform(0, 1.5)
            beat = running[victim].report.beat
            wait_for("it lives a while", partial(lives, victim, beat + 50 * moment))
            held = running[victim].report.partitions
            running[victim].kill()
            if victim[0] == "reduce" and held and rng.random() < 0.4:
                # Nobody else has it: the partitions stay the victim's, which a supervisor would start again.
                shutil.rmtree(application.config.state / "stores" / str(rng.choice(held)), ignore_errors=True)
            running[victim] = application.start(*victim)

    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize("name", [name for name in POINTS if not name.startswith(("open-", "released", "scanned"))])
def test_a_kill_at_each_step_of_the_commit(application: Application, role: Role, name: str) -> None:
    other: Role = "reduce" if role == "map" else "map"
    lines = prose(3000, seed=len(name))
    application.start(other)
    victim = application.start(role, crash=f"{name}:2" if name != "joined" else name)
    application.feed(lines[:1000])
    if name != "joined":
        wait_for("its first commit", lambda: victim.report.counters.commits > 0 or victim.process.poll() is not None)
    application.feed(lines[1000:2000])
    assert victim.wait() == -9, "the crash point was passed"
    application.feed(lines[2000:])

    application.start(role)

    hold(application, lines)


@pytest.mark.parametrize("name", [name for name in POINTS if name.startswith("open-")])
def test_a_kill_at_each_step_of_opening_a_store(application: Application, name: str) -> None:
    lines = prose(3000, seed=len(name)) if name != "open-loaded" else many_words(3000)
    application.feed(lines[:2000])
    application.start("map")
    first = application.start("reduce")
    application.wait_counted()
    first.kill()
    shutil.rmtree(application.config.state / "stores")

    victim = application.start("reduce", crash=name)
    assert victim.wait() == -9, "the crash point was passed"
    application.feed(lines[2000:])
    next_one = application.start("reduce")

    hold(application, lines)
    loaded_in_part = any("and is rebuilt" in line for line in next_one.log)
    assert loaded_in_part == (name == "open-loaded"), "words without a stamp are not trusted"
