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

from wcsup import logs
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, ExitStatus, RetryError, WcsupError
from wcsup.kafka import clients, failures, refusals, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.refusals import About
from wcsup.kafka.rights import Right
from wcsup.sources import Refused, Splitter, Stop, chunks, name, size

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
class Progress:
    """How far feeding has come."""

    source: str = ""
    bytes_read: int = 0
    bytes_known: int | None = None
    """Bytes of all sources; none where one of them has no known end."""
    taken: int = 0
    """Lines handed to the producer."""
    written: int = 0
    """Lines that the brokers have."""
    refused: int = 0
    """Lines longer than the topic takes."""
    failed: int = 0
    """Lines that were taken and did not arrive."""
    finished: bool = False

    def to_json(self) -> str:
        """Return the progress for another process."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class Pace:
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
        stop: Stop,
        *,
        rate: float = 0.0,
        on_progress: Callable[[Progress], None] = lambda _: None,
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.progress = Progress()
        self._stop = stop
        self._pace = Pace(rate)
        self._on_progress = on_progress
        self._on_refused = on_refused
        self._reported = 0.0
        self._failure: KafkaError | None = None
        self._config = config
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

    @property
    def waiting(self) -> int:
        """Lines that were taken and are not written yet."""
        return len(self._producer)

    def text(self, batches: Iterable[list[bytes]]) -> None:
        """Write lines until they end, the stop is asked for, or one could not be delivered."""
        for lines in batches:
            # Portions of equal size: from a pipe come 64 kB at a time, and a small remainder of each would
            # always go to the same partitions.
            portions = -(-len(lines) // self._pace.batch) or 1
            step = -(-len(lines) // portions) or 1
            for start in range(0, len(lines), step):
                batch = lines[start : start + step]
                if self._stop.wait(self._pace.delay(len(batch))) or self._failure:
                    return
                self._write(batch)
            self._producer.poll(0)
            self._report()

    def files(self, paths: Sequence[str]) -> None:
        """Write the lines of files one after another; `-` is standard input."""
        self.progress.bytes_known = size(paths)
        self.text(lines for path in paths for lines in self._lines(path))

    def finish(self) -> None:
        """Wait until what was taken is written; raise an error where some of it could not be."""
        while self._producer.flush(REPORT_SECONDS):
            self._report()
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

    def _write(self, lines: list[bytes]) -> None:
        self._partition = (self._partition + 1) % self._partitions
        messages: list[dict[str, Any]] = [{"value": line} for line in lines]
        while True:
            taken = self._producer.produce_batch(self._topic, messages, partition=self._partition)
            self.progress.taken += taken
            if taken == len(messages):
                return
            # The queue is full: the others go in as soon as the brokers have taken some lines.
            left = [(message, message.pop("_error")) for message in messages if "_error" in message]
            messages = [message for message, error in left if error.code() == KafkaError._QUEUE_FULL]
            for _, error in left:
                if error.code() != KafkaError._QUEUE_FULL:
                    self.progress.failed += 1
                    self._failure = self._failure or error
            self._producer.poll(0.05)
            self._report()
            if not messages or self._failure or self._stop.wait(0):
                return

    def _not_delivered(self, error: KafkaError | None, _message: Message) -> None:
        self.progress.taken -= 1
        self.progress.failed += 1
        self._failure = self._failure or error

    def _report(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= REPORT_SECONDS:
            self._reported = now
            self.progress.written = self.progress.taken - len(self._producer)
            self._on_progress(self.progress)

    def _error(self, failure: KafkaError) -> WcsupError:
        lost = f"{self.progress.failed:,} lines were not written after {self.progress.written:,} that were"
        if failure.code() == KafkaError._MSG_TIMED_OUT:
            return BrokerUnreachableError(f"{lost}: no broker took them for {GIVE_UP_SECONDS} s")
        if failures.meaning(failure) is Failure.REFUSED:
            about = About(self._topic, rights=[Right("topic", self._topic, "WRITE")])
            return ConfigurationError(f"{lost}: {refusals.refused(self._config, failure, about)}")
        return RetryError(f"{lost}: {failure.str()}")


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
            *(sys.executable, "-m", "wcsup.feed"),
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
    stop = Stop()
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


def _stop_at_end_of_input(stop: Stop) -> None:
    """Stop when the supervisor is gone: it holds the other end of standard input as long as it lives."""
    while os.read(0, 1):  # not by sys.stdin, whose lock the interpreter wants at its end
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main(FeedJob.from_arguments(*sys.argv[1:])))
