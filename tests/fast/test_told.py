"""A snapshot that another process told as JSON is the same here, and other versions' are understood or refused."""

import json
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.pipeline.report import Counters
from wcsup.supervisor import LagView, Snapshot, TaskView
from wcsup.supervisor.events import RunEvent
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.resources import Usage
from wcsup.supervisor.slot import SlotState


def whole() -> Snapshot:
    counters = Counters(records=5, words=9, aborts={"FENCED": 1})
    counters.latency.observe(0.5)
    return snapshot(
        worker("map", counters=counters, state=SlotState.RESTORING, restoring={3: (1, 2)}),
        worker("reduce", top=[("whale", 7)], pid=None, cpu_percent=None),
        lag=LagView(5, 6, {0: 5}, {1: 6}),
        tasks=[TaskView("feed", 7, False, 0, {"written": 3, "source": None})],
        events=[RunEvent("2026-11-29T12:00:00.000Z", None, "ready", "2 workers")],
        latency=Latency(0.1, 0.2, 0.3),
        supervisor=Usage(1.0, 2, 3, 4),
        restarts={"killed": 1},
    )


def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(whole().to_json()))
    return found


def test_a_snapshot_comes_back_from_json() -> None:
    assert Snapshot.from_json(told()) == whole()


def test_what_is_unknown_is_passed_over_and_what_is_missing_has_its_default() -> None:
    values = told()
    values["weather"] = "fine"
    values["workers"][0]["mood"] = "good"
    del values["latency"]
    del values["workers"][0]["silent"]
    read = Snapshot.from_json(values)
    assert read.latency is None
    assert read.workers == whole().workers


@pytest.mark.parametrize(
    "change", [{"workers": 5}, {"workers": [{"role": "map"}]}, {"broker": None}, {"lag": [1]}, {"totals": {"map": 1}}]
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a Snapshot"):
        Snapshot.from_json(told() | change)


def test_a_state_that_this_version_does_not_know_is_refused() -> None:
    values = told()
    values["workers"][0]["state"] = "dreaming"
    with pytest.raises(ValueError, match="dreaming"):
        Snapshot.from_json(values)
