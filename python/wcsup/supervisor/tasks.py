"""Child processes that are no workers, such as one that feeds a file: not replaced; if one fails, the run fails."""

import json
import logging
import signal
from collections.abc import Callable, Sequence

from wcsup.errors import ExitStatus
from wcsup.supervisor.options import Task
from wcsup.supervisor.policy import Death
from wcsup.supervisor.pool import Pool
from wcsup.supervisor.processes import Child
from wcsup.supervisor.snapshot import TaskView

log = logging.getLogger(__name__)


class RunningTask:
    """A task's process and its progress."""

    def __init__(self, task: Task, child: Child) -> None:
        self.name = task.name
        self.child = child
        self.status: int | None = None
        self.progress: dict[str, object] = {}
        self.kill_at: float | None = None
        """When to kill it; set when it is asked to end."""

    def heard(self, line: bytes) -> None:
        """Take a line of the task's standard output: progress, as a JSON object."""
        try:
            progress = json.loads(line)
        except ValueError:
            progress = None
        if isinstance(progress, dict):
            self.progress = progress

    def view(self) -> TaskView:
        """Return the task as it is shown."""
        return TaskView(self.name, self.child.pid, self.status is None, self.status, self.progress)


class Tasks:
    """The tasks of a run."""

    def __init__(self, pool: Pool, launch: Callable[[Task], Child]) -> None:
        self.running: list[RunningTask] = []
        self._pool, self._launch = pool, launch

    @property
    def finished(self) -> bool:
        """Whether every task has ended."""
        return all(task.status is not None for task in self.running)

    def start(self, tasks: Sequence[Task]) -> None:
        """Start tasks."""
        self.running += [RunningTask(task, self._launch(task)) for task in tasks]

    def of(self, child: Child) -> RunningTask | None:
        """Return the task of a process; none where it is no task's."""
        return next((task for task in self.running if task.child is child), None)

    def stop(self, now: float, patience: float) -> None:
        """Ask tasks to end; kill those that do not."""
        for task in self.running:
            if task.status is None and task.kill_at is None:
                task.kill_at = now + patience
                task.child.send(signal.SIGTERM)
            elif task.status is None and now >= (task.kill_at or 0.0):
                task.child.send(signal.SIGKILL)

    def kill(self) -> None:
        """End tasks now."""
        for task in self.running:
            if task.status is None:
                task.child.send(signal.SIGKILL)

    def ended(self, task: RunningTask, code: int, why: str | None) -> None:
        """Take note of a task's end. A task that failed by itself ends the run with its status and reason."""
        task.status = code
        said = {"slot": task.name, "pid": task.child.pid}
        if code == 0 or task.kill_at is not None:
            log.info("ended", extra=said)
            return
        reason = Death(0.0, code).describe()
        status = ExitStatus(code) if code in set(ExitStatus) else ExitStatus.GAVE_UP
        self._pool.drain(f"{task.name}: {why or reason}", status)
