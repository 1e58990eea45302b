"""What is known of a slot's process: heartbeats and commits."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

from wcsup.pipeline.report import Counters, Phase, Report
from wcsup.supervisor.processes import Child
from wcsup.supervisor.slot import Slot
from wcsup.supervisor.snapshot import view

CHILD = cast("Child", SimpleNamespace(pid=7))
RUNNING = Report(phase=Phase.RUNNING, beat=1, ready=True)


def test_a_worker_without_a_heartbeat_for_two_seconds_is_silent() -> None:
    slot = Slot("map", 0)
    assert (slot.heartbeat(5.0), slot.silent(5.0)) == (None, False), "no process"
    slot.started(CHILD, 10.0)
    assert (slot.heartbeat(15.0), slot.silent(15.0)) == (None, False), "it may take long to start"
    slot.heard(RUNNING, 16.0)
    assert (slot.heartbeat(18.0), slot.silent(18.0)) == (2.0, False)
    slot.heard(RUNNING, 18.5)
    assert (slot.heartbeat(20.0), slot.silent(20.0)) == (4.0, True), "the same beat again is none"
    shown = view(slot, 20.0)
    assert (shown.state, shown.ready, shown.silent, shown.heartbeat_seconds) == ("running", False, True, 4.0)
    assert shown.condition == "no heartbeat for 4 s"
    slot.heard(replace(RUNNING, beat=2), 20.5)
    assert (slot.silent(21.0), view(slot, 21.0).condition) == (False, "running")
    slot.ended(-9, 30.0)
    assert (slot.heartbeat(31.0), slot.silent(31.0)) == (None, False)


def test_the_time_in_which_the_supervisor_itself_stood_still_is_no_silence() -> None:
    slot = Slot("map", 0)
    slot.started(CHILD, 10.0)
    slot.heard(RUNNING, 10.0)
    slot.forgive(50.0)
    assert not slot.silent(61.0)


def test_the_last_commit_is_told_by_the_counters_of_any_of_its_processes() -> None:
    slot = Slot("map", 0)
    slot.started(CHILD, 10.0)
    slot.heard(RUNNING, 11.0)
    assert slot.since_commit(12.0) is None
    slot.heard(replace(RUNNING, beat=2, counters=Counters(commits=3)), 13.0)
    slot.heard(replace(RUNNING, beat=3, counters=Counters(commits=3)), 14.0)
    assert slot.since_commit(15.0) == 2.0
    slot.ended(-9, 16.0)
    slot.started(CHILD, 17.0)
    slot.heard(RUNNING, 18.0)
    assert view(slot, 19.0).last_commit_seconds == 6.0
    slot.heard(replace(RUNNING, beat=2, counters=Counters(commits=1)), 20.0)
    assert slot.since_commit(20.0) == 0.0
