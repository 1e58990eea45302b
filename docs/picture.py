"""Records `wcsup demo` on a terminal as a moving picture: `python -m docs.picture docs/images/demo.svg`.

The demo runs on a pseudo-terminal, and pyte tells what is on the screen. A frame is taken every two seconds and soon
after each caption. The picture is one SVG of all frames below each other, which CSS moves past a window in the time
that the demo took; rows that several frames have are in it once. It needs no script and no other file, so it moves
where a page shows it as an image.
"""

import fcntl
import html
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import pyte
from pyte.screens import Char

COLUMNS, LINES = 92, 26
STEP_SECONDS = 2.0
SETTLE_SECONDS = 0.3
"""How soon after a caption a frame is taken."""
COMMAND_SECONDS = 2.0
"""How long the first frame is shown, which has the command; that it starts a broker is left out."""
LAST_SECONDS = 8.0
"""How long the last frame is shown."""
CELL_WIDTH, CELL_HEIGHT, SIZE = 8.4, 17.0, 14
MARGIN = 12.0
ALTERNATE, ORDINARY = b"\x1b[?1049h", b"\x1b[?1049l"
LEVELS = " ▁▂▃▄▅▆▇█"
RULES = {"─": 1.0, "━": 3.0}
"""Characters that are drawn as lines of a thickness, since fonts leave gaps between them."""

BACKGROUND, FOREGROUND = "#11151c", "#d5dae2"
COLOURS = {
    "default": FOREGROUND,
    "black": BACKGROUND,
    "red": "#ff7b72",
    "green": "#5fce7c",
    "brown": "#e3b341",
    "blue": "#79b8ff",
    "magenta": "#d2a8ff",
    "cyan": "#56d4dd",
    "white": "#f0f3f6",
}
"""By pyte's names, of which brown is yellow. A style sheet has them by these names."""


class Dimming(pyte.Screen):
    """A screen that knows dim text. pyte does not, so blinking, which nothing here does, stands for it."""

    def select_graphic_rendition(self, *attrs: int) -> None:
        """Take codes of colours and of other attributes."""
        if not (len(attrs) > 1 and attrs[0] in {38, 48}):
            attrs = tuple(5 if attr == 2 else attr for attr in attrs)
        super().select_graphic_rendition(*attrs)


class Recorder:
    """What is on the screen after the bytes that were written so far; the alternate screen is one of its own."""

    def __init__(self, columns: int = COLUMNS, lines: int = LINES) -> None:
        self._screens = {name: Dimming(columns, lines) for name in (ORDINARY, ALTERNATE)}
        self._streams = {name: pyte.ByteStream(screen) for name, screen in self._screens.items()}
        self._shown = ORDINARY
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what was written."""
        data = self._rest + data
        cut = data.rfind(b"\x1b", max(0, len(data) - len(ALTERNATE)))
        self._rest, data = (data[cut:], data[:cut]) if cut >= 0 and len(data) - cut < len(ALTERNATE) else (b"", data)
        while data:
            places = [(at, name) for name in self._screens if (at := data.find(name)) >= 0]
            at, name = min(places, default=(len(data), self._shown))
            self._streams[self._shown].feed(data[:at])
            if name != self._shown and name == ALTERNATE:
                self._screens[name].reset()
            self._shown, data = name, data[at + len(name) :] if places else b""

    @property
    def full(self) -> bool:
        """Whether the alternate screen is shown."""
        return self._shown == ALTERNATE

    @property
    def rows(self) -> list[str]:
        """The rows as SVG, each as if it were the first."""
        screen = self._screens[self._shown]
        return [_row([screen.buffer[line][column] for column in range(screen.columns)]) for line in range(screen.lines)]

    @property
    def text(self) -> list[str]:
        """The rows as text."""
        return [row.rstrip() for row in self._screens[self._shown].display]


@dataclass(slots=True)
class Film:
    """Frames, and when each begins."""

    frames: list[tuple[float, list[str]]] = field(default_factory=list)

    def take(self, at: float, rows: list[str]) -> None:
        """Take a frame at a time in seconds, if it differs from the last one."""
        if not self.frames or self.frames[-1][1] != rows:
            self.frames.append((at, rows))

    def svg(self) -> str:
        """Return the picture."""
        width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, LINES * CELL_HEIGHT + 2 * MARGIN
        end = self.frames[-1][0] + LAST_SECONDS
        names = {row: f"r{number}" for number, row in enumerate(dict.fromkeys(_all_rows(self.frames)))}
        rows = "\n".join(f'<g id="{name}">{row}</g>' for row, name in names.items() if row)
        frames = "\n".join(
            f'<g transform="translate(0 {number * height:g})">'
            + "".join(
                f'<use href="#{names[row]}" y="{line * CELL_HEIGHT:g}"/>' for line, row in enumerate(frame) if row
            )
            + "</g>"
            for number, (_, frame) in enumerate(self.frames)
        )
        steps = "".join(
            f"{100 * at / end:.3f}%{{transform:translateY({-number * height:g}px)}}"
            for number, (at, _) in enumerate(self.frames)
        )
        colours = "".join(f".{name}{{fill:{colour}}}" for name, colour in COLOURS.items() if name != "default")
        still = len(self.frames) // 2
        return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">
<title>wcsup demo on a terminal</title>
<style>
text{{font:{SIZE}px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}}
text,path,rect{{fill:{FOREGROUND}}}{colours}.b{{font-weight:bold}}.d{{opacity:.6}}
.film{{animation:film {end:.1f}s step-end infinite}}
@keyframes film{{{steps}}}
@media (prefers-reduced-motion){{.film{{animation:none;transform:translateY({-still * height:g}px)}}}}
</style>
<rect width="{width:g}" height="{height:g}" rx="8" class="black"/>
<defs>
{rows}
</defs>
<svg x="{MARGIN:g}" y="{MARGIN:g}" width="{width - 2 * MARGIN:g}" height="{height - 2 * MARGIN:g}"><g class="film">
{frames}
</g></svg>
</svg>
"""


