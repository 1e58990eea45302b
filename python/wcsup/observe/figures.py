"""Figures for people: the formatting of numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wcsup.process.printable import printable

if TYPE_CHECKING:
    from wcsup.supervisor import Snapshot


_WIDEST = 48
"""The widest column. A longer word pushes only the columns of its own row to the right."""


def top_words(snapshot: "Snapshot", limit: int) -> list[tuple[str, int]]:
    """Return the most frequent words of all reducers here; fewer where the list is not known so far down."""
    return snapshot.words_here.top[:limit] if snapshot.words_here else []


def size(count: int) -> str:
    """Return a number of bytes for a reader, such as `120 MB`."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 or not count else f"{max(1.0, count / 1e3):.0f} kB"


def restored(restoring: Mapping[Any, Sequence[int]], seconds: float | None, what: str = "") -> str:
    """Return the progress of opening stores, such as ` 37 %, 12 s left`; an empty text before it is known."""
    todo = sum(todo for _, todo in restoring.values())
    if not todo:
        return ""
    share = f" {100 * sum(done for done, _ in restoring.values()) // todo} %{what}"
    return share if seconds is None else f"{share}, {span(seconds)} left"


def age(seconds: float) -> str:
    """Return a length of time that may be short, such as `41 ms`, `1.2 s` or `2 h 3 min`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else span(seconds)


def latency_text(latency: Mapping[str, float] | None) -> str:
    """Return how late totals are, such as `p50 41 ms, p99 220 ms`."""
    if latency is None:
        return "nothing was counted in the last minute"
    return f"p50 {age(latency['p50'])}, p99 {age(latency['p99'])}"


def span(seconds: float) -> str:
    """Return a length of time for a reader, such as `2 h 3 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def columns(rows: Iterable[Sequence[object]], align: str) -> str:
    """Return rows as lines of aligned columns; `align` has `<` or `>` for each, numbers get thousands' commas."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else printable(str(cell)) for cell in row] for row in rows]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*texts, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)).rstrip()
        for row in texts
    )
