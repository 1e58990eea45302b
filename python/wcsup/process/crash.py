"""Crash points: named places at which a test has a worker killed. They cost one comparison when off.

Set by the environment alone: `WCSUP_CRASH=name` or `name:N` for the N-th passage, in any worker, or
`map-0/name:N` in one. The process dies as by SIGKILL; `stop:` before the name has it SIGSTOPped instead.
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

_passages = 0
_worker = ""


def name_worker(name: str) -> None:
    """Say which worker this process is, such as `map-0`."""
    global _worker  # noqa: PLW0603 - a process is one worker, told once
    _worker = name


def point(name: str) -> None:
    """Die here if the environment says so."""
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
    if wanted not in POINTS:
        raise ValueError(f"WCSUP_CRASH={_ARMED}: no crash point {wanted!r}; there are {', '.join(POINTS)}")
    if name == wanted:
        _passages += 1
        if _passages == int(nth or 1):
            os.kill(os.getpid(), how)
