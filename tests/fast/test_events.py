"""What happened in a run: kept in a file, read while it grows and when it is full, and never in the way of the run."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wcsup.cli import main
from wcsup.supervisor import events
from wcsup.supervisor.events import EventsReader, RunEvent, RunEvents, paths


@pytest.fixture
def added(tmp_path: Path) -> RunEvents:
    return RunEvents(tmp_path, lambda: 1_800_000_000.25)


def test_an_event_has_its_time_slot_and_reason(added: RunEvents, tmp_path: Path) -> None:
    added.add("ended", "killed by SIGKILL", "map-1")
    added.add("stopping", "SIGINT")
    first, second = paths(tmp_path)[1].read_text().splitlines()
    assert json.loads(first) == {
        "time": "2027-01-15T08:00:00.250Z",
        "slot": "map-1",
        "event": "ended",
        "reason": "killed by SIGKILL",
    }
    assert json.loads(second)["slot"] is None
    assert [event.event for event in added.last] == ["ended", "stopping"]


def test_a_reader_gets_what_is_kept_and_then_what_is_added(added: RunEvents, tmp_path: Path) -> None:
    added.add("one", "")
    reader = EventsReader(tmp_path)
    assert [event.event for event in reader.read()] == ["one"]
    assert reader.read() == []
    added.add("two", "")
    added.add("three", "")
    assert [event.event for event in reader.read()] == ["two", "three"]


def test_a_reader_before_the_first_event_waits_for_it(added: RunEvents, tmp_path: Path) -> None:
    reader = EventsReader(tmp_path)
    assert reader.read() == []
    added.add("one", "")
    assert [event.event for event in reader.read()] == ["one"]


def test_no_event_is_missed_or_told_twice_where_files_are_full(
    added: RunEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_FULL_BYTES", 300)
    reader = EventsReader(tmp_path)
    told: list[str] = []
    for number in range(50):
        added.add(f"event {number}", "with a reason that takes some room")
        told += [event.event for event in reader.read()]
    assert told == [f"event {number}" for number in range(50)]
    kept = [event.event for event in EventsReader(tmp_path).read()]
    assert kept == told[-len(kept) :]
    assert len(kept) >= 3
    assert sum(path.stat().st_size for path in paths(tmp_path) if path.exists()) < 1000


def test_a_line_that_is_not_complete_is_waited_for(tmp_path: Path) -> None:
    line = RunEvent("2027-01-15T08:00:00.250Z", None, "ready", "3 workers").line()
    path = paths(tmp_path)[1]
    path.write_text("cut off\n" + line[:20])
    reader = EventsReader(tmp_path)
    assert reader.read() == []
    with path.open("a") as file:
        file.write(line[20:] + "\n")
    assert [event.event for event in reader.read()] == ["ready"]


def test_a_disk_that_takes_nothing_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    added = RunEvents(tmp_path / "missing")
    added.add("one", "")
    added.add("two", "")
    assert len(caplog.messages) == 1
    assert "events are not kept" in caplog.messages[0]
    assert [event.event for event in added.last] == ["one", "two"]


def test_the_command_shows_events_as_they_happen_until_it_is_interrupted(added: RunEvents, tmp_path: Path) -> None:
    added.add("started", "process 7", "map-0")
    added.add("ready", "1 workers")
    command = [sys.executable, "-m", "wcsup", "events", "--state-dir", str(tmp_path), "-n", "1", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        added.add("ended", "killed by SIGKILL", "map-0")
        assert json.loads(process.stdout.readline()) == {
            "time": "2027-01-15T08:00:00.250Z",
            "slot": "map-0",
            "event": "ended",
            "reason": "killed by SIGKILL",
        }
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_command_says_where_there_are_no_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--state-dir", str(tmp_path)]) == 3
    assert f"no wcsup run has left events in {tmp_path}" in capsys.readouterr().err
