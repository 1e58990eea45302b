"""The figures of the whole run: a grid of names and values, and the progress of feeding."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from wcsup.observe.figures import age, size, span
from wcsup.observe.screen.chart import bar
from wcsup.observe.screen.scene import Scene
from wcsup.process.printable import printable
from wcsup.process.times import clock

Fact = tuple[str, Text]

_LABEL = 9
_NARROWEST = 39
"""The fewest columns for one figure with its name."""
_SHORTEST = 29
"""The same where otherwise each figure would have a line of its own."""
_WARN_SECONDS = 3600.0
"""How soon Kafka may delete uncounted lines before it is worth a warning."""


def facts(scene: Scene) -> Iterator[Fact]:
    """Yield the figures: those of Kafka are dimmed while it is gone, totals while a reducer is away."""
    snapshot = scene.snapshot
    dim = "dim" if scene.stale else ""
    yield "lines", Text(f"{snapshot.lines_per_second:,.0f}/s", dim or "bold")
    yield "words", Text(f"{snapshot.words_per_second:,.0f}/s", dim or "bold")
    yield "latency", Text(_latency(scene), dim)
    yield "oldest", Text(_oldest(scene), dim)
    yield "left", Text(_left(scene), dim)
    yield "catch-up", _catch_up(scene)
    yield from _totals(scene)
    retention = snapshot.lines_retention
    if retention is not None and retention < _WARN_SECONDS:
        yield "warning", Text(f"Kafka may delete lines in {span(retention)}", "bold red")
    letters = sum(counters.dead_letters for counters in snapshot.totals.values())
    if letters:
        yield "refused", Text(f"{letters:,} in dead-letters", "yellow")


def _totals(scene: Scene) -> Iterator[Fact]:
    here, style = scene.snapshot.words_here, "dim" if scene.stale else ""
    if here is None:
        yield "totals", Text("unknown: stores are being opened", "dim")
        yield "stores", Text("unknown", "dim")
        return
    old, style = (_memory(scene), style) if here.as_of is None else (f", as of {clock(here.as_of)}", "dim")
    yield "totals", Text(f"{here.total:,}, {here.distinct:,} distinct", style)
    yield "stores", Text(f"{size(here.state_bytes)}{old}", style)


def grid(found: Sequence[Fact], width: int) -> list[Text]:
    """Return the figures in as many columns as fit."""
    across = min(4, width // _NARROWEST) if width >= 2 * _NARROWEST else 2 if width >= 2 * _SHORTEST else 1
    each = width // across
    lines = []
    for first in range(0, len(found), across):
        line = Text()
        for label, value in found[first : first + across]:
            cell = Text.assemble((f" {label:{_LABEL}}", "dim"), value)
            cell.truncate(each - 1, overflow="ellipsis", pad=True)
            line += cell + Text(" ")
        lines.append(line)
    return lines


def feeds(scene: Scene, width: int) -> list[Text]:
    """Return a line for each child that feeds lines: a bar, the share, and how many lines are written."""
    lines = []
    for task in scene.snapshot.tasks:
        progress = task.progress
        if not progress:
            continue
        read, known = progress.get("bytes_read", 0), progress.get("bytes_known")
        line = Text.assemble((f" {task.name:{_LABEL}}", "dim"))
        if known:
            line += bar(read / known, max(8, width // 4), scene.glyphs, "cyan") + Text(f" {read / known:4.0%}  ")
        line.append(f"{progress.get('written', 0):,} lines of {printable(str(progress.get('source', '')))}")
        if not task.running:
            line.append("  done" if task.status == 0 else f"  ended with status {task.status}", "dim")
        lines.append(line)
    return lines


def _latency(scene: Scene) -> str:
    found = scene.snapshot.latency
    if found is None:
        return "nothing counted lately" if scene.snapshot.ready else "unknown"
    return f"p50 {_late(found.p50)}, p99 {_late(found.p99)}"


def _late(seconds: float) -> str:
    """Return a latency in short: of minutes, seconds are of little interest."""
    if seconds < 60:
        return age(seconds)
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:,.0f} min"


def _oldest(scene: Scene) -> str:
    seconds = scene.snapshot.oldest_uncounted
    if seconds is None:
        return "unknown"
    return f"uncounted for {age(seconds)}" if seconds else "no line waits"


def _left(scene: Scene) -> str:
    snapshot = scene.snapshot
    if snapshot.lines_lag is None:
        return "unknown"
    records = f", {snapshot.words_lag:,} records" if snapshot.words_lag else ""
    return f"{snapshot.lines_lag:,} lines{records}"


def _catch_up(scene: Scene) -> Text:
    lag, trend = scene.snapshot.lines_lag, scene.history.catch_up()
    if scene.stale or lag is None:
        return Text("unknown", "dim")
    if lag == 0:
        return Text("nothing left", "green")
    if lag < scene.snapshot.lines_per_second:  # less than comes in a second: the saw-tooth of the commits
        return Text("keeping up", "green")
    if trend is None:
        return Text("unknown yet", "dim")
    if trend.seconds is None:
        return Text(f"the lag grows by {-trend.rate:,.0f}/s" if trend.rate < 0 else "the lag stays", "yellow")
    return Text(f"in {span(max(1.0, trend.seconds))}, {trend.rate:,.0f}/s less")


def _memory(scene: Scene) -> str:
    workers = scene.snapshot.workers
    distinct = sum(worker.distinct for worker in workers)
    if not distinct:
        return ""
    return f", {sum(worker.words_in_memory for worker in workers) / distinct:.0%} in memory"
