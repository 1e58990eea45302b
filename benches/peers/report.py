"""Runs as Markdown: medians with the lowest and the highest, and what wcsup's are to its peers' in the same round."""

import statistics
from collections.abc import Callable, Iterable, Sequence

from benches.peers.machine import Machine
from benches.peers.measure import Latency, Result
from benches.peers.restart import Restart
from benches.peers.sustained import Sustained
from benches.peers.systems import SYSTEMS
from benches.peers.workloads import WORKLOADS

Ceiling = dict[str, tuple[float, str]]
OURS = "wcsup"


def text(
    machine: Machine,
    *,
    results: Sequence[Result],
    restarts: Sequence[Restart],
    latencies: Sequence[Latency],
    sustained: Sequence[Sustained],
    ceilings: Sequence[Ceiling],
    broker: str,
    missing: dict[str, str],
    seconds: float,
) -> str:
    """Return the whole report."""
    starts = [*results, *(start for run in restarts for start in (run.first, run.again) if start)]
    loads = [run.load for runs in (starts, latencies, sustained) for run in runs] or [0.0]
    parts = [
        f"{machine.cores} cores ({machine.processor}), {machine.memory / 2**30:.0f} GB, {machine.system}, Python "
        f"{machine.python}, Kafka {broker}; wcsup at {machine.commit}. The cores are shared with the broker. Load "
        f"average before the runs: {min(loads):.1f} to {max(loads):.1f} (what the run before left included). The "
        f"whole took {seconds / 60:.0f} minutes. Medians of the rounds, lowest and highest in parentheses; ratios are "
        "of runs of the same round.",
        *(
            f"Not measured: {SYSTEMS[name].title if name in SYSTEMS else name}: {reason}"
            for name, reason in missing.items()
        ),
    ]
    for name in WORKLOADS:
        if mine := [result for result in results if result.workload == name]:
            parts += _workload(name, mine)
    if restarts:
        parts += _restarts(restarts)
    if latencies:
        parts += _latency(latencies)
    if sustained:
        parts += _sustained(sustained)
    if ceilings:
        parts += _ceilings(ceilings, results)
    return "\n\n".join(parts) + "\n"


def slope(small: Result, large: Result) -> tuple[float, float] | None:
    """Return words a second, and the seconds before the first of them, by the line through two runs."""
    if small.seconds is None or large.seconds is None or large.seconds <= small.seconds:
        return None
    rate = (large.words - small.words) / (large.seconds - small.seconds)
    return rate, small.seconds - small.words / rate


def slopes(results: Iterable[Result]) -> dict[tuple[str, int], tuple[float, float]]:
    """Return `slope` by system and round, where there are two sizes."""
    runs: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        runs.setdefault((result.system, result.round), []).append(result)
    found = {}
    for key, sizes in runs.items():
        sizes.sort(key=lambda result: result.lines)
        if len(sizes) > 1 and (line := slope(sizes[0], sizes[-1])):
            found[key] = line
    return found


def _workload(name: str, results: list[Result]) -> list[str]:
    workload = WORKLOADS[name]
    length = results[0].bytes / results[0].lines
    parts = [f"### {name}: {workload.note}", f"{length:,.0f} bytes a line."]
    systems = [system for system in SYSTEMS if any(result.system == system for result in results)]
    reference = {(r.lines, r.round): r.seconds for r in results if r.system == OURS}
    rows = []
    for system in systems:
        for lines in sorted({r.lines for r in results if r.system == system}):
            runs = [r for r in results if r.system == system and r.lines == lines]
            exact = [r for r in runs if r.seconds is not None]
            ratios = [r.seconds / ours for r in exact if r.seconds and (ours := reference.get((r.lines, r.round)))]
            rows.append(
                [
                    SYSTEMS[system].title,
                    f"{lines:,}",
                    _spread([r.seconds for r in exact], "{:.2f}") + _failed(len(runs) - len(exact)),
                    _spread([r.first for r in exact], "{:.2f}"),
                    _spread([r.cpu for r in exact], "{:.1f}"),
                    _spread([r.broker_cpu for r in exact], "{:.1f}"),
                    _spread([r.resident / 1e6 for r in exact], "{:,.0f}"),
                    "" if system == OURS else _spread(ratios, "{:.2f}"),
                ]
            )
    head = ["", "lines", "seconds", "first total after s", "CPU s", "broker's CPU s", "peak MB", "time / wcsup's"]
    parts.append(_table(head, rows))
    lines_of = slopes(results)
    rows = []
    for system in systems:
        mine = {number: line for (of, number), line in lines_of.items() if of == system}
        if not mine:
            continue
        ratios = [lines_of[OURS, number][0] / rate for number, (rate, _) in mine.items() if (OURS, number) in lines_of]
        rows.append(
            [
                SYSTEMS[system].title,
                _spread([start for _, start in mine.values()], "{:.2f}"),
                _spread([rate / 1e6 for rate, _ in mine.values()], "{:.3g}"),
                "" if system == OURS else _spread(ratios, "{:.2f}"),
            ]
        )
    if rows:
        parts.append(_table(["", "start-up s", "million words/s, slope", "wcsup's slope / its"], rows))
        parts.append(
            "Systems with fewer lines in the table above have slopes of shorter runs. Java's compiler is still warming "
            "up in those, so they are lower than those of longer runs, and the ratios flatter wcsup."
        )
    return parts


