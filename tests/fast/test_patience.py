"""How long a worker goes on trying what is refused, by a clock of the test's own."""

import logging

import pytest
from clocks import Clock

from wcsup.errors import RefusedError, RetryError
from wcsup.pipeline.patience import ABORTED_SECONDS, REFUSED_SECONDS, Doing, Patience


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock)


WORDS = RefusedError("Kafka does not allow user a to WRITE topic words: kafka-acls.sh …", 29)
GROUP = RefusedError("Kafka does not allow user a to READ group g: kafka-acls.sh …", 30)


def test_a_refusal_is_tried_again_for_a_while_and_then_raised(patience: Patience, clock: Clock) -> None:
    patience.refused(Doing.COMMIT, WORDS)
    assert patience.waiting
    clock.now += REFUSED_SECONDS
    patience.refused(Doing.COMMIT, WORDS)
    clock.now += 0.1
    with pytest.raises(RefusedError, match="WRITE topic words"):
        patience.refused(Doing.COMMIT, WORDS)


def test_a_refusal_that_is_told_once_is_raised_all_the_same(patience: Patience, clock: Clock) -> None:
    patience.refused(Doing.INPUT, WORDS)
    patience.look()
    clock.now += REFUSED_SECONDS + 0.1
    with pytest.raises(RefusedError):
        patience.look()


def test_what_has_no_bound_is_waited_for_and_another_refusal_after_it_has_its_own_time(
    patience: Patience, clock: Clock
) -> None:
    patience.refused(Doing.GROUP, RefusedError("the group has workers of the other protocol", 69, bounded=False))
    clock.now += 100 * REFUSED_SECONDS
    patience.look()
    assert patience.waiting
    patience.refused(Doing.GROUP, GROUP)
    clock.now += REFUSED_SECONDS
    patience.look()
    clock.now += 0.1
    with pytest.raises(RefusedError, match="READ group g"):
        patience.look()


def test_what_succeeds_in_between_begins_anew(patience: Patience, clock: Clock) -> None:
    for _ in range(5):
        patience.refused(Doing.COMMIT, WORDS)
        clock.now += REFUSED_SECONDS - 1
        patience.committed()
        assert not patience.waiting


def test_each_thing_that_is_refused_has_a_time_of_its_own(patience: Patience, clock: Clock) -> None:
    patience.refused(Doing.COMMIT, WORDS)
    clock.now += 20
    patience.refused(Doing.GROUP, GROUP)
    patience.passed(Doing.COMMIT, Doing.OFFSETS)
    assert patience.waiting
    assert patience.waits_for(Doing.GROUP)
    assert not patience.waits_for(Doing.COMMIT)
    clock.now += 20
    patience.look()
    clock.now += 20
    with pytest.raises(RefusedError, match="READ group"):
        patience.look()


def test_it_is_said_when_it_begins_and_when_it_ends(
    patience: Patience, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            patience.refused(Doing.COMMIT, WORDS)
            clock.now += 1
        patience.refused(Doing.GROUP, GROUP)
        patience.passed(Doing.COMMIT)
        patience.passed(Doing.GROUP)
        patience.passed(Doing.GROUP)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert str(WORDS) in said[0]
    assert str(GROUP) in said[1]
    assert said[2] == "what was refused is refused no more"


def test_aborts_without_end_have_a_new_process_try(patience: Patience, clock: Clock) -> None:
    with pytest.raises(RetryError, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        for _ in range(round(ABORTED_SECONDS) + 1):
            patience.aborted("OUT_OF_ORDER_SEQUENCE_NUMBER")
            clock.now += 1.1
    assert clock.now - 1000 > ABORTED_SECONDS


def test_aborts_for_other_reasons_or_with_commits_or_long_breaks_between_are_ordinary(
    patience: Patience, clock: Clock
) -> None:
    for number in range(300):
        patience.aborted(["ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"][number // 20 % 2])
        clock.now += 1
    for number in range(300):
        patience.aborted("ILLEGAL_GENERATION")
        clock.now += 1
        if number % 40 == 0:
            patience.committed()
    for _ in range(10):
        patience.aborted("ILLEGAL_GENERATION")
        clock.now += ABORTED_SECONDS
