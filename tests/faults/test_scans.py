"""Reducers that are killed, stopped and rebalanced while they take the totals of a kept store into memory."""

import itertools
import signal
from pathlib import Path

import pytest
from application import Application, WorkerProcess, stopped, wait_for
from invariants import Witness, hold

from wcsup.pipeline.reducer import SCAN_BYTES

SHORT, LONG = 1.5, 30.0
"""Time-outs in seconds that a test waits for, and that it never reaches."""

WORDS_OF_A_LINE = 20
LONG_WORD = b"x" * 200


def has_all(application: Application, worker: WorkerProcess) -> bool:
    return worker.ready and len(worker.report.partitions) == application.config.partitions


def wide_lines(lines: int) -> list[bytes]:
    """Return lines of long words that no other line has: few of them are more than one scan takes."""
    words = map(bytes, itertools.product(b"abcdefghijklmnopqrstuvwxyz", repeat=4))
    return [b" ".join(LONG_WORD + w for w in itertools.islice(words, WORDS_OF_A_LINE)) for _ in range(lines)]


def kept(application: Application) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Leave stores as a process leaves them that is killed; return the lines counted, and lines with more of each word.

    Each store takes a few scans.
    """
    lines = wide_lines(3000)
    assert len(lines) * WORDS_OF_A_LINE * len(LONG_WORD) > 2 * SCAN_BYTES * application.config.partitions
    application.store(lines[:2500]).kill()
    return lines[:2500], lines[1000:1300] + lines[2500:2600], lines[:100] + lines[2400:2700]


@pytest.mark.parametrize("scan", [1, 2, 5])
def test_a_kill_in_the_middle_of_a_scan(application: Application, scan: int) -> None:
    # Given a reducer that is killed while it scans kept stores, between batches
    counted, second, third = kept(application)
    victim = application.start("reduce", crash=f"scanned:{scan}")
    wait_for("it is ready", lambda: victim.ready or victim.process.poll() is not None)
    application.feed(second)
    assert victim.wait() == -9, "the crash point was passed"

    # When the next one goes on
    application.feed(third)
    application.start("reduce")

    # Then nothing is lost or counted twice, on any disk
    hold(application, counted + second + third)


def test_what_a_drained_reducer_had_in_memory_needs_no_scan(application: Application) -> None:
    # Given stores of a reducer that had all of their totals in memory when it was drained
    counted, second, third = kept(application)
    words = len(counted) * WORDS_OF_A_LINE
    drained = application.start("reduce")
    wait_for("it knows all", lambda: drained.report.words_in_memory == words)
    drained.drain()

    # When the next one counts, which would be killed by its first scan
    successor = application.start("reduce", crash="scanned:1")
    wait_for("it knows all", lambda: successor.report.words_in_memory == words)
    application.feed(second)
    application.wait_counted()
    assert successor.process.poll() is None

    # And is killed, then what the file had is of no use to the one after it, and nothing is counted by it
    successor.kill()
    application.start("reduce")
    application.feed(third)
    hold(application, counted + second + third)


def scanning(application: Application, lines: list[bytes], session: float) -> WorkerProcess:
    """Return a reducer that is stopped after its first scan and commit."""
    reducer = application.start("reduce", crash="stop:scanned:2", session_timeout=session)
    wait_for("it is ready", lambda: reducer.ready or stopped(reducer))
    application.feed(lines)
    wait_for("it is stopped", lambda: stopped(reducer))
    return reducer


@pytest.mark.parametrize("lost", [False, True], ids=["revoked", "lost"])
def test_a_rebalance_in_the_middle_of_a_scan(application: Application, lost: bool) -> None:
    # Given a reducer that is stopped while it scans
    counted, second, third = kept(application)
    session = SHORT if lost else LONG
    first = scanning(application, second, session)

    with Witness(application):
        # When another one joins, and has taken its partitions or is about to
        joined = application.start("reduce", "1", state=application.elsewhere(), session_timeout=session)
        if lost:
            wait_for("it has all", lambda: has_all(application, joined))
            application.feed(third)
            application.wait_counted()
        else:
            wait_for("it is joining", lambda: joined.report.beat > 0)
        first.signal(signal.SIGCONT)

        # Then both share, and what one had resident is not taken for what the other one counted
        wait_for("both share", lambda: all(w.ready and 0 < len(w.report.partitions) < 4 for w in (first, joined)))
        more = counted[500:800] + third
        application.feed(more)
        application.wait_counted()
    assert first.process.poll() is None and joined.process.poll() is None
    hold(application, counted + second + third * lost + more)


def test_a_restore_in_the_middle_of_a_scan(application: Application) -> None:
    """The stores are behind when the scan goes on: what another reducer counted meanwhile is read from `counts`."""
    counted, second, third = kept(application)
    first = scanning(application, second, SHORT)

    # Given another reducer that counts in its place, and ends
    elsewhere: Path = application.elsewhere()
    other = application.start("reduce", "1", state=elsewhere, session_timeout=SHORT)
    wait_for("it has all", lambda: has_all(application, other))
    application.feed(third)
    application.wait_counted()
    other.kill()

    # When the first one goes on
    first.signal(signal.SIGCONT)
    wait_for("it has all again", lambda: has_all(application, first))
    application.feed(counted[:300])

    # Then its stores are what `counts` is
    application.wait_counted()
    assert first.report.counters.restored > 0
    assert first.process.poll() is None
    hold(application, counted + second + third + counted[:300])