def _restarts(restarts: Sequence[Restart]) -> list[str]:
    ours = {
        (run.again.lines, run.again.round): run.again.seconds
        for run in restarts
        if run.again and run.again.system == OURS
    }
    rows = []
    for system, lines in sorted({(r.first.system, r.first.lines) for r in restarts}, key=_place):
        runs = [run for run in restarts if (run.first.system, run.first.lines) == (system, lines)]
        exact = [
            (run.first.seconds, run.again.seconds, run.again)
            for run in runs
            if run.first.seconds and run.again and run.again.seconds
        ]
        ratios = [seconds / mine for _, seconds, again in exact if (mine := ours.get((lines, again.round)))]
        rows.append(
            [
                SYSTEMS[system].title,
                f"{lines:,}",
                _spread([run.first.seconds for run in runs], "{:.2f}"),
                _spread([seconds for _, seconds, _ in exact], "{:.2f}") + _failed(len(runs) - len(exact)),
                _spread([first / seconds for first, seconds, _ in exact], "{:.2f}"),
                _spread([again.first for _, _, again in exact], "{:.2f}"),
                _spread([again.words / seconds / 1e6 for _, seconds, again in exact], "{:.3g}"),
                _spread([again.cpu for _, _, again in exact], "{:.1f}"),
                _spread([again.resident / 1e6 for _, _, again in exact], "{:,.0f}"),
                "" if system == OURS else _spread(ratios, "{:.2f}"),
            ]
        )
    head = ["", "lines a start", "first start s", "restart s", "first / restart"]
    head += ["restart: first total after s", "million words/s", "CPU s", "peak MB", "restart / wcsup's"]
    note = (
        "10 words a line, uniform out of 5 million. The system counts the lines, is ended by SIGTERM, and is started "
        "again with what it kept when as many new lines are there. Both times are from the start of its processes to "
        "its last total; words a second are those of the restart, start-up included. The totals of both halves are "
        "checked."
    )
    return ["### restart: a second start, with what was kept", note, _table(head, rows)]


def _place(key: tuple[str, int]) -> tuple[int, int]:
    """Return where a system has its rows: in the order of all systems."""
    system, lines = key
    return list(SYSTEMS).index(system), lines


