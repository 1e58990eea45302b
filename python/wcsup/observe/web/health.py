"""Health: whether the supervisor's loop turns, and whether every slot is at work and a broker answers."""

import time
from collections.abc import Callable
from http import HTTPStatus

from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import restored
from wcsup.observe.web.answers import Response
from wcsup.supervisor import Snapshot, WorkerView

STALL_SECONDS = 10.0
"""The supervisor's loop turns twice a second; after this long without a turn it counts as stuck."""
START_SECONDS = 300.0
"""How long the loop may take to its first turn, since an embedded broker may have to be fetched."""


class HealthAnswers:
    """Judges the newest snapshot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: tuple[float, Snapshot | None] = clock(), None

    def show(self, snapshot: Snapshot) -> None:
        """Judge this snapshot from now on."""
        self._newest = self._clock(), snapshot

    def live(self) -> Response:
        """Answer `/livez`."""
        at, snapshot = self._newest
        still = self._clock() - at
        if still > (STALL_SECONDS if snapshot else START_SECONDS):
            return Response.text(
                f"the supervisor's loop stands still for {still:.0f} s", HTTPStatus.SERVICE_UNAVAILABLE
            )
        return Response.text("alive" if snapshot else "starting")

    def ready(self) -> Response:
        """Answer `/readyz`, with a line for each thing that is not ready."""
        snapshot = self._newest[1]
        alive = self.live()
        if alive.status is not HTTPStatus.OK:
            return alive
        if snapshot is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        if snapshot.stopping:
            return Response.text(f"ending: {snapshot.stopping}", HTTPStatus.SERVICE_UNAVAILABLE)
        if snapshot.ready:
            return Response.text("ready")
        broker = snapshot.broker
        silent = [f"no broker answers since {broker.since}"] if broker.reachable is False else []
        missing = [_missing(worker) for worker in snapshot.workers if not worker.ready]
        return Response.text("\n".join(silent + missing) or "no workers", HTTPStatus.SERVICE_UNAVAILABLE)


def _missing(worker: WorkerView) -> str:
    """Return why a slot is not ready, in a line."""
    if worker.silent:
        return f"{worker.slot} gives {worker.condition}"
    said = f"{worker.slot}: {worker.failed or worker.state}"
    records = sum(todo for _, todo in worker.restoring.values())
    of = f" of {records:,} records for partitions {partition_list(worker.restoring)}"
    far = restored(worker.restoring, worker.restore_seconds, of)
    return f"{said},{far}" if far else said
