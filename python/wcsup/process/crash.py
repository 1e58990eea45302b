"""Crash points: named places at which a test kills a process. A point that is off costs one comparison.

Only the environment sets them: `WCSUP_CRASH=name` kills any worker at the point, `name:N` at its N-th passage, and
`map-0/name:N` only the worker map-0. The process kills itself with SIGKILL; with `stop:` before the name, it sends
itself SIGSTOP instead.
"""

import os
import signal

_ARMED = os.environ.get("WCSUP_CRASH", "")

POINTS = (
    "joined",
    "before-begin",
    "after-begin",
    "after-produce",
    "after-send-offsets",
    "after-commit",
    "after-store-write",
    "open-lock",
    "open-compare",
    "open-read",
    "open-loaded",
    "open-done",
    "scanned",
    "released",
)
"""All names, in the order in which a worker passes them."""

MOVES = (
    "backup-written",
    "moving-made",
    "moving-copied",
    "moving-noted",
    "moving-compared",
    "moving-removed",
    "moving-remade",
    "moving-filled",
    "moving-settled",
)
"""The same for `wcsup backup`, and for `wcsup restore` and `wcsup repartition` (`wcsup.moving.mover`)."""

_passages = 0
_worker = ""


def name_worker(name: str) -> None:
    """Set the name of this process's worker, such as `map-0`."""
    global _worker  # noqa: PLW0603 - a process is one worker, told once
    _worker = name


def point(name: str) -> None:
    """Die here if the environment names this point."""
    if _ARMED:
        _pass(name)


def _pass(name: str) -> None:
    global _passages  # noqa: PLW0603 - counts for the process
    armed, how = _ARMED, signal.SIGKILL
    if armed.startswith("stop:"):
        armed, how = armed.removeprefix("stop:"), signal.SIGSTOP
    worker, slash, rest = armed.partition("/")
    if slash:
        if worker != _worker:
            return
        armed = rest
    wanted, _, nth = armed.partition(":")
    if wanted not in (*POINTS, *MOVES):
        raise ValueError(f"WCSUP_CRASH={_ARMED}: no crash point {wanted!r}; there are {', '.join((*POINTS, *MOVES))}")
    if name == wanted:
        _passages += 1
        if _passages == int(nth or 1):
            os.kill(os.getpid(), how)
