"""The lower part of the screen: events or log, and the most frequent words; help and answers in their place."""

import logging
from collections.abc import Sequence

from rich.text import Text

from wcsup.observe.screen.chart import bar
from wcsup.observe.screen.scene import Pane, Scene, Tie
from wcsup.process.printable import printable
from wcsup.process.times import clock

SIDE = 36
"""The width of the words beside the events."""
_BOTH = 18
"""From so many lines on, the log is below the events."""
_HELP = (
    ("up, down", "select a worker"),
    ("Tab", "the other role: mappers or reducers"),
    ("+  -", "one worker more or fewer of the role"),
    ("r  R", "restart the selected worker, or all one after another"),
    ("k", "kill the selected worker with SIGKILL: nothing is lost, see the events"),
    ("v", "recount the committed lines and compare every total (wcsup verify)"),
    ("/", "look up how often a word was counted (wcsup count)"),
)


_LEAVING = {
    Tie.OWN: (
        ("l", "log or events"),
        ("q, Ctrl-C", "drain: end the run in order; totals stay, the next run goes on"),
    ),
    Tie.ATTACHED: (("q, Ctrl-C", "leave the screen; the run goes on"), ("D", "drain: end the run in order")),
    Tie.DEMO: (("q, Ctrl-C", "end the demo, and what it has started"),),
}


def help_lines(scene: Scene) -> list[Text]:
    """Return what each key does, and what the figures mean."""
    leave = _LEAVING[scene.tie]
    lines = [_title(scene, "help", 40), Text()]
    for key, what in (*_HELP, *leave, ("Ctrl-L", "draw the screen anew"), ("?", "this help, and back")):
        lines.append(Text.assemble((f"  {key:11}", "bold cyan"), what))
    lines += [
        Text(),
        Text("  latency   from a line's time in Kafka to the commit of its totals, over the last minute", "dim"),
        Text("  catch-up  what is left, divided by how much less is left each second", "dim"),
        Text("  per s     lines of a mapper, records of a reducer", "dim"),
    ]
    return lines


def events(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return the newest events, the newest one last."""
    lines = [_title(scene, "events", width)]
    for one in list(scene.incidents)[max(0, len(scene.incidents) - rows + 1) :]:
        line = Text.assemble((f" {one.at}  ", "dim"), f"{one.slot:10} ", (printable(one.text), one.style))
        lines.append(line)
    return lines


def log(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return the newest log lines."""
    shown = list(scene.log)[max(0, len(scene.log) - rows + 1) :]
    return [_title(scene, "log", width), *(Text(f" {one.text}", _level_style(one.level)) for one in shown)]


def _level_style(level: int) -> str:
    if level >= logging.ERROR:
        return "red"
    return "yellow" if level >= logging.WARNING else "dim" if level < logging.INFO else ""


def lower(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return what the user chose to see in the lower part; below the events also the log, where there is room."""
    if rows >= _BOTH and scene.tie is Tie.OWN and scene.controls.pane is Pane.EVENTS:
        upper = [*events(scene, width, rows // 2), *[Text()] * rows][: rows // 2]
        return [*upper, *log(scene, width, rows - rows // 2)]
    return log(scene, width, rows) if scene.controls.pane is Pane.LOG else events(scene, width, rows)


def details(lines: Sequence[str]) -> list[Text]:
    """Return the further lines of a note."""
    return [Text(f"  {printable(line)}") for line in lines]


def words_line(scene: Scene) -> Text:
    """Return the most frequent words in one line."""
    here = scene.snapshot.words_here
    line = Text.assemble((f" {'top':9}", "dim"))
    if here is None:
        return line
    style = "" if here.as_of is None else "dim"
    if here.as_of is not None:
        line.append(f"as of {clock(here.as_of)}  ", "dim")
    for word, total in here.top[:20]:
        rate = scene.history.word_rate(word)
        line.append(printable(word), style or "bold")
        line.append(f" {total:,}", style)
        line.append(f" +{rate:,.0f}/s" if rate and rate >= 0.5 else "", "dim")
        line.append("  ")
    return line


def words(scene: Scene, width: int, rows: int) -> list[Text]:
    """Return the most frequent words below each other: bar, total and rate."""
    here = scene.snapshot.words_here
    if here is None:
        return [_title(scene, "top words", width), Text(" unknown yet", "dim")]
    old = "" if here.as_of is None else f" as of {clock(here.as_of)}"
    lines = [_title(scene, f"top words{old}", width)]
    highest, length = here.top[0][1] if here.top else 1, max(5, width // 5)
    style = "dim" if here.as_of is not None else ""
    more = [f"{here.unlisted:,} words are too long to be listed"] if here.unlisted else []
    for word, total in here.top[: max(0, rows - 1 - len(more))]:
        rate = scene.history.word_rate(word)
        line = Text(f" {printable(word)}")
        line.truncate(width - 21 - length, overflow="ellipsis", pad=True)
        line.stylize(style or "bold")
        line.append(f"{total:>11,} ", style)
        line.append(f"{f'+{rate:,.0f}/s' if rate and rate >= 0.5 else '':>8} ", "dim")
        lines.append(line + bar(total / highest, length, scene.glyphs, style or "cyan"))
    return lines + [Text(f" {text}", "dim") for text in more]


def _title(scene: Scene, name: str, width: int) -> Text:
    rule = scene.glyphs.rule
    return Text.assemble((f"{rule}{rule} ", "dim"), (name, "bold"), (f" {rule * max(0, width - len(name) - 5)}", "dim"))
