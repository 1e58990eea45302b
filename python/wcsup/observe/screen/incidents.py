"""The lines of the event pane: what happened to one worker in a row is one line."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from wcsup.process.times import clock
from wcsup.supervisor.events import RunEvent
from wcsup.supervisor.policy import KILL_HINT

KEPT = 200
_GOES_ON = {"started", "waits", "back", "works", "left down"}
"""What belongs to the line that the worker's end began, or its start."""
_STYLES = {
    "hung": "red",
    "ended": "yellow",
    "left down": "bold red",
    "broker gone": "red",
    "broker back": "green",
    "waits": "yellow",
    "back": "green",
    "ready": "green",
    "stopping": "yellow",
}


@dataclass(slots=True)
class Incident:
    """One line: `map-1 killed by SIGKILL, back in 0.3 s, partitions 9-11`."""

    at: str
    """The time of day here, of the first event."""
    slot: str
    text: str
    style: str
    open: bool
    """Whether the worker's next event belongs to this line."""


class Incidents:
    """Takes the last events of each snapshot, oldest first, which overlap from one snapshot to the next."""

    def __init__(self) -> None:
        self.lines: deque[Incident] = deque(maxlen=KEPT)
        """Oldest first."""
        self._newest: RunEvent | None = None

    def take(self, events: Iterable[RunEvent]) -> None:
        """Take the events that are new."""
        known = list(events)
        if self._newest in known:
            known = known[len(known) - known[::-1].index(self._newest) :]
        for event in known:
            self._newest = event
            self._add(event)

    def _add(self, event: RunEvent) -> None:
        slot = event.slot or "run"
        line = next((line for line in reversed(self.lines) if line.open and line.slot == slot), None)
        if line is None or event.event not in _GOES_ON:
            if line is not None and event.event != "hung":
                line.open = False
            opens = event.slot is not None and event.event in {"started", "ended", "hung"} and not _is_last(event)
            self.lines.append(Incident(clock(event.time), slot, _words(event), _STYLES.get(event.event, ""), opens))
            return
        if event.event != "started":
            line.text += f", {_words(event)}"
            line.style = _STYLES.get(event.event, line.style)
            line.open = event.event == "waits"


def _is_last(event: RunEvent) -> bool:
    """Tell whether no process takes the place of the one that ended."""
    return event.event == "ended" and event.reason.endswith((", scaled", ", stopping"))


def _words(event: RunEvent) -> str:
    """Return an event in words."""
    match event.event:
        case "ended":
            text = event.reason.replace(KILL_HINT, "").replace("exit status 0 (done), ", "drained: ")
        case "hung" | "works" | "waits":
            text = event.reason
        case "started":
            text = "started"
        case "back":
            text = f"back {event.reason}"
        case "broker gone":
            text = f"Kafka gone: {event.reason}"
        case "broker back":
            text = "Kafka is back"
        case _:
            text = f"{event.event}: {event.reason}"
    return text
