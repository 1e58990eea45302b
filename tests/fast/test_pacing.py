"""When a batch is committed, by a clock that a test moves."""

from dataclasses import dataclass

import pytest
from clocks import Clock

from wcsup.kafka.reader import POLL_BYTES
from wcsup.pipeline.pacing import (
    DRY_SECONDS,
    FIRST_BYTES,
    LIGHT_BYTES,
    LIGHT_RECORDS,
    QUIET_SECONDS,
    Pacing,
    is_light,
)

INTERVAL, PAUSE = 1.0, 0.01


@dataclass
class Batch:
    """So many records."""

    taken: int = 0
    taken_bytes: int = 0
    full: bool = False


LIGHT = Batch(LIGHT_RECORDS, LIGHT_BYTES)
LARGE = Batch(LIGHT_RECORDS + 1, LIGHT_BYTES)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pacing(clock: Clock) -> Pacing:
    """The pace of a worker that has just committed records; the next ones come as soon."""
    made = Pacing(INTERVAL, PAUSE, clock)
    made.ended(clock.now, counted=True)
    made.read()
    return made


def due(pacing: Pacing, batch: Batch, *, dry: bool = False, idle_work: bool = False) -> bool:
    return pacing.is_due(batch, dry=dry, idle_work=lambda: idle_work)


@pytest.mark.parametrize(
    ("batch", "light"),
    [
        (Batch(), True),
        (LIGHT, True),
        (LARGE, False),
        (Batch(1, LIGHT_BYTES + 1), False),
    ],
)
def test_a_light_batch_is_small_in_records_and_in_bytes(batch: Batch, light: bool) -> None:
    assert is_light(batch) is light


@pytest.mark.parametrize(
    ("batch", "seconds", "is_due"),
    [
        pytest.param(LIGHT, PAUSE * 0.9, False, id="light, too soon"),
        pytest.param(LIGHT, PAUSE * 1.1, True, id="light"),
        pytest.param(LARGE, PAUSE * 1.1, False, id="large, in the middle of its input"),
        pytest.param(LARGE, DRY_SECONDS * 1.1, True, id="large, its input has ended"),
        pytest.param(Batch(LARGE.taken, LARGE.taken_bytes, full=True), 0.0, True, id="full"),
        pytest.param(Batch(), INTERVAL * 2, False, id="nothing"),
    ],
)
def test_when_a_batch_is_due(pacing: Pacing, clock: Clock, batch: Batch, seconds: float, is_due: bool) -> None:
    clock.now += seconds
    assert due(pacing, batch) is is_due


def test_a_large_batch_whose_input_goes_on_is_due_when_its_interval_is_over(pacing: Pacing, clock: Clock) -> None:
    began = clock.now
    while clock.now < began + INTERVAL - 0.02:
        clock.now += 0.01
        pacing.read()
        assert not due(pacing, LARGE)
    clock.now = began + INTERVAL
    pacing.read()
    assert due(pacing, LARGE)


def test_the_first_batch_is_small_and_due_at_once(clock: Clock) -> None:
    pacing = Pacing(INTERVAL, PAUSE, clock)
    pacing.ended(clock.now, counted=False)  # of top words alone, say
    assert pacing.bytes_to_read == FIRST_BYTES
    assert due(pacing, LARGE)
    pacing.ended(clock.now, counted=True)
    pacing.read()
    assert pacing.bytes_to_read == POLL_BYTES
    assert not due(pacing, LARGE)
    pacing.ended(clock.now, counted=False)
    assert pacing.bytes_to_read == POLL_BYTES


def test_the_pause_of_a_light_load_runs_from_the_beginning_of_a_commit(pacing: Pacing, clock: Clock) -> None:
    began = clock.now
    clock.now += PAUSE / 4
    pacing.ended(began, counted=True)
    assert pacing.until_light() == pytest.approx(PAUSE * 3 / 4)
    clock.now += PAUSE
    assert pacing.until_light() == 0


@pytest.mark.parametrize(
    ("dry", "idle_work", "seconds"),
    [
        (True, True, QUIET_SECONDS),
        (False, True, QUIET_SECONDS),
        (True, True, QUIET_SECONDS * 0.9),
        (True, False, QUIET_SECONDS),
    ],
)
def test_work_without_input_waits_for_a_quiet_moment(
    pacing: Pacing, clock: Clock, dry: bool, idle_work: bool, seconds: float
) -> None:
    clock.now += seconds
    quiet = seconds >= QUIET_SECONDS
    assert due(pacing, Batch(), dry=dry, idle_work=idle_work) is (dry and idle_work and quiet)
