"""Draws a scene: exactly as many lines as the terminal has, none of them wider."""

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from wcsup.observe.figures import age, span
from wcsup.observe.screen import facts, panes, workers
from wcsup.observe.screen.chart import bars, nice, nice_time
from wcsup.observe.screen.history import Series
from wcsup.observe.screen.scene import QUIET_SECONDS, Scene, Tie
from wcsup.process.printable import printable

_SIDE_FROM = 110
"""From so many columns on, the words are beside the events."""
_SECOND_CHARTS_FROM = 40
"""From so many lines on, latency and lag have charts, too."""
_CAPTION_ROWS = 2
"""How many lines a caption's text has at least, so that what is below it stays where it is."""
_CAPTION_GAP_FROM = 30
"""From so many lines on, an empty one is below a caption."""
_AXIS = 8
"""The width of a chart's scale."""


def draw(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the lines of the screen. Where there are few lines, what is least needed is left out."""
    top = [_head(scene, width), *_banner(scene), *_caption(scene, width, height)]
    bottom = [_note(scene), _foot(scene, width)]
    room = height - len(top) - len(bottom)
    body = panes.help_lines(scene) if scene.controls.help else _body(scene, width, max(0, room))
    body = body[: max(0, room)]
    lines = [*top, *body, *([Text()] * (room - len(body))), *bottom]
    return [_fit(line, width, scene) for line in ([top[0], bottom[-1]] if height < 4 else lines)][:height]


_LEAVING = {
    Tie.OWN: [("q", "drain")],
    Tie.ATTACHED: [("q", "leave"), ("D", "drain")],
    Tie.DEMO: [("q", "end the demo")],
}


@dataclass(frozen=True, slots=True)
class _Rows:
    """How many lines each part of the body has."""

    chart: int
    seconds: int
    """Of the charts of latency and lag."""
    workers: int
    lower: int


def _body(scene: Scene, width: int, room: int) -> list[Text]:
    figures = [*facts.grid(list(facts.facts(scene)), width), *facts.feeds(scene, width)]
    beside = width >= _SIDE_FROM
    rows = _allot(room - len(figures) - (not beside), len(scene.snapshot.workers), width)
    lines = [
        *_throughput(scene, width, rows.chart),
        *_pair(scene, width, rows.seconds),
        *figures,
        *workers.table(scene, width, rows.workers)[: rows.workers + 1 if rows.workers else 0],
    ]
    if not beside:
        lines.append(panes.words_line(scene))
    if scene.note and scene.note.details:
        return [*lines, *panes.details(scene.note.details)[: rows.lower]]
    if rows.lower < 2:
        return lines
    if not beside:
        return [*lines, *panes.lower(scene, width, rows.lower)]
    side = max(panes.SIDE, width // 4)
    left, right = panes.lower(scene, width - side - 2, rows.lower), panes.words(scene, side, rows.lower)
    return [*lines, *_beside(left, right, width - side, rows.lower)]


def _allot(room: int, count: int, width: int) -> _Rows:
    """Divide the lines that the figures leave: workers first, then some events, then the charts."""
    second = 6 if room >= _SECOND_CHARTS_FROM - 8 and width >= 60 else 0
    chart = min(14, max(4 if room >= 15 else 3, (room - second) // 4)) if room >= 12 else 0
    least = 4 if room >= 12 else 0
    shown = max(0, min(count, room - chart - second - least - 1))
    return _Rows(chart, second, shown, max(0, room - chart - second - shown - 1))


def _head(scene: Scene, width: int) -> Text:
    snapshot = scene.snapshot
    ready = sum(worker.ready for worker in snapshot.workers)
    dot = scene.glyphs.dot
    if snapshot.stopping:
        condition = (f"{dot} ending: {printable(snapshot.stopping)}", "bold yellow")
    elif scene.stale:
        condition = (f"{dot} unknown" if scene.quiet > QUIET_SECONDS else f"{dot} Kafka gone", "bold red")
    elif snapshot.ready:
        condition = (f"{dot} ready", "bold green")
    else:
        condition = (f"{dot} {ready} of {len(snapshot.workers)} workers ready", "bold yellow")
    right = Text.assemble((f"up {span(snapshot.uptime)}   ", "dim"), condition, " ")
    left = Text.assemble((" wcsup ", "bold reverse"), " ", (printable(scene.title), "bold"))
    left.truncate(max(8, width - right.cell_len - 2), overflow="ellipsis")
    return left + Text(" " * max(1, width - left.cell_len - right.cell_len)) + right


def _banner(scene: Scene) -> list[Text]:
    """Return a red line where what is shown is not what is."""
    if scene.quiet > QUIET_SECONDS:
        text = f"no news from the supervisor for {span(scene.quiet)}; what is shown is from before"
    elif scene.snapshot.broker.reachable is False:
        gone_for = scene.age(scene.snapshot.broker.since)
        text = f"Kafka gone for {span(gone_for or 0)}, retrying; what is dimmed is from before"
    else:
        return []
    return [Text(f" {text} ", "bold red reverse")]


def _caption(scene: Scene, width: int, height: int) -> list[Text]:
    """Return the caption: a heading and its text, of which a small screen has what leaves room for the run."""
    if scene.caption is None:
        return []
    heading = Text(f" {printable(scene.caption.heading)} ", "bold reverse cyan")
    text = Text(printable(scene.caption.text), "bold").wrap(Console(width=width), max(1, width - 2))
    rows = max(1, height // 4 - 1)
    lines = [Text(" ") + line for line in [*text, *[Text()] * (_CAPTION_ROWS - len(text))][:rows]]
    return [heading, *lines, *([Text()] if height >= _CAPTION_GAP_FROM else [])]


def _throughput(scene: Scene, width: int, rows: int) -> list[Text]:
    series = scene.history.lines
    title = [
        ("lines a second", "bold"),
        (f"  {scene.snapshot.lines_per_second:,.0f} now, {series.peak:,.0f} at most", ""),
    ]
    return _chart(scene, series, width, rows, title=title, style="cyan", form=_count)


def _pair(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return the charts of latency and lag beside each other."""
    history, half = scene.history, (width - 2) // 2
    latency = scene.snapshot.latency
    left = _chart(
        scene,
        history.latency,
        half,
        rows,
        title=[("latency, p99", "bold"), (f"  {age(latency.p99)} now" if latency else "", "")],
        style="magenta",
        form=_seconds,
        scale=nice_time,
    )
    lag = scene.snapshot.lines_lag
    waiting = "  unknown" if lag is None else f"  {lag:,} now"
    title = [("lines left", "bold"), (waiting, "")]
    right = _chart(scene, history.lag, half, rows, title=title, style="yellow", form=_count)
    return _beside(left, right, half + 2, rows)


def _chart(
    scene: Scene,
    series: Series,
    width: int,
    rows: int,
    *,
    title: list[tuple[str, str]],
    style: str,
    form: Callable[[float], str],
    scale: Callable[[float], float] = nice,
) -> list[Text]:
    """Return a title with the time that is shown, and below it the bars with the ends of their scale."""
    if rows < 2:
        return []
    columns = max(1, width - _AXIS - 1)
    values = series.columns(scene.history.at, columns)
    top = scale(max((value for value in values if value is not None), default=0.0))
    back = f"last {series.span(scene.history.at) // 60} min "
    head = Text(" ") + Text.assemble(*title)
    head.truncate(max(1, width - len(back) - 1), overflow="ellipsis")
    head.append(" " * max(1, width - head.cell_len - len(back)))
    head.append(back, "dim")
    drawn = bars(values, rows - 1, top, scene.glyphs)
    lines = [head]
    for row, text in enumerate(drawn):
        end = form(top) if row == 0 else "0" if row == len(drawn) - 1 else ""
        line = Text(f"{end:>{_AXIS - 1}} ", "dim")
        line.append(text, "dim" if scene.stale else style)
        lines.append(line)
    return lines


def _count(value: float) -> str:
    """Return the end of a scale in short."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            divided = value / (1e3 if unit == "k" else limit)
            return f"{divided:,.0f} {unit}"
    return f"{value:,.0f}"


def _seconds(value: float) -> str:
    """Return the end of a scale of seconds in short."""
    for limit, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if value >= limit:
            return f"{value / limit:g} {unit}"
    return f"{1000 * value:g} ms"


def _beside(left: list[Text], right: list[Text], at: int, rows: int) -> list[Text]:
    lines = []
    for row in range(rows):
        line = left[row].copy() if row < len(left) else Text()
        line.truncate(at - 2, overflow="ellipsis")
        line.append(" " * (at - line.cell_len))
        lines.append(line + right[row] if row < len(right) else line)
    return lines


def _note(scene: Scene) -> Text:
    """Return the line above the footer: what is typed, what came of a key, or more of the selected worker."""
    if scene.controls.typed is not None:
        return Text.assemble((" look up: ", "bold"), printable(scene.controls.typed), ("_", "bold"))
    if scene.note:
        return Text(f" {printable(scene.note.text)}", scene.note.style)
    worker = scene.selected
    if worker is None or not scene.keys:
        return Text()
    parts = [f" {worker.slot}: {worker.phase}"]
    if worker.pid is not None:
        parts[0] += f", process {worker.pid}"
    if worker.uptime is not None:
        parts.append(f"up {span(worker.uptime)}")
    if worker.last_commit_seconds is not None:
        parts.append(f"committed {age(worker.last_commit_seconds)} ago")
    if worker.failed:
        parts.append(f"left down: {worker.failed}")
    elif worker.restarts:
        times = "1 restart" if worker.restarts == 1 else f"{worker.restarts:,} restarts"
        parts.append(f"{times}, the last: {worker.last_exit}")
    return Text(printable(", ".join(parts)), "dim")


def _foot(scene: Scene, width: int) -> Text:
    """Return the keys; on a narrow screen only their short names."""
    if not scene.keys:
        return Text(f" Ctrl-C ends the {'demo' if scene.tie is Tie.DEMO else 'run'} in order", "dim")
    if scene.controls.typed is not None:
        return _keys([("Enter", "look up"), ("Esc", "leave")])
    if scene.controls.help:
        return _keys([("?", "back")])
    role = {"map": "mappers", "reduce": "reducers", "standby": "standbys"}[scene.controls.role]
    leave = _LEAVING[scene.tie]
    log = ("l", "events" if scene.controls.pane == "log" else "log")
    offered = [("+-", role), ("Tab", "role"), ("r", "restart"), ("k", "kill"), ("v", "verify"), ("/", "word")]
    offered += [*([log] if scene.tie is Tie.OWN else []), *leave, ("?", "help")]
    for dispensable in ("l", "Tab"):
        if _keys(offered).cell_len > width:
            offered = [one for one in offered if one[0] != dispensable]
    return _keys(offered)


def _keys(offered: list[tuple[str, str]]) -> Text:
    line = Text(" ")
    for key, what in offered:
        line.append(key, "bold cyan")
        line.append(f" {what}  ")
    line.rstrip()
    return line


def _fit(line: Text, width: int, scene: Scene) -> Text:
    """Cut a line to the width."""
    line = line.copy()
    line.rstrip()
    line.no_wrap = True
    if line.cell_len > width:
        line.truncate(max(0, width - 1))
        line.append(scene.glyphs.cut, "dim")
    return line
