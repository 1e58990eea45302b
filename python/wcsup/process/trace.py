"""The protocol steps of a worker as a trace, one JSON line a step: `--trace FILE`. Off, a step costs one comparison.

All workers of a run append to one file; each line goes out by one write, so that a killed worker loses none. A line
has the worker's slot, its process, the time of the machine's monotonic clock in nanoseconds, and the step. A step is
written when it is done, and a process takes one step after the other: what a step does to the brokers is done between
the time of the process's line before and its own.

- `start`: the worker begins.
- `producer`: `init_transactions` has succeeded, with the producer's `producer` (id) and `epoch` where these are known.
- `assigned`: the group has given the worker these `partitions`, too.
- `found`: the stable committed `offsets` of these partitions were read.
- `begin`: a batch is complete, and its commit begins, with the group's `generation` and the next `offsets`. `producer`
  is `usable`, `disturbed` (it asks who has the name, and is replaced) or `ended` (it is replaced).
- `unjoined`: a batch was dropped, since the group has not taken the worker in.
- `asked`: nobody else has the name.
- `produced`: librdkafka was given this many `records` of each topic.
- `offsets`: these `offsets` were sent to the transaction, with this `generation`.
- `commit`: the transaction was committed.
- `abort`: the transaction was given up for this `reason`; the producer is `usable` if the abort succeeded.
- `revoked`, `lost`: the worker has released these `partitions`.
- `verdict`: `fenced` was the `producer` or the `member`; `successor` is whether another process has the name.
- `end`: the worker has drained.
"""

import json
import os
import time
from pathlib import Path

from wcsup.errors import UsageError

_file: int | None = None
_slot = ""


def start(path: Path | None, slot: str) -> None:
    """Append the steps of this process, which is the worker `slot`, to a file; with none, do nothing.

    Raises `UsageError` where the file can't be written.
    """
    global _file, _slot  # noqa: PLW0603 - a process is one worker, told once
    if path is None:
        return
    try:
        _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"--trace {path} can't be written: {error.strerror}") from error
    _slot = slot


def step(name: str, **what: object) -> None:
    """Write a step."""
    if _file is not None:
        line = {"slot": _slot, "pid": os.getpid(), "at": time.monotonic_ns(), "step": name, **what}
        os.write(_file, json.dumps(line, separators=(",", ":")).encode() + b"\n")
