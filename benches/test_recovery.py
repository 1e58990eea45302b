"""How long after a SIGKILL a worker's partitions commit again, and whether the others pause meanwhile.

The real `wcsup run` with 2 mappers and 2 reducers counts 1,000 lines a second. The groups' committed offsets
are sampled all the time; for each kill the report has the time until every partition of the killed worker has
moved again, and the longest pause of any other worker's partition. `WCSUP_KILLS` sets how many kills of each
role (50 for the figures that are published). With `PROTOCOL=consumer` the groups are those of KIP-848, here and in
`test_rebalance.py`.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from application import Application, prose, wait_for
from benches.sampler import ROLES, Sampler

from wcsup.audit.recount import recount
from wcsup.supervisor import request

KILLS = int(os.environ.get("WCSUP_KILLS", "6"))
RATE = 1000
UNDER_WAY_SECONDS = 0.1
"""By then a commit that a stopped worker has sent is done: it takes some 10 ms."""


def workers(application: Application) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = request(application.config.state, {"command": "status"})["workers"]
    return answer


def all_running(application: Application) -> bool:
    return all(worker["ready"] and worker["partitions"] for worker in workers(application))


def a_second_after(moment: float) -> bool:
    return time.monotonic() - moment > 1


def kill(pid: int) -> float:
    """Kill a process, and return when. It is stopped first, so that no commit of its own is seen after its end."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(UNDER_WAY_SECONDS)
    moment = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return moment


@pytest.fixture
def request_stop() -> Iterator[contextlib.ExitStack]:
    """Stops what a failed bench would leave."""
    with contextlib.ExitStack() as stack:
        yield stack


def stop(run: subprocess.Popen[bytes]) -> None:
    run.terminate()
    run.wait(60)


@pytest.mark.timeout(180 + 12 * KILLS)
def test_recovery_after_a_kill(make_application: Any, benchmark: Any, request_stop: contextlib.ExitStack) -> None:
    application = make_application()
    config = application.config
    seconds = KILLS * 2 * 3 + 30
    text = prose(RATE * seconds, seed=9)
    options = {
        "--bootstrap-servers": config.bootstrap_servers,
        "--app-id": config.app_id,
        "--topic-prefix": config.topic_prefix,
        "--state-dir": str(config.state),
        "--group-protocol": config.group_protocol,
    }
    arguments = [argument for option in options.items() for argument in option]
    command = [sys.executable, "-m", "wcsup.cli", "run", "--mappers", "2", "--reducers", "2", *arguments]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request_stop.callback(stop, run)
    samplers = {role: Sampler(application, role) for role in ROLES}
    recovered: dict[str, list[float]] = defaultdict(list)
    paused: dict[str, list[float]] = defaultdict(list)
    with application.feeding(text, rate=RATE):
        wait_for("the socket is there", (config.state / "control.sock").exists)
        wait_for("all run", partial(all_running, application))
        for sampler in samplers.values():
            sampler.start()
        for number in range(KILLS * 2):
            role = "map" if number % 2 else "reduce"
            wait_for("all run", partial(all_running, application))
            before = time.monotonic()
            wait_for("a second has passed", partial(a_second_after, before))
            mine = [worker for worker in workers(application) if worker["role"] == role]
            victim = mine[number // 2 % len(mine)]
            others = [worker for worker in mine if worker is not victim]
            sampler = samplers[role]
            moment = kill(victim["pid"])
            recovered[role].append(sampler.wait_all_moved(victim["partitions"], moment) - moment)
            end = time.monotonic()
            paused[role].append(
                max(sampler.longest_pause(p, moment - 0.2, end) for other in others for p in other["partitions"])
            )
        for sampler in samplers.values():
            sampler.ended = True
    application.wait_counted()
    assert application.counts() == recount(text)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0

    for role in ROLES:
        benchmark.extra_info[role] = {
            "kills": len(recovered[role]),
            "recovered_median_s": round(statistics.median(recovered[role]), 3),
            "recovered_worst_s": round(max(recovered[role]), 3),
            "others_pause_median_s": round(statistics.median(paused[role]), 3),
            "others_pause_worst_s": round(max(paused[role]), 3),
        }
    print(json.dumps(benchmark.extra_info, indent=1))
    benchmark.pedantic(lambda: None)
