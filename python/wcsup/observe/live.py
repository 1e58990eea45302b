"""The live view of a run on a terminal; log lines scroll by above it."""

import sys
from datetime import datetime
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import Rates, restored, size, span, sparkline, top_words
from wcsup.supervisor import Snapshot, TaskView, WorkerView
from wcsup.supervisor.events import RunEvent

REFRESH_PER_SECOND = 4
_SPARK_WIDTH = 24
_NARROW = 78
"""On a terminal with fewer columns, the less important columns of the view are left out."""
_TOP_WORDS = 10
_EVENTS = 5
_EVENT_STYLES = {"hung": "red", "left down": "bold red", "broker gone": "red", "waits": "yellow", "ended": "yellow"}
_STYLES = {
    "starting": "yellow",
    "restoring": "cyan",
    "running": "green",
    "draining": "yellow",
    "backoff": "red",
    "failed": "bold red",
}


class LiveView:
    """Draws the latest snapshot.

    A thread of `rich` draws, so a paused terminal (Ctrl-S) holds up only that thread.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        self._title = title
        self._rates = Rates()
        self._snapshot: Snapshot | None = None
        self._console = console or Console()
        self._width = 0
        """The terminal's width when the view was last drawn."""
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=REFRESH_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            # Logs go to standard error; if that is this terminal, too, they are written above the view.
            redirect_stderr=sys.stderr.isatty(),
        )

    def __enter__(self) -> Self:
        """Start to draw."""
        self._live.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Remove the view."""
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw this snapshot from now on."""
        self._rates.take(snapshot)
        self._snapshot = snapshot

    def _draw(self) -> RenderableType:
        width = self._console.width
        if width < self._width:
            # The narrower terminal has broken the lines of the last view, so rich would remove only a part of it.
            self._console.clear()
        self._width = width
        if self._snapshot is None:
            return Text("")
        return draw(self._title, self._snapshot, self._rates, narrow=width < _NARROW)


def draw(title: str, snapshot: Snapshot, rates: Rates, *, narrow: bool = False) -> RenderableType:
    """Return the view of a snapshot. The figures of the whole run come first, in case the terminal has few lines."""
    bars = _SPARK_WIDTH // 3 if narrow else _SPARK_WIDTH
    return Group(
        Text(""),
        _head(title, snapshot),
        _speeds(snapshot, rates, bars),
        *(_feed(task, bars) for task in snapshot.tasks if task.progress),
        _top(snapshot),
        Text(""),
        _workers(snapshot, rates, narrow),
        Text(""),
        *(_event(event) for event in snapshot.events[-_EVENTS:]),
    )


def _line(*parts: str | tuple[str, str]) -> Text:
    """Return one line, whatever the terminal's width."""
    line = Text.assemble(*parts)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _head(title: str, snapshot: Snapshot) -> Text:
    if snapshot.stopping:
        condition = (f"ending: {snapshot.stopping}", "yellow")
    elif snapshot.broker.reachable is False:
        condition = (f"no broker answers since {snapshot.broker.since}", "red")
    elif snapshot.ready:
        condition = ("ready", "green")
    else:
        ready = sum(worker.ready for worker in snapshot.workers)
        condition = (f"{ready} of {len(snapshot.workers)} workers ready", "yellow")
    return _line((title, "bold"), "  ", condition, f"  {span(snapshot.uptime)}")


def _speeds(snapshot: Snapshot, rates: Rates, bars: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for side in ("left", "right", "left", "left"):
        table.add_column(justify=side, no_wrap=True, overflow="ellipsis")
    for name, rate, history, left, unit in (
        ("lines", rates.lines, rates.lines_history, snapshot.lines_lag, ""),
        ("words", rates.words, rates.words_history, snapshot.words_lag, " records"),
    ):
        waiting = "" if left is None else f"{left:,}{unit} left to count"
        spark = Text(sparkline(history, bars).ljust(bars), "cyan")
        table.add_row(name, Text(f"{rate:,.0f}/s", "bold"), spark, waiting)
    return table


def _feed(task: TaskView, bars: int) -> Table:
    read, known = task.progress.get("bytes_read", 0), task.progress.get("bytes_known")
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(width=bars)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(
        task.name.ljust(5),
        ProgressBar(total=known or 1, completed=read if known else 0, pulse=task.running and not known),
        f"{task.progress.get('written', 0):,} lines of {task.progress.get('source', '')}",
    )
    return grid


def _top(snapshot: Snapshot) -> Text:
    words: list[str | tuple[str, str]] = []
    for word, total in top_words(snapshot, _TOP_WORDS):
        words += [(word, "bold"), f" {total:,}  "]
    return _line("top    ", *words)


def _event(event: RunEvent) -> Text:
    """Return one line: the time of day here, the slot, what happened, and why."""
    at = datetime.fromisoformat(event.time).astimezone().strftime("%H:%M:%S")
    what = (f"{event.event:11} ", _EVENT_STYLES.get(event.event, ""))
    return _line((f"{at}  ", "dim"), f"{event.slot or 'run':11} ", what, event.reason)


def _workers(snapshot: Snapshot, rates: Rates, narrow: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    names = ["slot", "pid", "state", "records/s", "cpu", "memory", "restarts", "partitions"]
    if narrow:
        names = ["slot", "state", "records/s", "cpu", "partitions"]
    for name in names:
        left = name in {"slot", "state", "partitions"}
        # If the table is too wide, the last column is cut first.
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "partitions", overflow="ellipsis")
    for worker in snapshot.workers:
        cells: dict[str, str | Text] = {
            "slot": worker.slot,
            "pid": "" if worker.pid is None else str(worker.pid),
            "state": Text(_state(worker), "yellow" if worker.silent else _STYLES[worker.state]),
            "records/s": f"{rates.by_slot.get(worker.slot, 0.0):,.0f}",
            "cpu": "" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
            "memory": "" if worker.rss_bytes is None else size(worker.rss_bytes),
            "restarts": str(worker.restarts),
            "partitions": _line(worker.failed or partition_list(worker.partitions)),
        }
        table.add_row(*(cells[name] for name in names))
    return table


def _state(worker: WorkerView) -> str:
    """Return the state, while stores are opened with the share that is read, or how long there was no heartbeat."""
    if worker.silent or worker.state != "restoring":
        return worker.condition
    return worker.state + restored(worker.restoring, worker.restore_seconds)
