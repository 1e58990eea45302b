"""The first step of a line: `wcsup gen` and `wcsup run --input` write it to the topic `lines`."""

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
"""Lines of one `produce_batch`, which all go to one partition. That is as fast as with 2,000 lines, faster than leaving
the partition of each line to librdkafka, and small enough to spread a short file over the partitions."""
RECORD_OVERHEAD = 100
"""The most bytes of a record batch with one record, without the record's value (Kafka's message format 2)."""
QUEUE_LINES = 400_000
QUEUE_KILOBYTES = 65_536
GIVE_UP_SECONDS = 120
"""How long a line may wait for brokers that do not answer."""
REPORT_SECONDS = 0.1


@dataclass(slots=True)
class FeedProgress:
    """The progress of feeding."""

    source: str = ""
    bytes_read: int = 0
    bytes_known: int | None = None
    """Bytes of all sources; none where one of them has no known end."""
    taken: int = 0
    """Lines that the producer's queue took."""
    written: int = 0
    """Lines that the brokers acknowledged."""
    unknown: int = 0
    """Lines that were sent without an answer: the brokers may have them."""
    refused: int = 0
    """Lines that are longer than the topic takes."""
    failed: int = 0
    """Lines that were read or made up, and that no broker has."""
    finished: bool = False

    def outcome(self) -> str:
        """Return in words how many lines are written, how many may be, and how many are not."""
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
    """Lets `rate` lines a second through. After a hold-up it catches up on at most one second's lines."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._due = clock()
        self.batch = max(1, min(BATCH_LINES, int(rate / 20))) if rate else BATCH_LINES
        """How many lines to let through at once: some twenty portions a second, for an even flow."""

    def delay(self, lines: int) -> float:
        """Return how many seconds to wait before the next lines may go."""
        if not self._rate:
            return 0.0
        now = self._clock()
        due = max(self._due, now - 1)
        self._due = due + lines / self._rate
        return max(0.0, due - now)


class Feeder:
    """Writes lines to `lines` in batches, to one partition after the other, at `rate` (0: as fast as possible).

    Give it lines with `text` and `files`, then call `finish`: it returns when all lines are written, or raises an error
    that says why they are not.
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
        """Lines that were read, and that the producer's queue did not take."""
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
            # A delivery report for each line would cost more than writing the line.
            delivery_report_only_error=True,
        )

    @property
    def batch(self) -> int:
        """How many lines are written at once."""
        return self._pace.batch

    def waiting(self, seconds: float) -> int:
        """Wait up to `seconds`; return how many lines are still in the producer's queue."""
        return self._producer.flush(seconds)

    def text(self, batches: Iterable[list[bytes]]) -> None:
        """Write made-up lines until they end, a stop is requested, or a line can't be delivered."""
        self._take(batches)

    def _take(self, batches: Iterable[list[bytes]]) -> int:
        """Write lines as `text` does; return how many lines of the last batch were left out."""
        for lines in batches:
            # Portions of equal size: a pipe gives 64 kB at a time, and a small remainder of each would always go to
            # the same partitions.
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
        """Wait until the producer's queue is written. A second request to stop drops the queue.

        Raises an error where some lines could not be written. `progress` has the outcome.
        """
        while self._producer.flush(REPORT_SECONDS):
            self._report()
            if self._stop.asked > 1 and not self._gave_up:
                self._gave_up = True
                self._producer.purge()  # the next `flush` reports each purged line
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
        # After a request to stop, the last line is left out, since it may be cut off.
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
        """Hand lines to the producer; return how many it had not taken when a stop was requested or a line failed."""
        self._partition = (self._partition + 1) % self._partitions
        messages: list[dict[str, Any]] = [{"value": line} for line in lines]
        while True:
            taken = self._producer.produce_batch(self._topic, messages, partition=self._partition)
            self.progress.taken += taken
            if taken == len(messages):
                return 0
            # The queue is full: the remaining lines follow as soon as the brokers have acknowledged some.
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
            progress.unknown = min(self._undelivered, self._producer.in_doubt())  # in doubt is counted before reported
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
    """The job of a feeding child process."""

    config: Config
    files: tuple[str, ...]
    rate: float = 0.0
    log_level: str = "info"

    def command(self) -> tuple[str, ...]:
        """Return the child's command line. Each file is an argument, since the length of one argument is limited."""
        return (
            *(sys.executable, "-m", "wcsup.feeding.feed"),
            *(self.config.to_json(), str(self.rate), self.log_level),
            *self.files,
        )

    @classmethod
    def from_arguments(cls, config: str, rate: str, log_level: str, *files: str) -> Self:
        """Read the arguments that `command` made."""
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
    """Stop when the supervisor is gone: it keeps the other end of standard input open as long as it lives."""
    while os.read(0, 1):  # not `sys.stdin`: the interpreter needs its lock at exit
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(FeedJob.from_arguments(*sys.argv[1:])))
