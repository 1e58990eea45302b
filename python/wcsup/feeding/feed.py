"""The first step of a line's way: into the topic `lines`, from `wcsup gen` and `wcsup run --input`."""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, ExitStatus, RetryError, WcsupError
from wcsup.feeding.sources import Refused, Splitter, StopRequest, chunks, name, size
from wcsup.kafka import clients, failures, refusals, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.refusals import About
from wcsup.kafka.rights import Right
from wcsup.process import logs

log = logging.getLogger("wcsup.feed")

BATCH_LINES = 500
"""Lines of one `produce_batch`, which all go to one partition: as fast as with 2,000, faster than leaving the
partition of each line to librdkafka, and small enough to spread a short file over the partitions."""
RECORD_OVERHEAD = 100
"""Bytes of a record batch beside its only record's value, at most (Kafka's message format 2)."""
QUEUE_LINES = 400_000
QUEUE_KILOBYTES = 65_536
GIVE_UP_SECONDS = 120
"""How long a line may wait for brokers that do not answer."""
REPORT_SECONDS = 0.1


@dataclass(slots=True)
class FeedProgress:
    """How far feeding has come."""

    source: str = ""
    bytes_read: int = 0
    bytes_known: int | None = None
    """Bytes of all sources; none where one of them has no known end."""
    taken: int = 0
    """Lines that the producer took."""
    written: int = 0
    """Lines that the brokers have."""
    unknown: int = 0
    """Lines that were sent, and no answer told what came of them: the brokers may have them."""
    refused: int = 0
    """Lines longer than the topic takes."""
    failed: int = 0
    """Lines that were read or made up, and that no broker has."""
    finished: bool = False

    def outcome(self) -> str:
        """Return in words how many lines are written, may be, and are not."""
        unknown = f", {self.unknown:,} may be (sent, and no answer came)" if self.unknown else ""
        again = "; to write all of them again would count twice what is there" if self.written or self.unknown else ""
        return f"{self.written:,} lines are written{unknown}, {self.failed:,} are not{again}"

    def to_json(self) -> str:
        """Return the progress for another process."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class RateLimit:
    """Lets `rate` lines a second through; after a hold-up it catches up with one second's lines at most."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._due = clock()
        self.batch = max(1, min(BATCH_LINES, int(rate / 20))) if rate else BATCH_LINES
        """Lines to let through at once: some twenty portions a second, so that they flow."""

    def delay(self, lines: int) -> float:
        """Return how many seconds to wait before the next lines may go."""
        if not self._rate:
            return 0.0
        now = self._clock()
        due = max(self._due, now - 1)
        self._due = due + lines / self._rate
        return max(0.0, due - now)


