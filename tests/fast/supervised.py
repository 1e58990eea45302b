"""Runs a supervisor with fake workers, as a process of its own: `supervised.py JSON`."""

import ctypes
import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.observe.screen import view as view_module
from wcsup.observe.screen.errands import Means
from wcsup.observe.screen.view import ScreenView
from wcsup.observe.words import WordTotal
from wcsup.process import logs
from wcsup.supervisor import Hooks, LagView, RunOptions, Snapshot, Task, Workers, locked, request, run
from wcsup.supervisor.autoscale import Scaling
from wcsup.supervisor.policy import Policy
from wcsup.supervisor.slot import Deadlines
from wcsup.supervisor.supervisor import Surroundings

FAKE = Path(__file__).with_name("fake_worker.py")
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    said = json.loads(sys.argv[1])
    if said.get("subreaper"):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    logs.configure(
        "supervisor", said.get("log_format", "text"), file=Path(said["log_file"]) if "log_file" in said else None
    )
    done_after = said.get("done_after_commits")

    def done(snapshot: Snapshot) -> bool:
        return done_after is not None and snapshot.totals["map"].commits >= done_after

    waits = said.get("lag")
    lag = LagView(lines=waits, lines_by_partition={} if waits is None else {0: waits})
    options = dict(said.get("options", {}))
    for role in ("mappers", "reducers"):
        options[role] = Workers.parse(str(options.get(role, 1)), 1, Config().partitions)
    if "cpu_affinity" in options:
        options["cpu_affinity"] = tuple(options["cpu_affinity"])
    try:
        with locked(Path(said["state"])), ExitStack() as during:
            return run(
                Config(state_dir=Path(said["state"])),
                RunOptions(**options),
                tasks=[Task(name, tuple(command)) for name, command in said.get("tasks", {}).items()],
                hooks=Hooks(done=done, lag=lambda: lag, on_tick=shown(said, during)),
                surroundings=Surroundings(
                    command=said.get("worker", (sys.executable, "-I", "-S", str(FAKE))),
                    policy=Policy(**said.get("policy", {})),
                    deadlines=Deadlines(**said.get("deadlines", {})),
                    scaling=Scaling(**said.get("scaling", {})),
                ),
            )
    except WcsupError as error:
        logs.flush()
        print(f"error: {error}", file=sys.stderr)
        return error.status


def shown(said: dict[str, Any], during: ExitStack) -> Callable[[Snapshot], None]:
    """Return what takes the snapshots: with `screen` a view on the terminal, which fails as `fails` says."""
    if not said.get("screen"):
        return lambda _: None
    means = Means(
        partial(request, Path(said["state"])),
        partial(WordTotal, count=7, offset=9, committed_at=None, owner=None),
        lambda: (True, "exact: all\ntook 1 s"),
    )
    view = during.enter_context(ScreenView("tests", means))

    def show(snapshot: Snapshot) -> None:
        view.show(snapshot)
        if said.get("fails") == "loop" and snapshot.ready:
            raise RuntimeError("a defect in the loop")

    if said.get("fails") == "drawing":
        vars(view_module)["draw"] = None
    return show


sys.exit(main())
