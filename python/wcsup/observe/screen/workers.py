"""The table of workers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import restored, size, span
from wcsup.observe.screen.chart import bar
from wcsup.observe.screen.scene import Scene
from wcsup.process.printable import printable
from wcsup.supervisor import WorkerView

_STYLES = {
    "starting": "yellow",
    "restoring": "cyan",
    "running": "green",
    "draining": "yellow",
    "backoff": "red",
    "failed": "bold red",
}
_BAR = 6


@dataclass(frozen=True, slots=True)
class _Column:
    """One column: it is left out on a screen of fewer columns than `needs`."""

    name: str
    width: int
    cell: Callable[[Scene, WorkerView], str | Text]
    needs: int = 0
    right: bool = False


def _columns(scene: Scene, width: int, first: str) -> list[_Column]:
    slot = max(len(first), *(len(worker.slot) for worker in scene.snapshot.workers), 0)
    all_columns = [
        _Column(first, slot, lambda _, worker: worker.slot),
        _Column("state", 21 if width < 140 else 25, state),
        _Column("per s", 9, lambda _, worker: f"{worker.records_per_second:,.0f}", 0, True),
        _Column("load", _BAR, _load, 60),
        _Column("cpu", 5, lambda _, worker: _known(worker.cpu_percent, "{:.0f} %"), 50, True),
        _Column("memory", 6, lambda _, w: "" if w.rss_bytes is None else size(w.rss_bytes), 70, True),
        _Column("rst" if width < 100 else "restarts", 3 if width < 100 else 8, lambda _, w: f"{w.restarts}", 75, True),
        _Column("pid", 8, lambda _, worker: _known(worker.pid, "{}"), 140, True),
        _Column("up", 12, lambda _, worker: "" if worker.uptime is None else span(worker.uptime), 140, True),
        _Column("committed", 9, lambda _, w: _known(w.last_commit_seconds, "{:.1f} s ago"), 160, True),
        _Column(
            "partitions",
            10 if width < 100 else 12 if width < 140 else 16,
            lambda _, worker: partition_list(worker.partitions),
        ),
    ]
    return [column for column in all_columns if width >= column.needs]


def table(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return the heading and as many workers as fit below it, among them the selected one.

    What is left of the width has the reason of the last exit.
    """
    workers, selected = scene.snapshot.workers, scene.selected
    hidden = len(workers) > rows
    columns = _columns(scene, width, f"{rows} of {len(workers)}" if hidden else "slot")
    gap = " " if width < 100 else "  "
    head = Text("  ", "dim")
    for column in columns:
        head.append(f"{column.name:{'>' if column.right else '<'}{column.width}}{gap}", "dim")
    if hidden:
        head.stylize("bold yellow", 2, 2 + columns[0].width)
    taken = 2 + sum(column.width + len(gap) for column in columns)
    if width - taken >= 12:
        head.append("last exit", "dim")
    place = workers.index(selected) if selected in workers else 0
    first = _first(place, len(workers), rows)
    lines = [_row(scene, worker, columns, gap, width - taken) for worker in workers[first : first + rows]]
    return [head, *lines]


def _first(selected: int, count: int, rows: int) -> int:
    """Return which worker is in the first row, so that the selected one is in the middle where that is possible."""
    return max(0, min(selected - rows // 2, count - rows))


def _row(scene: Scene, worker: WorkerView, columns: Sequence[_Column], gap: str, rest: int) -> Text:
    chosen = scene.keys and worker is scene.selected
    line = Text(f"{scene.glyphs.cursor} " if chosen else "  ")
    for column in columns:
        cell = column.cell(scene, worker)
        text = cell if isinstance(cell, Text) else Text(cell)
        text.truncate(column.width, overflow="ellipsis")
        space = " " * (column.width - text.cell_len)
        line += Text(space) + text if column.right else text + Text(space)
        line.append(gap)
    reason = worker.failed or (worker.last_exit if worker.last_exit and worker.restarts else "")
    if rest >= 12 and reason:
        line.append(printable(reason), "red" if worker.failed else "dim")
    if chosen:
        line.stylize("bold")
    return line


def state(scene: Scene, worker: WorkerView) -> Text:
    """Return the state in words: how long no heartbeat has come, or how far a store is opened."""
    if worker.silent:
        return Text(worker.condition, "bold yellow")
    text = str(worker.state)
    if worker.state == "restoring":
        text += restored(worker.restoring, worker.restore_seconds)
    style = _STYLES[worker.state]
    if scene.stale and worker.state == "running":
        style = "dim"
    return Text(text, style)


def _load(scene: Scene, worker: WorkerView) -> Text:
    """Return a bar of the processor's use; while stores are opened, of how much is read."""
    todo = sum(todo for _, todo in worker.restoring.values())
    if worker.state == "restoring" and todo:
        return bar(sum(done for done, _ in worker.restoring.values()) / todo, _BAR, scene.glyphs, "cyan")
    if worker.cpu_percent is None:
        return Text("")
    style = "green" if worker.cpu_percent < 70 else "yellow" if worker.cpu_percent < 95 else "red"
    return bar(worker.cpu_percent / 100, _BAR, scene.glyphs, style)


def _known(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
