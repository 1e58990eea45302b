"""The parent of the workers: starts, watches, replaces, steers and drains them."""

from wcsup.supervisor.control import request
from wcsup.supervisor.lock import locked
from wcsup.supervisor.options import RunOptions, Task, Workers
from wcsup.supervisor.resources import automatic
from wcsup.supervisor.snapshot import LagView, Snapshot, TaskView, WorkerView
from wcsup.supervisor.supervisor import Hooks, run

__all__ = [
    "Hooks",
    "LagView",
    "RunOptions",
    "Snapshot",
    "Task",
    "TaskView",
    "WorkerView",
    "Workers",
    "automatic",
    "locked",
    "request",
    "run",
]
