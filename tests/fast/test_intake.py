"""How a worker reads its input, by a reader and a clock of the test's own."""

from typing import cast

import pytest
from confluent_kafka import KafkaError
from loop import Loop

from wcsup.errors import ConfigurationError, FencedError, RefusedError, RetryError, WcsupError
from wcsup.kafka import refusals
from wcsup.kafka.refusals import About
from wcsup.pipeline.intake import GROUP_SECONDS, IDLE_SECONDS, SHORT_SECONDS, Intake
from wcsup.pipeline.pacing import LIGHT_RECORDS, Pacing
from wcsup.pipeline.patience import Doing
from wcsup.pipeline.stage import Stage

PAUSE = 0.01


class Reading(Loop):
    """A loop with an intake that has committed a batch just now."""

    def __init__(self) -> None:
        super().__init__()
        self.pacing = Pacing(1.0, PAUSE, self.clock)
        self.pacing.ended(self.clock.now, counted=True)
        self.slept: list[float] = []
        self.intake = Intake(
            self.config,
            cast("Stage", self.stage),
            self.membership,
            self.pacing,
            patience=self.patience,
            about=About("wcsup-reduce"),
            clock=self.clock,
            sleep=self._sleep,
        )
        self.joined(0)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.clock.now += seconds

    def hear(self, error: KafkaError) -> None:
        self.reader.notices = [(error, 0)]
        self.intake.read()


@pytest.fixture
def reading() -> Reading:
    return Reading()


@pytest.fixture(autouse=True)
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say of a refusal what it is, and ask no broker."""
    monkeypatch.setattr(refusals, "refused", lambda _config, error, _about: RefusedError(error.str(), error.code()))
    monkeypatch.setattr(refusals, "lacking", lambda *_: None)


def test_it_waits_for_input_for_a_moment(reading: Reading) -> None:
    assert reading.intake.read()
    assert reading.reader.waits == [IDLE_SECONDS]


def test_it_does_not_wait_longer_than_until_a_heartbeat_is_due(reading: Reading) -> None:
    reading.reader.inbox.since = 0.16
    reading.intake.read()
    assert reading.reader.waits == [0.04]


def test_it_waits_shortly_while_partitions_are_opened(reading: Reading) -> None:
    reading.membership.reopen()
    reading.intake.read()
    assert reading.reader.waits == [SHORT_SECONDS]


def test_a_light_batch_gathers_until_it_is_due(reading: Reading) -> None:
    reading.stage.comes = 5
    assert not reading.intake.read()
    reading.intake.read()
    assert reading.slept == [PAUSE]
    assert reading.reader.waits == [IDLE_SECONDS, 0]


def test_a_large_batch_is_read_on_at_once(reading: Reading) -> None:
    reading.stage.comes = LIGHT_RECORDS + 1
    assert not reading.intake.read()
    reading.intake.read()
    assert reading.slept == []
    assert reading.reader.waits == [IDLE_SECONDS, SHORT_SECONDS]


def test_what_comes_just_behind_the_first_records_is_gathered(reading: Reading) -> None:
    reading.stage.gather_seconds = 0.0005
    reading.clock.now += PAUSE
    reading.stage.comes = 1
    reading.intake.read()
    assert reading.slept == [0.001]
    assert reading.reader.waits == [IDLE_SECONDS, 0]


@pytest.mark.parametrize(
    ("code", "fatal", "raised"),
    [
        (KafkaError._PARTITION_EOF, False, None),
        (KafkaError._ALL_BROKERS_DOWN, False, None),
        (KafkaError.FENCED_INSTANCE_ID, False, FencedError),
        (KafkaError._FATAL, True, RetryError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, False, ConfigurationError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, False, None),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, False, None),
    ],
)
def test_what_an_error_of_the_consumer_means(
    reading: Reading, code: int, fatal: bool, raised: type[WcsupError] | None
) -> None:
    error = KafkaError(code, "injected", fatal)
    if raised is None:
        reading.hear(error)
    else:
        with pytest.raises(raised):
            reading.hear(error)
    assert reading.membership.is_fenced is (raised is FencedError)


def test_a_topic_that_may_be_read_again_is_waited_for_no_more(reading: Reading) -> None:
    reading.hear(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    assert reading.patience.waits_for(Doing.INPUT)
    reading.call("on_lost", 0)
    reading.told.clear()
    reading.intake.ask_again()
    assert not reading.patience.waiting
    assert reading.told == [("unsubscribe",), ("subscribe", "words")], "a hidden topic has no partitions"


def test_records_show_that_the_topic_may_be_read(reading: Reading) -> None:
    reading.hear(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    reading.stage.comes = 1
    reading.intake.read()
    assert not reading.patience.waiting


def test_a_consumer_that_failed_for_a_refusal_is_replaced_and_its_batch_dropped(reading: Reading) -> None:
    cause = KafkaError(KafkaError.GROUP_ID_NOT_FOUND).str()
    reading.hear(KafkaError(KafkaError._FATAL, f"Fatal consumer error: {cause}", True))
    assert reading.patience.waits_for(Doing.GROUP)
    reading.hear(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    reading.patience.passed(Doing.INPUT)
    reading.told.clear()
    reading.intake.ask_again()
    assert reading.told == [("clear",), ("close",), ("disown", 0), ("subscribe", "words")]
    assert not reading.membership.is_member

    # And it is waited for until the new member is assigned something.
    reading.intake.ask_again()
    assert reading.patience.waits_for(Doing.GROUP)
    reading.call("on_assign")
    assert not reading.patience.waiting


def test_a_group_that_was_silent_for_a_while_is_asked(reading: Reading) -> None:
    reading.hear(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED))
    reading.clock.now += GROUP_SECONDS - 1
    reading.intake.ask_again()
    assert reading.patience.waits_for(Doing.GROUP)
    reading.clock.now += 2
    reading.intake.ask_again()
    assert ("committed", 0) in reading.told
    assert not reading.patience.waiting


def test_what_a_rebalance_raised_comes_first(reading: Reading) -> None:
    reading.settle_fails = RetryError("the outcome is unknown")
    reading.call("on_revoke", 0)
    reading.stage.comes = 1
    with pytest.raises(RetryError, match="the outcome is unknown"):
        reading.intake.read()
    assert not reading.stage.taken