def _sustained(sustained: Sequence[Sustained]) -> list[str]:
    rates = {(run.system, run.round): run.rate for run in sustained}
    rows, steps = [], []
    for system in dict.fromkeys(run.system for run in sustained):
        runs = [run for run in sustained if run.system == system]
        ratios = [ours / run.rate for run in runs if run.rate and (ours := rates.get((OURS, run.round)))]
        rows.append(
            [
                SYSTEMS[system].title,
                _spread([run.rate for run in runs], "{:,.0f}") + _failed(sum(run.rate is None for run in runs)),
                _spread([run.resident / 1e6 for run in runs], "{:,.0f}"),
                "" if system == OURS else _spread(ratios, "{:.2f}"),
            ]
        )
        steps += [
            [
                SYSTEMS[system].title,
                f"{run.round}",
                f"{step.rate:,}",
                f"{step.written:,.0f}",
                f"{step.middle:,.0f}",
                f"{step.end:,.0f}",
                "yes" if step.holds else "no" if step.kept else "no: the driver fell behind",
                f"{step.cpu:.1f}",
                f"{step.broker_cpu:.1f}",
                f"{step.driver_cpu:.1f}",
            ]
            for run in runs
            for step in sorted(run.steps, key=lambda step: step.rate)
        ]
    seconds = sustained[0].seconds
    note = (
        f"Prose is written at a rate for {seconds:.0f} s while the system works, by a driver on the same cores. A rate "
        "is held if the driver kept it, and if the least backlog (what is written and not committed by the system's "
        "group) is less than a second's input in the last quarter of that time, or no larger than in the third one by "
        "more than a tenth of a second's input, for each topic that the system reads. The highest of the rates that "
        "held is the figure."
    )
    head = ["", "lines/s held", "peak MB", "wcsup's / its"]
    steps_head = ["", "round", "lines/s asked", "written", "backlog, third quarter", "last quarter", "held"]
    steps_head += ["CPU s", "broker's", "driver's"]
    return ["### sustained: while lines are written", note, _table(head, rows), _table(steps_head, steps)]


def _latency(latencies: Sequence[Latency]) -> list[str]:
    any_run = latencies[0]
    rows = []
    of: Callable[[str, int], Latency | None] = lambda system, number: next(  # noqa: E731
        (run for run in latencies if (run.system, run.round) == (system, number)), None
    )
    for system in dict.fromkeys(run.system for run in latencies):
        runs = [run for run in latencies if run.system == system]
        exact = [run for run in runs if run.p50 is not None]
        ratios = [
            run.p99 / ours.p99
            for run in exact
            if run.p99 and (ours := of(OURS, run.round)) and ours.p99 and system != OURS
        ]
        rows.append(
            [
                SYSTEMS[system].title,
                *(_spread([getattr(run, cut) for run in exact], "{:.0f}") for cut in ("p50", "p99")),
                _spread([run.p999 for run in exact], "{:.0f}") + _failed(len(runs) - len(exact)),
                _spread([run.cpu / run.seconds * 60 for run in exact], "{:.1f}"),
                _spread([run.broker_cpu / run.seconds * 60 for run in exact], "{:.1f}"),
                _spread([run.resident / 1e6 for run in exact], "{:,.0f}"),
                _spread(ratios, "{:.2f}") if ratios else "",
            ]
        )
    head = ["", "p50 ms", "p99 ms", "p99.9 ms", "CPU s a minute", "broker's", "peak MB", "p99 / wcsup's"]
    note = (
        f"{any_run.rate:,} lines a second for {any_run.seconds:.0f} s after start-up and warm-up: from `produce` to "
        "the total of the line's own word at a read_committed reader. Flink's checkpoints and Kafka "
        "Streams' commits every 100 ms, wcsup as it is."
    )
    return ["### trickle: a light load", note, _table(head, rows)]


def _ceilings(ceilings: Sequence[Ceiling], results: Sequence[Result]) -> list[str]:
    rows = []
    for name in dict.fromkeys(name for ceiling in ceilings for name in ceiling):
        values = [ceiling[name] for ceiling in ceilings if name in ceiling]
        rows.append([name, _spread([rate / 1e6 for rate, _ in values], "{:.3g}"), values[0][1]])
    parts = ["### Ceilings", _table(["alone, in one process", "million", "of"], rows)]
    rates = [c["read, split and combine (words)"][0] for c in ceilings if "read, split and combine (words)" in c]
    ours = [
        line[0] for (system, _), line in slopes(r for r in results if r.workload == "text").items() if system == OURS
    ]
    if rates and ours:
        share = statistics.median(ours) / statistics.median(rates)
        parts.append(f"wcsup's slope on text is {share:.0%} of what one process reads, splits and combines alone.")
    return parts


def _spread(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, middle, high = (form.format(value) for value in (min(known), statistics.median(known), max(known)))
    return middle if low == high else f"{middle} ({low}–{high})"  # noqa: RUF001 - a range


def _failed(count: int) -> str:
    return f" **{count} not exact or failed**" if count else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
