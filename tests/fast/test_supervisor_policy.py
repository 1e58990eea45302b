"""Every row of the restart policy, without a process and without time."""

import random
import signal
from dataclasses import replace
from typing import Any

import pytest

from wcsup.errors import ExitStatus
from wcsup.supervisor.policy import Death, LeaveDown, Policy, Restart, StopAll

POLICY = Policy()
NOW = 1000.0

EARLY = {"ready_for": None}
READY = {"ready_for": 1.0}
WORKED = {"ready_for": 1.0, "committed": True}
HEALTHY = {"ready_for": 10.0}

ROWS = [
    # how it ended, what it had done, the whole was ready -> what follows
    (ExitStatus.CONFIGURATION, EARLY, False, (StopAll, ExitStatus.CONFIGURATION)),
    (ExitStatus.CONFIGURATION, HEALTHY, True, (StopAll, ExitStatus.CONFIGURATION)),
    (ExitStatus.USAGE, EARLY, False, (StopAll, ExitStatus.USAGE)),
    (ExitStatus.FENCED, EARLY, False, (LeaveDown, None)),
    (ExitStatus.FENCED, HEALTHY, True, (LeaveDown, None)),
    (ExitStatus.BROKER_UNREACHABLE, EARLY, False, (StopAll, ExitStatus.BROKER_UNREACHABLE)),
    (ExitStatus.BROKER_UNREACHABLE, EARLY, True, (Restart, "soon")),
    (ExitStatus.RETRY, EARLY, True, (Restart, "soon")),
    (ExitStatus.RETRY, WORKED, True, (Restart, "soon")),
    (ExitStatus.RETRY, HEALTHY, True, (Restart, "now")),
    (ExitStatus.STORE_BROKEN, EARLY, True, (Restart, "soon")),
    (ExitStatus.DISK, EARLY, False, (Restart, "soon")),
    (ExitStatus.DISK, HEALTHY, True, (Restart, "now")),
    (ExitStatus.ORPHANED, EARLY, True, (Restart, "soon")),
    (ExitStatus.CHECK_FAILED, EARLY, True, (Restart, "soon")),
    (ExitStatus.CHECK_FAILED, HEALTHY, True, (Restart, "now")),
    (-signal.SIGSEGV, READY, True, (Restart, "soon")),
    (-signal.SIGKILL, EARLY, True, (Restart, "soon")),
    (-signal.SIGKILL, READY, True, (Restart, "now")),
    (-signal.SIGKILL, WORKED, True, (Restart, "now")),
    (-signal.SIGTERM, READY, True, (Restart, "now")),
    (ExitStatus.DONE, READY, True, (Restart, "now")),  # somebody else's SIGTERM, obeyed
    (77, EARLY, True, (Restart, "soon")),
]


@pytest.mark.parametrize(("code", "done", "was_ready", "expected"), ROWS)
def test_one_death(code: int, done: dict[str, Any], was_ready: bool, expected: tuple[type, object]) -> None:
    deaths = {"map-0": [Death(NOW, code, **done)], "map-1": []}
    decision = POLICY.decide("map-0", deaths, was_ready, random.Random(1))
    kind, detail = expected
    assert type(decision) is kind
    match decision:
        case StopAll(status, reason):
            assert status is detail
            assert "map-0" in reason
        case Restart(delay) if detail == "now":
            assert delay == 0
        case Restart(delay):
            assert 0.2 <= delay <= 0.4


CRASH = Death(NOW, 1)
UNREACHABLE = Death(NOW, ExitStatus.BROKER_UNREACHABLE)
KILL = Death(NOW, -signal.SIGKILL)
KILL_WHEN_READY = replace(KILL, ready_for=0.5)
CRASH_AFTER_WORK = replace(CRASH, ready_for=0.5, committed=True)
POISON = replace(CRASH, ready_for=0.5)
HUNG = Death(NOW, -signal.SIGKILL, ready_for=0.5, hung=True)


def row(death: Death, times: int, every: float = 1.0) -> list[Death]:
    """The same death so many times, the last one now."""
    return [replace(death, at=NOW - every * back) for back in reversed(range(times))]


@pytest.mark.parametrize(
    ("history", "others", "was_ready", "gives_up"),
    [
        (row(CRASH, 4), [], True, False),
        (row(CRASH, 5), [], True, True),
        (row(POISON, 5), [], True, True),
        (row(HUNG, 5), [], True, True),
        (row(Death(NOW, ExitStatus.RETRY), 5), [], True, True),
        # Work in between clears the slot, whatever it dies of afterwards.
        (row(CRASH_AFTER_WORK, 16), [], True, False),
        ([*row(CRASH, 4, 2.0), CRASH_AFTER_WORK, CRASH], [], True, False),
        # Nobody's kills stop anything, however early they come.
        (row(KILL, 16), [], True, False),
        (row(KILL_WHEN_READY, 16), [], True, False),
        (row(KILL, 16), [row(KILL, 16)] * 5, True, False),
        # A broker that is away after all was well is waited for.
        (row(UNREACHABLE, 16), [row(UNREACHABLE, 16)] * 5, True, False),
        # Slow deaths are kept trying when all was well once; before that there is nothing to lose by stopping.
        (row(CRASH, 16, 20.0), [], True, False),
        (row(CRASH, 4, 100.0), [], False, False),
        (row(CRASH, 5, 100.0), [], False, True),
        # All of them together are found sooner than one alone.
        (row(CRASH, 3), [row(CRASH, 3)] * 3, True, True),
        (row(CRASH, 3), [row(CRASH, 3), row(CRASH, 2)], True, False),
        (row(CRASH, 3), [row(CRASH, 3), row(CRASH_AFTER_WORK, 3)], True, False),
        (row(CRASH, 3), [row(CRASH, 3), []], True, False),
        (row(CRASH, 3), [], True, False),
    ],
)
def test_when_to_give_up(history: list[Death], others: list[list[Death]], was_ready: bool, gives_up: bool) -> None:
    deaths = {"map-0": history, **{f"map-{number}": other for number, other in enumerate(others, 1)}}
    decision = POLICY.decide("map-0", deaths, was_ready, random.Random(1))
    if gives_up:
        assert isinstance(decision, StopAll)
        assert decision.status is ExitStatus.GAVE_UP
        assert "without getting to work" in decision.reason
    else:
        assert isinstance(decision, Restart)


