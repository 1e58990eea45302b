"""`wcsup gen`: write lines."""

import os
import signal
import stat
import time
from types import FrameType
from typing import TYPE_CHECKING

import click

from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.feedbar import FeedBar
from wcsup.cli.options import TOPICS, RateType
from wcsup.config import Config
from wcsup.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from wcsup.feeding.sources import StopRequest

OWN_RATE = 1.0
PATIENCE_SECONDS = 1.0
"""How long the last lines may take before the command says that it waits."""


@define(
    "gen",
    section=Section.COUNT,
    offered=TOPICS,
    example="""
    wcsup gen book.txt notes.txt             the lines of two files, as fast as it goes
    zcat dump.gz | wcsup gen --rate 5000     standard input, 5,000 lines a second
    wcsup gen --demo                         made-up text, a line a second, until Ctrl-C
    wcsup gen --lines 1000000 --rate 0       a million lines of it, as fast as it goes
    """,
)
@click.argument("file", nargs=-1, type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option(
    "--rate",
    type=RateType(),
    metavar="N",
    help="Lines a second, 0 for as fast as it goes [default: 1 for made-up text, else 0].",
)
@click.option("--demo", is_flag=True, help="Write made-up text; without a file, a terminal asks for it, too.")
@click.option("--lines", type=click.IntRange(min=0), metavar="N", help="Made-up text: end after so many lines.")
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="Made-up text: the same lines for the same number [default: other lines each time].",
)
def command(
    *, config: Config, file: tuple[str, ...], rate: float | None, demo: bool, lines: int | None, seed: int | None
) -> int:
    """Write lines of text to Kafka, for a running wcsup to count.

    The lines are those of each FILE (- is standard input), or of standard input if it is a pipe or a file. With
    --demo, --lines or --seed, or if standard input is a terminal, they are made up, English-like text. Each line
    is a record; its bytes are not changed. After Ctrl-C the lines that were read so far are written, and their
    number is printed; a second Ctrl-C drops lines that no broker takes.
    """
    own = demo or lines is not None or seed is not None
    if own and file:
        raise UsageError("--demo, --lines and --seed are for made-up text; leave them or the files out")
    if not file and not own:
        if _stdin_has_text():
            file = ("-",)
        elif not os.isatty(0):
            raise UsageError("no text to write: name files, pipe it in, or ask for made-up text with --demo")
    if rate is None:
        rate = 0.0 if file else OWN_RATE
    quiet_clients()

    from wcsup.feeding import prose
    from wcsup.feeding.feed import Feeder
    from wcsup.feeding.sources import StopRequest, size
    from wcsup.kafka import application

    config = connect(config)
    application.prepare_feed(config)
    stop = StopRequest()
    signals = _stop_on_signals(stop)
    began = time.monotonic()
    with FeedBar(known=bool(file) and size(file) is not None) as bar:
        feeder = Feeder(config, stop, rate=rate, on_progress=bar.show, on_refused=bar.say)
        try:
            if file:
                feeder.files(file)
            else:
                feeder.text(prose.batches(time.time_ns() if seed is None else seed, lines, feeder.batch))
            if signals and (waiting := feeder.waiting(PATIENCE_SECONDS)):
                bar.say(f"writing the last {waiting:,} lines; again to give them up")
        finally:
            feeder.finish()
    seconds, written = time.monotonic() - began, feeder.progress.written
    speed = f", {written / seconds:,.0f} a second" if seconds > 1 else ""
    click.echo(f"{written:,} lines written in {seconds:.1f} s{speed}")
    if feeder.progress.unknown or feeder.progress.failed:
        click.echo(f"wcsup: {feeder.progress.outcome()}", err=True)
    if signals:
        return 128 + signals[0]
    if feeder.progress.refused:
        click.echo(f"wcsup: {feeder.progress.refused:,} lines were left out", err=True)
        return ExitStatus.CHECK_FAILED
    return ExitStatus.DONE


def _stdin_has_text() -> bool:
    """Tell whether standard input is a pipe or a file, rather than a terminal or nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _stop_on_signals(stop: "StopRequest") -> list[int]:
    """Handle INT and TERM: the first requests the stop, the second drops unwritten lines, the third ends at once.

    Returns the list of the received signals.
    """
    came: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        stop.set()
        if len(came) > 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    return came
