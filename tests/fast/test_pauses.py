"""How long workers are away during a restart, by what their states say."""

from typing import Any

import pytest

from wcsup.audit.pauses import Pauses
from wcsup.errors import WcsupError


def worker(slot: str, pid: int | None, state: str = "running", failed: str | None = None) -> dict[str, Any]:
    return {"slot": slot, "pid": pid, "state": state, "ready": state == "running", "failed": failed}


def test_a_pause_is_from_the_drain_to_the_new_process_at_work() -> None:
    pauses = Pauses([worker("map-0", 1), worker("reduce-0", 2)], 100.0)
    for now, first, second in (
        (100.1, worker("map-0", 1), worker("reduce-0", 2)),
        (100.2, worker("map-0", 1, "draining"), worker("reduce-0", 2)),
        (100.3, worker("map-0", 3, "starting"), worker("reduce-0", 2)),
        (100.6, worker("map-0", 3), worker("reduce-0", 2)),
        (100.7, worker("map-0", 3), worker("reduce-0", None, "backoff")),
        (100.8, worker("map-0", 3), worker("reduce-0", 4, "restoring")),
    ):
        pauses.look([first, second], now)
        assert not pauses.over
    pauses.look([worker("map-0", 3), worker("reduce-0", 4)], 101.7)
    assert pauses.over
    assert pauses.to_json() == {"seconds": 1.7, "longest": 1.0, "pauses": {"map-0": 0.4, "reduce-0": 1.0}}
    assert pauses.text().splitlines()[-1] == "all restarted in 1.7 s, each away for 1.00 s at most"


def test_a_restart_that_is_too_quick_to_be_seen_is_no_pause() -> None:
    pauses = Pauses([worker("map-0", 1)], 0.0)
    pauses.look([worker("map-0", 2)], 0.1)
    assert pauses.over
    assert pauses.to_json()["longest"] == 0.0


@pytest.mark.parametrize("now", [[], [worker("map-0", None, "failed", "fenced")]])
def test_a_worker_that_does_not_come_back_is_said(now: list[dict[str, Any]]) -> None:
    with pytest.raises(WcsupError, match="map-0 is not at work again"):
        Pauses([worker("map-0", 1)], 0.0).look(now, 0.1)
