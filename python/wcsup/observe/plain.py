"""The view of a run whose output is no terminal: a log line now and then."""

import logging
from dataclasses import asdict
from typing import Self

from wcsup.observe.figures import Rates, latency_text
from wcsup.supervisor import Snapshot

log = logging.getLogger("wcsup.run")

STATUS_SECONDS = 10.0


class PlainView:
    """Logs the state of a run every ten seconds."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._due = STATUS_SECONDS

    def __enter__(self) -> Self:
        """Begin; there is nothing to do."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End; there is nothing to do."""

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot; log it when it is time."""
        self._rates.take(snapshot)
        if snapshot.uptime < self._due:
            return
        self._due = snapshot.uptime + STATUS_SECONDS
        ready = sum(worker.ready for worker in snapshot.workers)
        silent = "".join(f"; {one.slot} gives {one.condition}" for one in snapshot.workers if one.silent)
        left = "unknown" if snapshot.lines_lag is None else f"{snapshot.lines_lag:,} lines"
        if snapshot.words_lag:
            left += f" and {snapshot.words_lag:,} words records"
        log.info(
            "%d of %d workers ready%s, %s lines/s, %s words/s, latency: %s, left to count: %s",
            ready,
            len(snapshot.workers),
            silent,
            f"{self._rates.lines:,.0f}",
            f"{self._rates.words:,.0f}",
            latency_text(asdict(snapshot.latency) if snapshot.latency else None),
            left
            if snapshot.broker.reachable is not False
            else f"{left}; no broker answers since {snapshot.broker.since}",
        )
