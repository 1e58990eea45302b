"""All that a drawing depends on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from wcsup.observe.screen.chart import UNICODE, Glyphs
from wcsup.observe.screen.history import History
from wcsup.observe.screen.incidents import Incident
from wcsup.pipeline.report import Role
from wcsup.process.logtail import LoggedLine
from wcsup.supervisor import Snapshot, WorkerView

QUIET_SECONDS = 3.0
"""After so long without a snapshot, what is shown is said to be old."""


class Pane(StrEnum):
    """What the lower part of the screen shows."""

    EVENTS = "events"
    LOG = "log"


class Tie(StrEnum):
    """How a screen and its run belong together: what becomes of the run when the screen is left."""

    OWN = "own"
    """The run is this process's, and drains."""
    ATTACHED = "attached"
    """The run is another process's, and goes on."""
    DEMO = "demo"
    """The run is shown by `wcsup demo`, which ends it."""


@dataclass(frozen=True, slots=True)
class Caption:
    """What is going on, told to who watches a demonstration."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Controls:
    """What the user has chosen and typed."""

    slot: str | None = None
    """The selected slot; none until one was chosen, and then the first worker is."""
    role: Role = "map"
    """The role that `+` and `-` scale."""
    typed: str | None = None
    """The word that is being typed; none while none is."""
    pane: Pane = Pane.EVENTS
    help: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """What came of a key, for the line above the footer."""

    text: str
    style: str = ""
    details: Sequence[str] = ()
    """Further lines, which take the place of the lower part of the screen until a key is pressed."""
    until: float | None = None
    """When it goes, in seconds of `time.monotonic`; none for what stays until a key is pressed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of the screen."""

    title: str
    snapshot: Snapshot
    history: History
    wall: float
    """Now, in seconds since 1970."""
    incidents: Sequence[Incident] = ()
    """What happened, oldest first."""
    log: Sequence[LoggedLine] = ()
    """The last log lines, oldest first."""
    controls: Controls = field(default_factory=Controls)
    note: Note | None = None
    quiet: float = 0.0
    """Seconds since the snapshot came."""
    keys: bool = True
    """Whether keys can be read."""
    tie: Tie = Tie.OWN
    caption: Caption | None = None
    """Stays below the first line until the next one takes its place."""
    glyphs: Glyphs = UNICODE

    @property
    def stale(self) -> bool:
        """Whether what Kafka and the workers said is old."""
        return self.snapshot.broker.reachable is False or self.quiet > QUIET_SECONDS

    @property
    def selected(self) -> WorkerView | None:
        """The worker that keys act on."""
        return selected(self.controls, self.snapshot)

    def age(self, time: str | None) -> float | None:
        """Return how long ago a time is, which is given as ISO 8601."""
        if time is None:
            return None
        return max(0.0, self.wall - datetime.fromisoformat(time).timestamp())


def selected(controls: Controls, snapshot: Snapshot) -> WorkerView | None:
    """Return the worker that keys act on: the chosen one, or else the first of the role, or the first of all."""
    workers = snapshot.workers
    chosen = [worker for worker in workers if worker.slot == controls.slot]
    of_role = [worker for worker in workers if worker.role == controls.role]
    return next(iter([*chosen, *of_role, *workers]), None)
