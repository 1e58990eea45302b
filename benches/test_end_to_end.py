"""Lines counted a second, end to end: wcsup against the plain-Python loop, in turns in one run."""

import statistics
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from application import Application, prose, wait_for
from benches.recorded import Ratios
from reference import recount

from wcsup.kafka import progress

LINES = 400_000
PLAIN_LINES = 20_000
WORDS = 26  # a line, as in English prose
ROUNDS = 3
LOOP = Path(__file__).parent / "peers" / "plain_loop.py"


def totals(application: Application) -> Counter[bytes]:
    """The last total of each word; the checks of `Application.counts` are for our own records."""
    return Counter(
        {key: int.from_bytes(value, "big") for _, key, value, _ in application.read("counts") if key and value}
    )


def test_wcsup_against_the_plain_loop(make_application: Any, benchmark: Any, ratios: Ratios) -> None:
    """At least 25 times the lines a second, with one mapper and one reducer; both from process start."""
    ours, theirs, memory = [], [], []
    text = prose(LINES, seed=1, words=WORDS)
    expected, plain_expected = recount(text), recount(text[:PLAIN_LINES])
    for _ in range(ROUNDS):
        application = make_application()
        application.feed(text)
        began = time.monotonic()
        workers = [application.start("map"), application.start("reduce")]
        peak = dict.fromkeys(workers, 0)

        def counted(peak: dict[Any, int] = peak, application: Application = application) -> bool:
            for worker, highest in peak.items():
                peak[worker] = max(highest, psutil.Process(worker.process.pid).memory_info().rss)
            lag = application.lag()
            return lag.lines == 0 and lag.words == 0

        wait_for("all is counted", counted)
        ours.append(LINES / (time.monotonic() - began))
        memory.append(max(peak.values()) / 1e6)
        application.stop()
        assert totals(application) == expected

        application = make_application()
        application.feed(text[:PLAIN_LINES])
        began = time.monotonic()
        arguments = [application.config.bootstrap_servers or "", application.config.topic_prefix]
        loops = [subprocess.Popen([sys.executable, LOOP, role, *arguments]) for role in ("map", "reduce")]
        wait_for("the loop is done", partial(loop_is_done, application), 120)
        theirs.append(PLAIN_LINES / (time.monotonic() - began))
        for loop in loops:
            loop.kill()
            loop.wait()
        assert totals(application) == plain_expected

    found = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    ratios["lines a second, end to end / plain loop"] = statistics.median(found)
    benchmark.extra_info.update(
        lines_a_second=statistics.median(ours),
        plain_lines_a_second=statistics.median(theirs),
        ratio=statistics.median(found),
        ratio_spread=(min(found), max(found)),
        peak_resident_mb=max(memory),
    )
    print(benchmark.extra_info)
    benchmark.pedantic(lambda: None)


def loop_is_done(application: Application) -> bool:
    """Return whether the plain loop has committed all: of `words` it never commits the last control record."""
    config, prefix = application.config, application.config.topic_prefix
    lag = [
        [one.lag for one in progress.of_group(application.admin, config, f"{prefix}plain-{role}", config.topic(topic))]
        for role, topic in (("map", "lines"), ("reduce", "words"))
    ]
    return sum(lag[0]) == 0 and max(lag[1]) <= 1
