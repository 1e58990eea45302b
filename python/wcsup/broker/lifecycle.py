"""Start, find and stop the broker of a data directory."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wcsup.broker import jars, java, pinned, ports, process, recovery, settings
from wcsup.broker.locking import exclusive
from wcsup.broker.process import Kafka
from wcsup.broker.readiness import await_ready
from wcsup.broker.record import Record, resolve
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, UsageError

DEFAULT_HEAP = "512m"
_START_SECONDS = 120.0
"""The longest wait for a living broker: after a kill it first reads through its open segments."""
_STOP_SECONDS = 30.0
_PAUSE = 0.02
_LOCK = "broker.lock"
_TO_BE_PUT_RIGHT = re.compile("using this directory|meta.properties|in use|heap|object space|options? ")
"""Reasons of Kafka and Java that would make the next start fail, too."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A running embedded broker."""

    bootstrap: str
    """The broker's address, for --bootstrap-servers."""
    pid: int
    version: str
    data: Path
    log: Path
    started: float
    """When the broker was started, in seconds of time.time()."""


def start(data: Path, *, port: int | None = None, heap: str = DEFAULT_HEAP, quiet: bool = False) -> Broker:
    """Start the broker of `data`, or find it running; return when it serves.

    Without `port` the broker gets its last port again; if it had none, or another process has it now, a free one.
    Unusual events, and a first fetch of the jars, are reported on standard error unless `quiet`.

    Raises UsageError for a heap size that Java can't read; ConfigurationError for something that the user has to fix
    first (Java, the `broker` extra, a taken `port`, the directory); BrokerUnreachableError, quoting the log, where the
    broker ended or does not answer.
    """
    if not re.fullmatch(r"\d+[kmgKMG]", heap):
        raise UsageError(f"heap {heap!r} is not a size: give a number with k, m or g, such as 512m")
    data = resolve(data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        with exclusive(data / _LOCK):
            return _start(data, port, heap, quiet=quiet)
    except OSError as error:
        raise _unusable(data, error) from error


def stop(data: Path) -> bool:
    """Stop the broker of `data`, and wait until it has ended; return whether one was running."""
    data = resolve(data)
    if Record.read(data) is None:
        return False
    try:
        with exclusive(data / _LOCK):
            record = Record.read(data)
            if record is None or record.pid is None or not record.alive(data):
                return False
            process.end(record.pid, lambda: record.present(data), patience=_STOP_SECONDS)
            record.stopped().write(data)
            return True
    except OSError as error:
        raise _unusable(data, error) from error


def status(data: Path) -> Broker | None:
    """Return the broker of `data` if its process lives. The broker may still be starting."""
    data = resolve(data)
    record = Record.read(data)
    return _broker(data, record) if record and record.alive(data) else None


def ensure(config: Config, *, quiet: bool = False) -> str:
    """Return the bootstrap servers of `config`; if it names none, start its embedded broker.

    Says on standard error, unless `quiet`, that the broker was started and how to stop it. Raises what `start` raises.
    """
    if named := config.bootstrap_servers or _named_in_file(config):
        return named
    before = status(config.data)
    broker = start(config.data, quiet=quiet)
    if not quiet and (before is None or before.pid != broker.pid):
        option = f" --data-dir {config.data}" if config.data_dir else ""
        _say(
            f"started Apache Kafka {broker.version} at {broker.bootstrap} with its data in {broker.data}; "
            f"`wcsup broker stop{option}` stops it"
        )
    return broker.bootstrap


def _named_in_file(config: Config) -> str | None:
    if config.kafka_config is None:
        return None
    from wcsup.kafka import clients

    return clients.read_properties(config).get("bootstrap.servers")


def _start(data: Path, port: int | None, heap: str, *, quiet: bool) -> Broker:
    """Do what `start` says, holding the directory's lock."""
    last = Record.read(data)
    if last and last.alive(data):
        if port not in {None, last.port}:
            raise ConfigurationError(f"the embedded Kafka of {data} runs already, at port {last.port}: stop it first")
        if _serves(data, last):
            return _broker(data, last)
    _check_version(data, last)
    deadline = time.monotonic() + _STOP_SECONDS
    while last and last.present(data) and time.monotonic() < deadline:
        time.sleep(_PAUSE)  # the old broker is ending: a start now would find the port taken and the data locked
    notes = []
    if last and last.pid is not None:
        reason, file = process.reason_of_end(data)
        notes.append(
            f"the embedded Kafka had crashed ({reason}; see {file}.previous): it is started again with its data"
        )
    chosen = _choose_port(port, last, notes)
    if not quiet:
        for note in notes:
            _say(note)
    kafka = Kafka(data, java.find(), jars.fetch(quiet=quiet))
    process.prepare(kafka)
    if recovery.was_killed(kafka):
        recovery.forget_killed(kafka)
    pid = process.spawn(kafka, port=chosen, heap=heap)
    record = Record(port=chosen, version=pinned.KAFKA_VERSION, started=time.time(), pid=pid)
    record.write(data)
    with _shown(f"starting Apache Kafka {pinned.KAFKA_VERSION}", quiet=quiet):
        serves = _serves(data, record)
    if not serves:
        record.stopped().write(data)  # the error below reports it, so the next start need not report a crash
        reason, file = process.reason_of_end(data)
        kind = ConfigurationError if _TO_BE_PUT_RIGHT.search(reason) else BrokerUnreachableError
        raise kind(f"the embedded Kafka ended: {reason}; see {file}")
    process.make_archive(kafka)
    return _broker(data, record)


def _choose_port(wanted: int | None, last: Record | None, notes: list[str]) -> int:
    """Return the port to listen at: the last one if possible, since clients of an earlier run still know it."""
    if wanted is not None:
        if not ports.comes_free(wanted):
            raise ConfigurationError(f"port {wanted} is taken{ports.owner(wanted)}: choose another --port")
        return wanted
    if last is None:
        return ports.find_free()
    if ports.comes_free(last.port):
        return last.port
    chosen = ports.find_free()
    notes.append(
        f"port {last.port}, which the embedded Kafka had, is taken{ports.owner(last.port)}: it is {chosen} now"
    )
    return chosen


def _check_version(data: Path, last: Record | None) -> None:
    """Refuse data of a newer Kafka, whose format this one may not know."""
    if last and _numbers(last.version) > _numbers(pinned.KAFKA_VERSION):
        raise ConfigurationError(
            f"{data} was used by Kafka {last.version}, this is {pinned.KAFKA_VERSION}: choose another --data-dir"
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _serves(data: Path, record: Record) -> bool:
    """Wait until the broker of `record` serves; return False where it ended instead."""
    deadline = time.monotonic() + _START_SECONDS
    if await_ready(record.port, deadline=deadline, running=lambda: record.present(data)):
        return True
    if record.present(data):
        raise BrokerUnreachableError(
            f"the embedded Kafka (pid {record.pid}) does not answer at port {record.port}: "
            f"see {data / settings.LOG_FILE}; `wcsup broker stop` ends it"
        )
    return False


def _unusable(data: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the embedded Kafka can't use {error.filename or data} ({error.strerror}): choose another --data-dir"
    )


def _broker(data: Path, record: Record) -> Broker:
    return Broker(
        bootstrap=f"127.0.0.1:{record.port}",
        pid=record.pid or 0,
        version=record.version,
        data=data,
        log=data / settings.LOG_FILE,
        started=record.started,
    )


@contextmanager
def _shown(what: str, *, quiet: bool) -> Iterator[None]:
    """Show on a terminal what the `with` block waits for; show nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # imported late: the import takes longer than finding a running broker

    with Console(stderr=True).status(what):
        yield


def _say(line: str) -> None:
    print(f"wcsup: {line}", file=sys.stderr)