def _all_rows(frames: Sequence[tuple[float, list[str]]]) -> Iterator[str]:
    for _, rows in frames:
        yield from rows


def _row(cells: Sequence[Char]) -> str:
    """Return a row as SVG: runs of characters of one look, each as wide as its cells whatever the font is."""
    parts, column = [], 0
    while column < len(cells):
        first = cells[column]
        end = column + 1
        while end < len(cells) and _look(cells[end]) == _look(first):
            end += 1
        parts.append(_run("".join(cell.data for cell in cells[column:end]), first, column))
        column = end
    return "".join(parts)


def _look(cell: Char) -> tuple[object, ...]:
    drawn = "drawn" if cell.data in RULES or (cell.data in LEVELS and cell.data != " ") else "text"
    return (*cell[1:], drawn)


def _run(text: str, cell: Char, column: int) -> str:
    front, back = cell.fg, "black" if cell.bg == "default" else cell.bg
    if cell.reverse:
        front, back = back, front
    x, width = column * CELL_WIDTH, len(text) * CELL_WIDTH
    parts = []
    if back != "black":
        parts.append(f'<rect{_classes(back)} x="{x:g}" width="{width:g}" height="{CELL_HEIGHT:g}"/>')
    if text.strip():
        looks = _classes(front, *(look for look, has in (("b", cell.bold), ("d", cell.blink)) if has))
        if text[0] in RULES or text[0] in LEVELS[1:]:
            parts.append(f'<path{looks} d="{_drawn(text, x)}"/>')
        else:
            kept = html.escape(text.rstrip(), quote=False)
            length = len(text.rstrip()) * CELL_WIDTH
            parts.append(f'<text{looks} x="{x:g}" y="{CELL_HEIGHT - 4:g}" textLength="{length:g}">{kept}</text>')
    return "".join(parts)


def _classes(colour: str, *looks: str) -> str:
    names = [*looks, *([] if colour == "default" else [colour.removeprefix("bright")])]
    return f' class="{" ".join(names)}"' if names else ""


def _drawn(text: str, x: float) -> str:
    """Return the path of bars and lines: equal neighbours are one rectangle."""
    path, at = "", 0
    while at < len(text):
        end = at + 1
        while end < len(text) and text[end] == text[at]:
            end += 1
        left, width = x + at * CELL_WIDTH, (end - at) * CELL_WIDTH
        if thickness := RULES.get(text[at]):
            top, height = (CELL_HEIGHT - thickness) / 2, thickness
        else:
            height = CELL_HEIGHT * LEVELS.index(text[at]) / (len(LEVELS) - 1)
            top = CELL_HEIGHT - height
        path += f"M{left:g} {top:g}h{width:g}v{height:g}h{-width:g}z"
        at = end
    return path


def record(command: Sequence[str]) -> tuple[Film, int]:
    """Return what a command showed on a terminal, and its exit status."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
    for name in ("NO_COLOR", "COLORTERM", "COLUMNS", "LINES"):
        environment.pop(name, None)
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    try:
        film = _film(ours)
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    return film, process.wait()


def _film(terminal: int) -> Film:
    """Return the frames of what is written to a terminal, from the full screen on; before it is the command."""
    recorder, film = Recorder(), Film()
    recorder.feed(b"\x1b[32m$\x1b[0m wcsup demo\r\n")
    film.take(0.0, recorder.rows)
    began, due, told = 0.0, 0.0, [""]
    while True:
        ready, _, _ = select.select([terminal], [], [], SETTLE_SECONDS / 2)
        if ready:
            if not (data := _read(terminal)):
                break
            recorder.feed(data)
        if not began and not recorder.full:
            continue
        now = time.monotonic()
        began = began or now
        if (caption := recorder.text[1:4]) != told:
            told, due = caption, min(due, now + SETTLE_SECONDS)
        if now >= due:
            film.take(COMMAND_SECONDS + now - began, recorder.rows)
            due = now + STEP_SECONDS
    film.take(COMMAND_SECONDS + time.monotonic() - began, recorder.rows)
    return film


def _read(terminal: int) -> bytes:
    """Return what was written; nothing once the other end is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@click.command()
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
def main(output: Path) -> None:
    """Record the demonstration, in a minute and a half, and write it to OUTPUT."""
    film, status = record((sys.executable, "-m", "wcsup.cli", "demo"))
    if status:
        sys.exit(f"wcsup demo ended with status {status}; no picture is made")
    output.write_text(film.svg())
    print(f"{output}: {len(film.frames)} frames, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
