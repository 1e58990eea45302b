"""Snapshots of runs, for tests of what is shown of them."""

from typing import Any

from wcsup.pipeline.report import Counters, Phase, Role
from wcsup.supervisor import LagView, Snapshot, WorkerView
from wcsup.supervisor.reach import Reachability
from wcsup.supervisor.slot import SlotState
from wcsup.supervisor.words import WordsHere


def worker(role: Role, number: int = 0, **more: Any) -> WorkerView:
    values: dict[str, Any] = {
        "role": role,
        "slot": f"{role}-{number}",
        "pid": 100 + number,
        "state": SlotState.RUNNING,
        "ready": True,
        "phase": Phase.RUNNING,
        "beat": 1,
        "restarts": 0,
        "partitions": [0, 1, 2, 3],
        "restoring": {},
        "cpu_percent": 12.5,
        "rss_bytes": 120_000_000,
        "threads": 5,
        "open_files": 30,
        "uptime": 10.0,
        "last_exit": None,
        "failed": None,
        "counters": Counters(),
        "distinct": 0,
        "total": 0,
        "state_bytes": 0,
        "kept_words": 0,
        "words_in_memory": 0,
        "bytes_in_memory": 0,
        "state_memory": 0,
        "top": [],
    }
    return WorkerView(**(values | more))


def words_here(*workers: WorkerView, **more: Any) -> WordsHere:
    reducers = [one for one in workers if one.role == "reduce"]
    values: dict[str, Any] = {
        "distinct": sum(one.distinct for one in reducers),
        "total": sum(one.total for one in reducers),
        "state_bytes": sum(one.state_bytes for one in reducers),
        "top": sorted((word for one in reducers for word in one.top), key=lambda word: (-word[1], word[0])),
    }
    return WordsHere(**(values | more))


def snapshot(*workers: WorkerView, **more: Any) -> Snapshot:
    totals = {
        role: sum((one.counters for one in workers if one.role == role), Counters()) for role in ("map", "reduce")
    }
    values: dict[str, Any] = {
        "pid": 1,
        "uptime": 10.0,
        "ready": True,
        "broker": Reachability(reachable=True, since="2026-11-29T12:00:00.000Z"),
        "stopping": None,
        "workers": list(workers),
        "tasks": [],
        "spares": [],
        "lag": LagView(0, 0),
        "totals": totals,
        "restarts": {},
        "supervisor": None,
        "words_here": words_here(*workers),
    }
    return Snapshot(**(values | more))