DISK = Death(NOW, ExitStatus.DISK)
DISK_AFTER_WORK = replace(DISK, ready_for=60.0, committed=True)


@pytest.mark.parametrize(
    ("own", "other", "working", "stops"),
    [
        # One worker's disk stops nothing where another one works, or may yet.
        (row(DISK, 16), [], {"reduce-1"}, False),
        (row(DISK, 16), row(DISK, 16), {"reduce-1"}, False),
        (row(DISK, 16), [], {}, False),
        (row(DISK, 16), row(KILL, 16), {}, False),
        (row(DISK, 16), row(DISK, 2), {}, False),
        (row(DISK, 2), row(DISK, 16), {}, False),
        (row(DISK, 16), [*row(DISK, 5), DISK_AFTER_WORK, *row(DISK, 2)], {}, False),
        # That mappers work is of no use to reducers, nor the other way round.
        (row(DISK, 3), row(DISK, 3), {"map-0"}, True),
        ([*row(DISK, 2), DISK_AFTER_WORK, *row(DISK, 3)], row(DISK, 16), {}, True),
        # However long the waits have become by then.
        (row(DISK, 3), row(DISK, 16, 30.0), {"map-0"}, True),
        (row(DISK, 3, 30.0), None, {"map-0"}, True),
        (row(DISK, 2, 30.0), None, {"map-0"}, False),
    ],
)
def test_when_no_disk_is_left(own: list[Death], other: list[Death] | None, working: set[str], stops: bool) -> None:
    deaths = {"map-0": [], "reduce-0": own} | ({} if other is None else {"reduce-1": other})
    decision = POLICY.decide("reduce-0", deaths, True, random.Random(1), working)
    if stops:
        assert isinstance(decision, StopAll)
        assert decision.status is ExitStatus.CONFIGURATION
        assert decision.reason.endswith("last: reduce-0: exit status 10 (disk)")
    else:
        assert isinstance(decision, Restart)


@pytest.mark.parametrize("seed", range(20))
def test_waits_double_up_to_the_longest_with_jitter(seed: int) -> None:
    chance = random.Random(seed)
    policy = Policy(slot_deaths=1000)
    delays = []
    for deaths in range(1, 17):
        decision = policy.decide("map-0", {"map-0": row(CRASH, deaths)}, True, chance)
        assert isinstance(decision, Restart)
        delays.append(decision.delay)
    for level, delay in enumerate(delays, 1):
        span = min(30.0, 0.2 * 2**level)
        assert max(0.2, span / 2) <= delay <= span


def test_somebodys_kills_never_cost_a_long_wait() -> None:
    decision = POLICY.decide("map-0", {"map-0": row(KILL, 16)}, True, random.Random(1))
    assert isinstance(decision, Restart)
    assert 1.0 <= decision.delay <= 2.0


def test_jitter_keeps_workers_apart() -> None:
    chance = random.Random(1)
    deaths = {"map-0": row(CRASH, 4)}
    delays = {POLICY.decide("map-0", deaths, True, chance) for _ in range(50)}
    assert len(delays) == 50


def test_a_healthy_time_resets_the_wait() -> None:
    after = [*row(CRASH, 4), Death(NOW, 1, ready_for=11.0)]
    assert POLICY.decide("map-0", {"map-0": after}, True, random.Random(1)) == Restart(0.0)
    again = POLICY.decide("map-0", {"map-0": [*after, CRASH]}, True, random.Random(1))
    assert isinstance(again, Restart)
    assert again.delay <= 0.4


def test_a_thousand_random_kills_stop_nothing() -> None:
    chance = random.Random(7)
    deaths: dict[str, list[Death]] = {f"map-{number}": [] for number in range(6)}
    for number in range(1000):
        slot = chance.choice(list(deaths))
        ready_for = chance.choice([None, 0.1, 3.0])
        deaths[slot].append(Death(number * 0.1, -signal.SIGKILL, ready_for, chance.random() < 0.5))
        assert isinstance(POLICY.decide(slot, deaths, True, chance), Restart)


@pytest.mark.parametrize(
    ("death", "words", "cause"),
    [
        (Death(NOW, 0), "exit status 0 (done)", "drained"),
        (Death(NOW, 1), "exit status 1 (check_failed)", "crashed"),
        (Death(NOW, 7), "exit status 7 (retry)", "retry"),
        (Death(NOW, 5), "exit status 5 (store_broken)", "store_broken"),
        (Death(NOW, 10), "exit status 10 (disk)", "disk"),
        (Death(NOW, 99), "exit status 99", "crashed"),
        (Death(NOW, -9), "killed by SIGKILL (somebody's kill, or the kernel out of memory)", "killed"),
        (Death(NOW, -11), "killed by SIGSEGV", "crashed"),
        (Death(NOW, -40), "killed by signal 40", "crashed"),
        (Death(NOW, -9, hung=True), "hung, killed", "hung"),
    ],
)
def test_deaths_in_words(death: Death, words: str, cause: str) -> None:
    assert (death.describe(), death.cause) == (words, cause)
