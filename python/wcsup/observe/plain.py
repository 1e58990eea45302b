"""The view of a run whose output is no terminal: a log line now and then."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Self

from wcsup.observe.figures import latency_text, span
from wcsup.supervisor import Snapshot

log = logging.getLogger("wcsup.run")

STATUS_SECONDS = 10.0
OUTAGE_SECONDS = 60.0
"""How often it is said that Kafka is still gone; the supervisor says so when it goes and when it is back."""


class PlainView:
    """Logs the state of a run every ten seconds, and every minute while Kafka is gone."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._due = STATUS_SECONDS

    def __enter__(self) -> Self:
        """Begin; there is nothing to do."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End; there is nothing to do."""

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot; log it when it is time."""
        if snapshot.uptime < self._due:
            return
        gone = snapshot.broker.reachable is False
        self._due = snapshot.uptime + (OUTAGE_SECONDS if gone else STATUS_SECONDS)
        if gone:
            since = datetime.fromisoformat(snapshot.broker.since) if snapshot.broker.since else None
            long = "a while" if since is None else span(max(0.0, self._wall_clock() - since.timestamp()))
            log.warning("Kafka gone for %s, retrying: how much is left to count is not known", long)
            return
        ready = sum(worker.ready for worker in snapshot.workers)
        silent = "".join(f"; {one.slot} gives {one.condition}" for one in snapshot.workers if one.silent)
        log.info(
            "%d of %d workers ready%s, %s lines/s, %s words/s, latency: %s, left to count: %s",
            ready,
            len(snapshot.workers),
            silent,
            f"{snapshot.lines_per_second:,.0f}",
            f"{snapshot.words_per_second:,.0f}",
            latency_text(asdict(snapshot.latency) if snapshot.latency else None),
            _left(snapshot),
        )


def _left(snapshot: Snapshot) -> str:
    left = "unknown" if snapshot.lines_lag is None else f"{snapshot.lines_lag:,} lines"
    return f"{left} and {snapshot.words_lag:,} words records" if snapshot.words_lag else left
