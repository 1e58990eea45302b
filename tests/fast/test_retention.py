"""How soon Kafka may delete lines that are not counted: the arithmetic, and when it is said."""

from dataclasses import replace
from itertools import pairwise

import pytest
from snapshots import snapshot, worker

from wcsup.config import Config
from wcsup.kafka.retention import Retention, Waiting
from wcsup.observe.retention import Alarm, RetentionWatch, warning
from wcsup.supervisor import LagView

HOUR = 3600.0


def entries(**changes: str) -> dict[str, str | None]:
    settings = {"cleanup_policy": "delete", "retention_ms": "604800000", "retention_bytes": "-1", **changes}
    return {key.replace("_", "."): value for key, value in settings.items()}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, Retention(604_800.0, by_size=False)),
        ({"retention_ms": "1500"}, Retention(1.5, by_size=False)),
        ({"retention_ms": "0"}, Retention(0.0, by_size=False)),
        ({"retention_ms": "-1"}, Retention(None, by_size=False)),
        ({"retention_bytes": "1000000"}, Retention(604_800.0, by_size=True)),
        ({"retention_ms": "-1", "retention_bytes": "0"}, Retention(None, by_size=True)),
        ({"cleanup_policy": "compact"}, Retention(None, by_size=False)),
        ({"cleanup_policy": "compact, delete"}, Retention(604_800.0, by_size=False)),
    ],
)
def test_retention_is_what_the_topic_says(changes: dict[str, str], wanted: Retention) -> None:
    assert Retention.of(entries(**changes)) == wanted


def test_a_record_is_kept_for_the_retention_after_its_time() -> None:
    assert Retention(HOUR, by_size=False).deleted_at(1000.0) == 1000.0 + HOUR


@pytest.mark.parametrize("retention", [Retention(None, by_size=False), Retention(HOUR, by_size=True)])
def test_no_time_is_told_where_none_is_known(retention: Retention) -> None:
    assert retention.deleted_at(1000.0) is None


@pytest.mark.parametrize(
    ("whole", "little"),
    [(168 * HOUR, 16.8 * HOUR), (24 * HOUR, 2.4 * HOUR), (8 * HOUR, HOUR), (HOUR, HOUR / 2), (0, 0)],
)
def test_little_is_an_hour_or_a_tenth_and_half_at_most(whole: float, little: float) -> None:
    assert Retention(whole, by_size=False).little == pytest.approx(little)


def test_what_is_left_falls_to_zero_and_no_further() -> None:
    waiting = Waiting(Retention(HOUR, by_size=False), {0: 100.0, 3: 250.0})
    assert waiting.left(90.0) == {0: 10.0, 3: 160.0}
    assert waiting.left(200.0) == {0: 0.0, 3: 50.0}


def test_a_warning_comes_at_once_and_again_when_half_of_the_rest_is_gone() -> None:
    alarm = Alarm()
    said = [now for now in range(0, 4000, 30) if alarm.due(max(0.0, 2000.0 - now), little=1000.0, now=float(now))]
    assert said[:4] == [1020, 1530, 1770, 1890]
    overdue = [now for now in said if now >= 2000]
    assert [later - before for before, later in pairwise(overdue)] == [600] * (len(overdue) - 1)
    assert len(overdue) == 4


def test_a_warning_that_was_over_comes_at_once_again() -> None:
    alarm = Alarm()
    assert alarm.due(500.0, 1000.0, now=0.0)
    assert not alarm.due(490.0, 1000.0, now=10.0)
    assert not alarm.due(None, 1000.0, now=20.0)
    assert alarm.due(480.0, 1000.0, now=30.0)
    assert not alarm.due(5000.0, 1000.0, now=40.0)
    assert alarm.due(470.0, 1000.0, now=50.0)


def test_the_warning_names_the_partition_that_is_next_and_what_to_do() -> None:
    said = warning("b-lines", {4: 700.0, 2: 65.0})
    assert said.startswith("b-lines, partition 2: Kafka may delete lines in 1 min 5 s that are not counted")
    assert "add mappers" in said and "raise retention.ms of topic b-lines" in said
    assert "Kafka may delete lines now" in warning("lines", {0: 0.0})


def test_only_partitions_with_lines_that_wait_have_a_time() -> None:
    watch = RetentionWatch(Config(bootstrap_servers="127.0.0.1:9"), clock=lambda: 1000.0)
    lag = LagView(7, 0, {0: 0, 1: 7, 2: 5}, {})
    assert watch.added(None) is None
    assert watch.added(lag) == lag

    watch.last = Waiting(Retention(HOUR, by_size=False), {0: 1100.0, 1: 1200.0})

    assert watch.added(lag) == replace(lag, lines_retention_by_partition={1: 200.0})


@pytest.mark.parametrize(("left", "least"), [({}, None), ({1: 0.0, 2: 5.0}, 0.0), ({1: 90.5}, 90.5)])
def test_a_snapshot_has_the_least_and_none_where_nothing_is_known(left: dict[int, float], least: float | None) -> None:
    shown = snapshot(worker("map"), lag=LagView(1, 0, {1: 1}, {}, left)).to_json()
    assert shown["lines_retention_seconds"] == least
