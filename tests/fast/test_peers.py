"""What of the bench with peers needs no Kafka."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from benches.peers import report, workloads
from benches.peers.artifacts import MissingError
from benches.peers.machine import Machine
from benches.peers.measure import Result
from benches.peers.restart import Restart
from benches.peers.sustained import Look, Step, Sustained, grows
from benches.peers.systems import SYSTEMS, newest_checkpoint
from benches.peers.workloads import BATCH, WORKLOADS, Truth, cut, many, verses

START = Result(
    workload="restart",
    system="wcsup",
    round=1,
    lines=1000,
    words=10_000,
    bytes=70_000,
    seconds=2.0,
    first=1.0,
    settled=2.0,
    cpu=1.0,
    broker_cpu=0.5,
    resident=100_000_000,
    load=0.5,
)
MACHINE = Machine.find()


def written(*, restarts: list[Restart] | None = None, sustained: list[Sustained] | None = None) -> str:
    return report.text(
        MACHINE,
        results=[],
        restarts=restarts or [],
        latencies=[],
        sustained=sustained or [],
        ceilings=[],
        broker="4.2",
        missing={"bible": "no text"},
        seconds=60.0,
    )


def row(text: str, title: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {title} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def pair(system: str, number: int, first: float | None, again: float | None) -> Restart:
    start = replace(START, system=system, round=number, seconds=first)
    return Restart(start, replace(start, seconds=again) if first else None)


def test_the_restart_table_has_medians_and_what_failed() -> None:
    runs = [pair("wcsup", 1, 2.0, 1.0), pair("wcsup", 2, 3.0, 1.0), pair("wcsup", 3, 4.0, 2.0)]
    runs += [pair("flink", 1, 6.0, 4.0), pair("flink", 2, 6.0, None), pair("flink", 3, None, None)]
    text = written(restarts=runs)
    _, lines, first, again, ratio, _, rate, *_ = row(text, SYSTEMS["wcsup"].title)
    assert (lines, first, again, ratio) == ("1,000", "3.00 (2.00–4.00)", "1.00 (1.00–2.00)", "2.00 (2.00–3.00)")  # noqa: RUF001
    assert rate == "0.01 (0.005–0.01)"  # noqa: RUF001
    _, _, first, again, ratio, *_, to_ours = row(text, SYSTEMS["flink"].title)
    assert (first, again, ratio, to_ours) == ("6.00", "4.00 **2 not exact or failed**", "1.50", "4.00")
    assert "Not measured: bible: no text" in text


def test_the_sustained_tables_have_the_highest_rate_and_all_steps() -> None:
    held = Step(
        rate=400, written=399.5, middle=10, end=9, kept=True, holds=True, cpu=1.0, broker_cpu=2.0, driver_cpu=3.0
    )
    steps = [held, replace(held, rate=200), replace(held, rate=800, kept=False, holds=False)]
    ours = Sustained("wcsup", 1, 15.0, 400, steps, 1_000_000, 0.5)
    text = written(sustained=[ours, replace(ours, system="flink", rate=200), replace(ours, system="flink", rate=None)])
    assert row(text, SYSTEMS["wcsup"].title) == [SYSTEMS["wcsup"].title, "400", "1", ""]
    assert row(text, SYSTEMS["flink"].title)[1:] == ["200 **1 not exact or failed**", "1", "2.00"]
    asked = [
        line.split("|")[3].strip() for line in text.splitlines() if line.startswith(f"| {SYSTEMS['wcsup'].title} | 1")
    ]
    assert asked == ["200", "400", "800"]
    assert text.count("| yes |") == 6
    assert text.count("| no: the driver fell behind |") == 3


def looks(*backlogs: int, rate: int = 1000) -> list[Look]:
    """Return looks once a second at a stage that keeps up, and at one with these backlogs."""
    return [
        Look(float(n), [(10 * n, 10 * n), (rate * (n + 1), rate * (n + 1) - backlog)])
        for n, backlog in enumerate(backlogs)
    ]


@pytest.mark.parametrize(
    ("backlogs", "growing"),
    [
        ((500, 500, 500, 500), False),
        ((900, 100, 900, 150), False),
        ((1100, 1200, 1300, 1400), True),
        ((100, 200, 300, 400), False),
        ((9, 8, 5, 0), False),
        ((900, 100, 1900, 90), False),
    ],
)
def test_a_backlog_grows_when_its_lows_rise(backlogs: tuple[int, ...], growing: bool) -> None:
    assert grows(looks(*backlogs)) is growing


def test_flink_goes_on_from_the_newest_checkpoint_that_is_complete(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    for age, place in ((30, "one/chk-9"), (20, "two/chk-10"), (10, "two/chk-2")):
        metadata = tmp_path / place / "_metadata"
        metadata.parent.mkdir(parents=True)
        metadata.touch()
        os.utime(metadata, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "two" / "chk-11").mkdir()  # it was not completed
    (tmp_path / "two" / "shared").mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "two" / "chk-2"


def test_verses_are_told_from_headings() -> None:
    printed = b"\n1 Samuel 1\n\n  1 Now there was a man.\n  2 And he had two wives;\n\n2 John 1\n\n 13 The children.\n"
    assert verses(printed) == [b"Now there was a man.", b"And he had two wives;", b"The children."]


def test_a_machine_without_the_text_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(workloads, "_verses", [])
    with pytest.raises(MissingError, match="apt-get install bible-kjv"):
        WORKLOADS["bible"].needs()


def test_a_text_is_cut_and_its_second_half_is_another_one() -> None:
    first, again = list(cut(many(), BATCH + 5)), list(cut(many("again"), 5))
    assert [len(batch) for batch in first] == [BATCH, 5]
    assert again[0] != first[0][:5]
    assert all(len(line.split()) == 10 for line in again[0])
    assert [batch[:5] for batch in WORKLOADS["many"].batches(5)] == [first[0][:5]]


def test_the_truth_of_more_lines_is_added(tmp_path: Path) -> None:
    truth = Truth()
    for lines in ([b"One two", b"two"], [b"two three"]):
        assert list(truth.save(iter([lines]), tmp_path / "totals")) == [lines]
    assert truth == Truth(lines=3, size=19, words=5, distinct=3)
