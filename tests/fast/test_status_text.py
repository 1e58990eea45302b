"""What `wcsup status` says of a run."""

from pathlib import Path
from typing import Any

import pytest
from snapshots import snapshot, worker

from wcsup.cli import status_text
from wcsup.pipeline.report import Counters
from wcsup.supervisor import LagView
from wcsup.supervisor.latency import Latency
from wcsup.supervisor.slot import SlotState

RUN: dict[str, Any] = {
    "application": "books",
    "bootstrap_servers": "kafka:9092",
    "lines_per_second": 1234.4,
    "words_per_second": 30_000.0,
    "latency": Latency(0.0412, 2.25, 5.0),
    "lag": LagView(30, 5, oldest_seconds=0.25),
}


def test_a_run_is_told_by_application_broker_speed_latency_and_what_is_left() -> None:
    workers = worker("map", counters=Counters(records=1234)), worker("reduce")
    assert status_text.of_host(snapshot(*workers, **RUN).to_json(), Path("/state")).splitlines() == [
        "books on kafka:9092",
        "supervisor 1, up 10 s, ready",
        "1,234 lines/s, 30,000 words/s, latency from line to total: p50 41 ms, p99 2.2 s",
        "slot      pid  state     cpu  memory  restarts  records  partitions",
        "map-0     100  running  12 %  120 MB         0    1,234  0-3",
        "reduce-0  100  running  12 %  120 MB         0        0  0-3",
        "left to count: 30 lines, 5 words records; the oldest line waits for 250 ms",
    ]


def lines(*workers: Any, **more: Any) -> list[str]:
    return status_text.of_host(snapshot(*workers, **(RUN | more)).to_json(), Path("/state")).splitlines()


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"silent": True, "heartbeat_seconds": 4.2}, "no heartbeat for 4 s"),
        ({"state": SlotState.RESTORING, "restoring": {1: (30, 100)}, "restore_seconds": 62.5}, "restoring 30 %, 1 min"),
        ({"state": SlotState.FAILED, "failed": "fenced"}, "reduce-0: given up: fenced"),
        (
            {"restarts": 2, "last_exit": "killed by SIGKILL"},
            "reduce-0: restarted 2 times; its last process: killed by SIGKILL",
        ),
        (
            {"aborts_in_row": {"ILLEGAL_GENERATION": 3}},
            "reduce-0: transactions aborted since its last commit: 3 ILLEGAL_GENERATION",
        ),
    ],
)
def test_what_is_wrong_with_a_worker_is_said(known: dict[str, Any], said: str) -> None:
    assert any(said in line for line in lines(worker("map"), worker("reduce", **known)))


def test_unknown_is_said_and_nothing_left_needs_no_age() -> None:
    assert lines(worker("map"), lag=LagView())[-1] == "left to count: unknown"
    assert lines(worker("map"), lag=LagView(0, 0, oldest_seconds=0.0))[-1] == "left to count: 0 lines, 0 words records"
    assert "nothing was counted in the last minute" in lines(worker("map"), latency=None)[2]


def test_what_an_older_wcsup_told_is_shown_without_what_it_lacks() -> None:
    whole = snapshot(worker("map"), **RUN).to_json()
    new = ("lines_per_second", "words_per_second", "latency", "application", "bootstrap_servers", "words_here")
    old = {name: value for name, value in whole.items() if name not in new}
    of_worker = ("silent", "heartbeat_seconds", "last_commit_seconds", "aborts_in_row", "records_per_second")
    old["workers"] = [{name: v for name, v in one.items() if name not in of_worker} for one in whole["workers"]]
    told = {"host": "a", "machine": "m", "ended": None, "silent": False, "told_at": "now", "version": "0.1.0"}
    everything = {"hosts": [{**old, **told}], "unowned": {}, "lines_lag": 0, "words_lag": 0}
    assert status_text.of_all(everything).startswith("host a on m, supervisor 1, up 10 s, ready\nslot ")