class Feeder:
    """Writes lines to `lines` in batches that go round the partitions, as fast as `rate` (0: as it goes).

    Give it lines with `text` and `files`, then call `finish`: only then are they all written, or an error
    raised that says why not.
    """

    def __init__(
        self,
        config: Config,
        stop: StopRequest,
        *,
        rate: float = 0.0,
        on_progress: Callable[[FeedProgress], None] = lambda _: None,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.progress = FeedProgress()
        self._stop = stop
        self._pace = RateLimit(rate)
        self._on_progress = on_progress
        self._on_refused = on_refused
        self._reported = 0.0
        self._failure: KafkaError | None = None
        self._config = config
        self._gave_up = False
        self._undelivered = 0
        self._left_out = 0
        """Lines that were read and not taken."""
        self._read_all = True
        self._topic = config.topic("lines")
        self._partitions, self._max_bytes = _limits(config)
        self._partition = time.time_ns() % self._partitions
        self._producer = clients.producer(
            config,
            self._not_delivered,
            compression_type="lz4",
            linger_ms=5,
            batch_size=1_000_000,
            message_max_bytes=self._max_bytes,
            message_timeout_ms=GIVE_UP_SECONDS * 1000,
            queue_buffering_max_messages=QUEUE_LINES,
            queue_buffering_max_kbytes=QUEUE_KILOBYTES,
            # A report for each line would cost more than writing it does.
            delivery_report_only_error=True,
        )

    @property
    def batch(self) -> int:
        """Lines that go at once."""
        return self._pace.batch

    def waiting(self, seconds: float) -> int:
        """Return how many lines that were taken are not written within so long."""
        return self._producer.flush(seconds)

    def text(self, batches: Iterable[list[bytes]]) -> None:
        """Write made-up lines until they end, the stop is asked for, or one could not be delivered."""
        self._take(batches)

    def _take(self, batches: Iterable[list[bytes]]) -> int:
        """Write lines as `text` does; return how many of the last batch were left out at the end."""
        for lines in batches:
            # Portions of equal size: from a pipe come 64 kB at a time, and a small remainder of each would
            # always go to the same partitions.
            portions = -(-len(lines) // self._pace.batch) or 1
            step = -(-len(lines) // portions) or 1
            for start in range(0, len(lines), step):
                batch = lines[start : start + step]
                if self._stop.wait(self._pace.delay(len(batch))) or self._failure:
                    return len(lines) - start
                if left := self._write(batch):
                    return left + len(lines) - start - len(batch)
            self._producer.poll(0)
            self._report()
        self._read_all = True
        return 0

    def files(self, paths: Sequence[str]) -> None:
        """Write the lines of files one after another; `-` is standard input."""
        self.progress.bytes_known = size(paths)
        self._read_all = False
        self._left_out += self._take(lines for path in paths for lines in self._lines(path))

    def finish(self) -> None:
        """Wait until what was taken is written, or the stop is asked for once more: then it is given up.

        Raises an error where some of it could not be written. `progress` says what came of it.
        """
        while self._producer.flush(REPORT_SECONDS):
            self._report()
            if self._stop.asked > 1 and not self._gave_up:
                self._gave_up = True
                self._producer.purge()  # each of them is reported now, for the next `flush`
        self.progress.finished = True
        self._report(always=True)
        if self._failure:
            raise self._error(self._failure)

    def _lines(self, path: str) -> Iterable[list[bytes]]:
        self.progress.source = name(path)
        splitter = Splitter(name(path), self._max_bytes - RECORD_OVERHEAD)
        for chunk in chunks(path, self._stop):
            self.progress.bytes_read += len(chunk)
            yield splitter.cut(chunk)
            self._say_refused(splitter.refused)
        # Where the stop was asked for, this is the line that was being read: cut off, so left out.
        if not self._stop.wait(0):
            yield splitter.end()
            self._say_refused(splitter.refused)

    def _say_refused(self, refused: list[Refused]) -> None:
        for line in refused:
            self._on_refused(
                f"{line.source}:{line.number}: the line of {line.length:,} bytes is left out: topic {self._topic} "
                f"takes {self._max_bytes:,} with overhead (max.message.bytes)"
            )
        self.progress.refused += len(refused)
        refused.clear()

    def _write(self, lines: list[bytes]) -> int:
        """Hand lines to the producer; return how many it did not take before the stop was asked for or one failed."""
        self._partition = (self._partition + 1) % self._partitions
        messages: list[dict[str, Any]] = [{"value": line} for line in lines]
        while True:
            taken = self._producer.produce_batch(self._topic, messages, partition=self._partition)
            self.progress.taken += taken
            if taken == len(messages):
                return 0
            # The queue is full: the others go in as soon as the brokers have taken some lines.
            left = [(message, message.pop("_error")) for message in messages if "_error" in message]
            messages = [message for message, error in left if error.code() == KafkaError._QUEUE_FULL]
            for _, error in left:
                if error.code() != KafkaError._QUEUE_FULL:
                    self._left_out += 1
                    self._failure = self._failure or error
            self._producer.poll(0.05)
            self._report()
            if not messages or self._failure or self._stop.wait(0):
                return len(messages)

    def _not_delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._undelivered += 1
        if not self._gave_up:
            self._failure = self._failure or error

    def _report(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            progress, waiting = self.progress, len(self._producer)
            progress.written = progress.taken - self._undelivered - waiting
            progress.unknown = min(self._undelivered, self._producer.in_doubt())  # which is told before
            progress.failed = self._left_out + self._undelivered - progress.unknown
            self._on_progress(progress)

    def _error(self, failure: KafkaError) -> WcsupError:
        unread = "" if self._read_all else f"; what follows in {self.progress.source} was not read"
        outcome = f"{self.progress.outcome()}{unread}"
        if failure.code() == KafkaError._MSG_TIMED_OUT:
            patience = f"within message.timeout.ms ({GIVE_UP_SECONDS} s by default)"
            return BrokerUnreachableError(f"no broker took lines {patience}: {outcome}")
        if failures.meaning(failure) is Failure.REFUSED:
            about = About(self._topic, rights=[Right("topic", self._topic, "WRITE")])
            return ConfigurationError(f"{refusals.refused(self._config, failure, about)}: {outcome}")
        return RetryError(f"{failure.str()}: {outcome}")


def _limits(config: Config) -> tuple[int, int]:
    """Return how many partitions `lines` has and the largest record batch that it takes, in bytes."""
    admin = clients.admin(config)
    topic = config.topic("lines")
    found = clients.unreachable(config, lambda: admin.list_topics(topic, timeout=clients.REACH_SECONDS)).topics[topic]
    if found.error is not None:
        raise ConfigurationError(f"topic {topic}: {found.error.str()}; wcsup run makes it")
    entries = topics.configs(admin, config, ["lines"])["lines"]
    return len(found.partitions), int(entries["max.message.bytes"] or 0)


@dataclass(frozen=True, slots=True)
class FeedJob:
    """What a feeding child process is to do."""

    config: Config
    files: tuple[str, ...]
    rate: float = 0.0
    log_level: str = "info"

    def command(self) -> tuple[str, ...]:
        """Return the command line of the child; each file is an argument, since the length of one is limited."""
        return (
            *(sys.executable, "-m", "wcsup.feeding.feed"),
            *(self.config.to_json(), str(self.rate), self.log_level),
            *self.files,
        )

    @classmethod
    def from_arguments(cls, config: str, rate: str, log_level: str, *files: str) -> Self:
        """Read what `command` ends with."""
        return cls(Config.from_json(config), files, float(rate), log_level)


def main(job: FeedJob) -> ExitStatus:
    """Feed files as a supervisor's child: progress as JSON lines on standard output, logs on standard error."""
    logs.configure("feed", "json", job.log_level)
    stop = StopRequest()
    signal.signal(signal.SIGTERM, stop.set)
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        feeder = Feeder(
            job.config,
            stop,
            rate=job.rate,
            on_progress=lambda progress: print(progress.to_json(), flush=True),
            on_refused=log.warning,
        )
        try:
            feeder.files(job.files)
        finally:
            feeder.finish()
    except WcsupError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is made for users
        return error.status
    except KafkaException as error:
        log.error("%s", error.args[0].str())  # noqa: TRY400
        return ExitStatus.RETRY
    except BrokenPipeError:
        return ExitStatus.ORPHANED
    log.info("%s lines written", f"{feeder.progress.written:,}")
    return ExitStatus.DONE


def _stop_at_end_of_input(stop: StopRequest) -> None:
    """Stop when the supervisor is gone: it holds the other end of standard input as long as it lives."""
    while os.read(0, 1):  # not by sys.stdin, whose lock the interpreter wants at its end
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(FeedJob.from_arguments(*sys.argv[1:])))
