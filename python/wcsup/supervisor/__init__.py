"""The parent of the workers: starts, watches, replaces, steers and drains them."""

from wcsup.supervisor.control import request
from wcsup.supervisor.options import RunOptions, Task, Workers
from wcsup.supervisor.resources import automatic
from wcsup.supervisor.snapshot import Lag, Snapshot, TaskView, WorkerView
from wcsup.supervisor.supervisor import Hooks, run

__all__ = [
    "Hooks",
    "Lag",
    "RunOptions",
    "Snapshot",
    "Task",
    "TaskView",
    "WorkerView",
    "Workers",
    "automatic",
    "request",
    "run",
]
