"""The model of docs/scale.md: its laws, and that the document has the model's figures."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from benches import scale
from benches.scale import Outcome, Setup, simulate

SMALL = Setup(partitions=100, hosts=10, brokers=3, processors=4)


def test_equal_seeds_give_equal_outcomes() -> None:
    assert simulate(SMALL, seconds=20) == simulate(SMALL, seconds=20)
    assert simulate(SMALL, seconds=20) != simulate(SMALL, seconds=20, seed=1)


def test_brokers_with_time_left_hold_up_no_commit() -> None:
    found = simulate(SMALL)
    assert found.commits == pytest.approx(SMALL.hosts * (SMALL.mappers + SMALL.reducers) / SMALL.interval, rel=0.05)
    assert found.median == pytest.approx(scale.COMMIT_SECONDS, abs=0.05)
    expected = SMALL.writes * scale.PARTITION_CPU + SMALL.watching
    assert found.busy * SMALL.brokers * SMALL.processors == pytest.approx(expected, rel=0.5)


def test_brokers_without_time_left_do_what_they_can() -> None:
    """No more is committed than they have processors for, and commits take longer than their interval."""
    found = simulate(replace(SMALL, processors=1, partitions=3000))
    assert found.busy > 0.95
    assert found.worst > SMALL.interval
    assert found.commits < SMALL.hosts * (SMALL.mappers + SMALL.reducers) / SMALL.interval


def test_more_brokers_and_rarer_commits_leave_more_time() -> None:
    busy = simulate(SMALL).busy
    assert simulate(replace(SMALL, brokers=6)).busy < busy
    assert simulate(replace(SMALL, interval=5.0)).busy < busy
    assert simulate(replace(SMALL, mappers=1)).busy < busy


def test_brokers_that_supervisors_keep_busy_commit_nothing() -> None:
    many = replace(SMALL, hosts=math.ceil(SMALL.brokers * SMALL.processors / (SMALL.watching / SMALL.hosts)))
    assert simulate(many) == Outcome(0.0, math.inf, math.inf, 1.0)


def test_the_document_has_what_the_model_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    assert scale.table(scale.HOSTS[:3]) in text
    for row in scale.table(scale.KNOBS[-2:-1]).splitlines():
        assert row in text
    assert f"{Setup().writes:,.0f} a second" in text
