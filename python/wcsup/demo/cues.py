"""What the acts wait for: each wait looks at the run again and again, and shows it to the audience meanwhile."""

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from wcsup.config import Config
from wcsup.demo.audience import Audience
from wcsup.demo.commands import DemoError
from wcsup.errors import WcsupError
from wcsup.supervisor import Snapshot, request
from wcsup.supervisor.events import EventsReader, RunEvent

_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 60.0
_MOST_SECONDS = 1.0
"""How much of a turn counts as waiting: the process may have been stopped meanwhile, as by Ctrl-Z."""

Found = TypeVar("Found")


class Left(KeyboardInterrupt):
    """Who watched has left."""


class Cues:
    """Follows the process of a run; `last_words` returns why it ended."""

    def __init__(
        self, config: Config, run: subprocess.Popen[bytes], audience: Audience, last_words: Callable[[], str]
    ) -> None:
        self.events: list[RunEvent] = []
        """What was seen to happen to the workers, oldest first."""
        self._config, self._run, self._audience, self._last_words = config, run, audience, last_words
        self._reader = EventsReader(config.state)

    def pause(self, longer: float = 0.0) -> None:
        """Let the audience read the last caption, while the run goes on."""
        if self._audience.reading:
            end = time.monotonic() + self._audience.reading + longer
            while time.monotonic() < end:
                self._look()
                time.sleep(_LOOK_SECONDS)

    def until(self, what: str, found: Callable[[Snapshot], Found | None]) -> Found:
        """Return what is found in the first snapshot that has it: anything but none and false."""
        waited, last = 0.0, time.monotonic()
        while waited < _PATIENCE_SECONDS:
            snapshot = self._look()
            result = None if snapshot is None else found(snapshot)
            if result is not None and result is not False:
                return result
            time.sleep(_LOOK_SECONDS)
            waited, last = waited + min(_MOST_SECONDS, time.monotonic() - last), time.monotonic()
        raise DemoError(f"waited {_PATIENCE_SECONDS:.0f} s in vain until {what}: {self._last_words()}")

    def until_event(self, slot: str, event: str, reason: str, seen: int) -> RunEvent:
        """Return the first event of this kind and reason after those that were `seen` before."""

        def found(_: Snapshot) -> RunEvent | None:
            fitting = (one for one in self.events[seen:] if (one.slot, one.event) == (slot, event))
            return next((one for one in fitting if reason in one.reason), None)

        return self.until(f"{slot} {event}", found)

    def until_all_is_counted(self) -> None:
        """Wait until Kafka says, after all lines are written, that none is left and no record of words."""
        from wcsup.observe.lag import LagWatch  # noqa: PLC0415 - it loads Kafka's client

        began = time.monotonic()
        with LagWatch(self._config) as watch:

            def nothing_left(_: Snapshot) -> bool:
                sample = watch.last
                return sample is not None and sample.asked >= began and sample.lag.lines == sample.lag.words == 0

            self.until("all is counted", nothing_left)

    def meanwhile(self, work: Callable[[], Found]) -> Found:
        """Return what some work results in, while the run is shown."""
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(work)
            while not result.done():
                self._look()
                time.sleep(_LOOK_SECONDS)
            return result.result()

    def ask(self, command: dict[str, str | int]) -> None:
        """Have the supervisor do something; raise `DemoError` where it refuses."""
        try:
            request(self._config.state, command)
        except WcsupError as error:
            raise DemoError(str(error)) from error

    def _look(self) -> Snapshot | None:
        """Show the run as it is now; none where it does not answer."""
        if self._audience.left:
            raise Left
        if self._run.poll() is not None:
            raise DemoError(f"wcsup run ended with status {self._run.returncode}: {self._last_words()}")
        try:
            snapshot = Snapshot.from_json(request(self._config.state, {"command": "status"}))
        except WcsupError:  # it begins, or is busy
            return None
        self.events += self._reader.read()
        self._audience.show(snapshot)
        return snapshot
