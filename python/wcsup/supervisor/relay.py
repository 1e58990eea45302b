"""The output of children: their log lines, passed on through `logging`, and their reports."""

import logging
from collections.abc import Sequence

from wcsup.pipeline.report import Report
from wcsup.process import logs
from wcsup.supervisor.policy import Clock

log = logging.getLogger("wcsup.worker")

_RATE = 500.0
_BURST = 2000.0


class Relay:
    """The output of one child.

    After a burst of 2,000, log lines beyond 500 a second are only counted: a noisy child costs the loop next to
    nothing, and is never held up itself.
    """

    def __init__(self, name: str, pid: int, clock: Clock) -> None:
        self.name = name
        self.last_error: str | None = None
        self._pid, self._clock = pid, clock
        self._allowance, self._at = _BURST, clock.monotonic()
        self._dropped = 0
        self._garbled = False

    def take(self, lines: Sequence[bytes], phase: str) -> None:
        """Log lines in the child's name."""
        now = self._clock.monotonic()
        self._allowance = min(_BURST, self._allowance + (now - self._at) * _RATE)
        self._at = now
        passed = min(len(lines), int(self._allowance))
        self._allowance -= passed
        for line in lines[:passed]:
            record = logs.relay(line, self.name, self._pid, phase)
            if record.levelno >= logging.ERROR:
                self.last_error = _in_a_line(record)
            if log.isEnabledFor(record.levelno):
                log.handle(record)
        if passed < len(lines):
            self._dropped += len(lines) - passed
        elif self._dropped and self._allowance > _RATE:
            self.finish()

    def finish(self) -> None:
        """Log how many lines were dropped."""
        if self._dropped:
            log.warning(
                "%d log lines were dropped: they came too fast",
                self._dropped,
                extra={"slot": self.name, "pid": self._pid},
            )
            self._dropped = 0

    def newest_report(self, lines: Sequence[bytes]) -> Report | None:
        """Return the last readable report: each report is complete, so earlier ones are not needed."""
        for line in reversed(lines):
            try:
                return Report.from_json(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if not self._garbled:
                    self._garbled = True
                    log.warning("unreadable report: %s", error, extra={"slot": self.name, "pid": self._pid})
        return None


def _in_a_line(record: logging.LogRecord) -> str:
    """Return a record's message, and the last line of its traceback if it has one, which names the exception."""
    return ": ".join([record.getMessage(), *(record.exc_text or "").strip().splitlines()[-1:]])
