"""Charts of bars that are made of characters, with eighths of a character as the finest step."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that figures are drawn with."""

    levels: str
    """From an empty character to a full one."""
    full: str
    empty: str
    rule: str
    dot: str
    cursor: str
    cut: str
    """Ends a text that was cut."""


UNICODE = Glyphs(" ▁▂▃▄▅▆▇█", "━", "─", "─", "●", "▶", "…")
ASCII = Glyphs(" .:-=+*%#", "#", "-", "-", "*", ">", "~")
"""For terminals whose encoding lacks the other characters."""


def nice(highest: float) -> float:
    """Return the end of a scale: a round number that is not below the highest value, and not far above it."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(top * power for top in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if top * power >= highest * (1 - 1e-9))


def nice_time(longest: float) -> float:
    """Return the end of a scale of seconds: a round number of seconds, minutes or hours."""
    unit = next(unit for unit in (1, 60, 3600) if longest <= 60 * unit or unit == 3600)
    return unit * nice(longest / unit)


def bars(values: Sequence[float | None], height: int, top: float, glyphs: Glyphs = UNICODE) -> list[str]:
    """Return the rows of a chart, the highest first: one column for each value; empty where it is none.

    A value above zero has at least the lowest step, so that little is told from nothing.
    """
    steps = len(glyphs.levels) - 1
    levels = [
        0 if value is None or value <= 0 else max(1, min(height * steps, round(value / top * height * steps)))
        for value in values
    ]
    return [
        "".join(glyphs.levels[max(0, min(steps, level - row * steps))] for level in levels)
        for row in reversed(range(height))
    ]


def bar(share: float, width: int, glyphs: Glyphs = UNICODE, style: str = "green") -> Text:
    """Return a horizontal bar that is filled to a share between 0 and 1."""
    filled = round(max(0.0, min(1.0, share)) * width)
    return Text.assemble((glyphs.full * filled, style), (glyphs.empty * (width - filled), "dim"))
