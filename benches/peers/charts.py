"""Charts of a run: `python -m benches.peers.charts results.json docs/charts` draws what `results.json` has."""

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pygal
from benches.peers.measure import Latency, Result
from benches.peers.report import OURS, slopes
from benches.peers.systems import SYSTEMS
from pygal.style import Style

_OURS, _THEIRS = "#1b7f5c", "#9aa5b1"
_STYLE = Style(
    background="white",
    plot_background="white",
    foreground="#333",
    foreground_strong="#111",
    foreground_subtle="#777",
    colors=(_THEIRS, "#5b6b7b"),
    guide_stroke_color="none",
    major_guide_stroke_color="none",
    font_family="sans-serif",
    value_font_size=13,
    label_font_size=13,
    major_label_font_size=13,
    title_font_size=16,
    legend_font_size=13,
)

Figures = dict[str, float]
"""By system, the median of its rounds."""


def _medians(values: Iterable[tuple[str, float | None]]) -> Figures:
    found: dict[str, list[float]] = {}
    for system, value in values:
        if value is not None:
            found.setdefault(system, []).append(value)
    return {system: statistics.median(found[system]) for system in SYSTEMS if system in found}


def _chart(title: str, series: dict[str, Figures], form: str) -> pygal.HorizontalBar:
    """Return bars from the best system at the top; wcsup's have a colour of their own."""
    # No script: pygal's is on somebody else's server, and a page of documentation needs none.
    chart = pygal.HorizontalBar(
        style=_STYLE,
        js=(),
        title=title,
        width=760,
        height=110 + 42 * len(next(iter(series.values()))) * len(series),
        show_legend=len(series) > 1,
        legend_at_bottom=True,
        print_values=True,
        print_values_position="top",
        value_formatter=lambda value: "\N{NO-BREAK SPACE}" * 8 + form.format(value),  # clear of the bar's end
        show_x_labels=False,
        margin_right=90,
        spacing=6,
    )
    systems = list(next(iter(series.values())))[::-1]  # pygal draws from the bottom
    chart.x_labels = [SYSTEMS[system].title for system in systems]
    for name, figures in series.items():
        ours = {"color": _OURS} if len(series) == 1 or name == next(iter(series)) else {"color": "#6fbf9f"}
        chart.add(name, [{"value": figures[s], **(ours if s == OURS else {})} for s in systems])
    return chart


def draw(results: list[Result], latencies: list[Latency]) -> dict[str, pygal.HorizontalBar]:
    """Return the charts by name."""
    charts = {}
    for workload, title in (("text", "Prose"), ("many", "Many distinct words")):
        runs = [run for run in results if run.workload == workload]
        rates = _medians((system, line[0] / 1e6) for (system, _), line in slopes(runs).items())
        if rates:
            ordered = dict(sorted(rates.items(), key=lambda item: -item[1]))
            heading = f"{title}: million words a second (slope; more is better)"
            charts[f"{workload}-throughput"] = _chart(heading, {"million words a second": ordered}, "{:.3g}")
        most = max((run.lines for run in runs), default=0)
        peaks = _medians((run.system, run.resident / 1e6) for run in runs if run.lines == most and run.seconds)
        if peaks:
            ordered = dict(sorted(peaks.items(), key=lambda item: item[1]))
            heading = f"{title}, {most:,} lines: peak resident MB of all processes (less is better)"
            charts[f"{workload}-memory"] = _chart(heading, {"MB": ordered}, "{:,.0f}")
    exact = [run for run in latencies if run.p50 is not None]
    if exact:
        middle = _medians((run.system, run.p50) for run in exact)
        ordered = dict(sorted(middle.items(), key=lambda item: item[1]))
        tail = _medians((run.system, run.p99) for run in exact)
        heading = f"{exact[0].rate:,} lines a second: ms from produce to committed total (less is better)"
        series = {"median": ordered, "99th percentile": {system: tail[system] for system in ordered}}
        charts["latency"] = _chart(heading, series, "{:,.0f}")
    return charts


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
def main(results: Path, output: Path) -> None:
    """Draw the charts of RESULTS (results.json of a run) as SVG files in the folder OUTPUT."""
    found: dict[str, list[dict[str, Any]]] = json.loads(results.read_text())
    charts = draw([Result(**run) for run in found["results"]], [Latency(**run) for run in found["trickle"]])
    output.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        (output / f"{name}.svg").write_bytes(chart.render())
        print(output / f"{name}.svg")


if __name__ == "__main__":
    main()
