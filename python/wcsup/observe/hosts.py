"""The hosts of an application: each `wcsup run` writes its state to a topic, so that any host can show all of them.

The topic is `Config.hosts_topic`, of one partition. A record's key is the host's name, which is kept in its state
directory, and the record's value is the state, every `TELL_SECONDS`. A run that ends in order deletes its record. A
host that says nothing more is shown as silent since its last record, and forgotten after a day.

Counting does not depend on the topic: where it can't be made or written, a run says so once and goes on.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup import __version__
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, WcsupError
from wcsup.kafka import clients, failures, topics
from wcsup.kafka.reader import messages, reads_on
from wcsup.kafka.writer import Writer
from wcsup.process.times import utc
from wcsup.state.directory import StateDirectory
from wcsup.supervisor import Snapshot

log = logging.getLogger("wcsup.hosts")

TELL_SECONDS = 2.0
"""How often a run writes its state."""
SILENT_SECONDS = 3 * TELL_SECONDS + 1.0
"""How long a host may say nothing until it counts as silent."""
LISTEN_SECONDS = 2 * TELL_SECONDS + 1.0
"""How long a reader waits for a sign of life, of any host or of one."""
_FORGOTTEN_SECONDS = 60.0
"""A last record that is older than that by this machine's clock is not listened for: a start would wait for nothing."""
_READ_SECONDS = 20.0
_FAREWELL_SECONDS = 2.0
_AGAIN_SECONDS = 30.0
"""How long after a failure the topic is tried again."""
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class HostRun:
    """Which `wcsup run` wrote a state: one process of one machine."""

    machine: str
    """The machine's name, for people."""
    kernel: str
    """Tells a boot of a machine, and a container on it, from all others; empty where that can't be known."""
    pid: int
    began: float
    """When the process began, in seconds since 1970."""

    @classmethod
    def own(cls) -> Self:
        """Return that of this process."""
        return cls(socket.gethostname(), _kernel(), os.getpid(), psutil.Process().create_time())

    def has_ended(self) -> bool:
        """Return whether the process is known to have ended; false where it runs, or ran out of this one's sight."""
        if not self.kernel or self.kernel != _kernel():
            return False
        try:
            return abs(psutil.Process(self.pid).create_time() - self.began) > 1.0
        except psutil.Error:
            return True


def _kernel() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Host:
    """What one host has told of itself."""

    host: str
    """Its name, from its state directory."""
    run: HostRun
    version: str
    """The version of wcsup that runs there."""
    told: int
    """When, in milliseconds since 1970 by the broker's clock."""
    ended: str | None
    """Why its run ended, if it gave up."""
    state: Mapping[str, Any]
    """What `wcsup status --json` printed there at that time; empty where a newer version wrote it in another form."""
    address: str | None = None
    """Where it answers by HTTP, as HOST:PORT; none where other hosts can't reach it."""

    @classmethod
    def read(cls, message: Message) -> Self | None:
        """Return what a record tells; none for a host that has ended in order, and for a record of somebody else."""
        key, value = message.key(), message.value()
        if key is None or value is None:
            return None
        try:
            told = json.loads(value)
            return cls(
                key.decode(),
                HostRun(**told["run"]),
                told["version"],
                message.timestamp()[1],
                told["ended"],
                told["state"] if told["format"] == _FORMAT else {},
                told.get("address"),
            )
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def told_at(self) -> str:
        """When it told this, as ISO 8601 in UTC, by the broker's clock."""
        return utc(self.told / 1000, "seconds")

    def to_json(self, *, silent: bool) -> dict[str, Any]:
        """Return the host as `status --all --json` prints it. Of a silent host nothing is claimed to be so now."""
        return {
            "host": self.host,
            "machine": self.run.machine,
            "version": self.version,
            "silent": silent,
            "told_at": self.told_at,
            "address": self.address,
            "ended": self.ended,
            **self.state,
            **({"ready": False} if silent else {}),
        }


class Hosts:
    """Reads what the hosts tell, and follows it."""

    def __init__(self, config: Config, admin: AdminClient) -> None:
        """Find the topic; raise `ConfigurationError` where no run has made it yet."""
        listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
        if config.hosts_topic not in listed:
            raise ConfigurationError(
                f"no wcsup run has told of itself yet: topic {config.hosts_topic} does not exist, or this user may not "
                "see it (wcsup doctor --acls)"
            )
        self._config = config
        self._consumer = clients.assigned_consumer(config)
        self._consumer.assign([TopicPartition(config.hosts_topic, 0, OFFSET_BEGINNING)])
        self._known: dict[str, Host] = {}
        self._newest = 0
        """The time of the newest record, by the broker's clock."""

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def read(self) -> None:
        """Read all that was told; raise `BrokerUnreachableError` where the brokers fall silent."""
        deadline = time.monotonic() + _READ_SECONDS
        while not self._take(0.2)[1]:
            if time.monotonic() > deadline:
                raise BrokerUnreachableError(
                    f"{self._config.hosts_topic} can't be read to its end: the brokers fell silent"
                )

    def hear(self, seconds: float, of: Callable[[str], bool] = lambda _: True) -> bool:
        """Wait for the next record of a host that `of` is true for; return whether one came in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            came, _ = self._take(min(left, 0.2))
            if any(of(host) for host in came):
                return True
        return False

    def all(self, *, heard: bool) -> Iterator[tuple[Host, bool]]:
        """Yield each host, in the order of the names, and whether it is silent.

        `heard`: a record came just now, so that its time is the broker's present time. Without it nobody tells
        anything, and every host is silent.
        """
        for _, host in sorted(self._known.items()):
            yield host, not heard or host.ended is not None or self._newest - host.told > SILENT_SECONDS * 1000

    def of(self, name: str) -> Host | None:
        """Return what a host told last."""
        return self._known.get(name)

    def _take(self, seconds: float) -> tuple[list[str], bool]:
        """Take new records; return the names of the hosts that they are from, and whether the end is reached."""
        came, ended = [], False
        for message in messages(self._consumer, 1000, seconds):
            error = message.error()
            if error is None and (key := message.key()) is not None:
                name = key.decode(errors="replace")
                host = Host.read(message)
                self._newest = max(self._newest, message.timestamp()[1])
                if host is not None:
                    self._known[name] = host
                    came.append(name)
                elif message.value() is None:
                    self._known.pop(name, None)
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                ended = True
            elif error is not None and not reads_on(error):
                raise KafkaException(error)
        return came, ended


def unshared(config: Config, directory: StateDirectory) -> StateDirectory:
    """Return the state directory, with a new host's name if a run on another machine has this one.

    That is so where the directory was copied: both runs would fence each other's workers. The caller holds the
    supervisor's lock, so no run on this machine uses the directory itself. Where the topic of the hosts can't be read,
    nothing is known, and the name stays. A name that was given (`--host`) stays, too: who gives it means to fence the
    run that has it.
    """
    if config.host is not None:
        return directory
    try:
        with closing(Hosts(config, clients.admin(config))) as hosts:
            hosts.read()
            last = hosts.of(directory.host)
            if last is None or last.ended is not None or last.run.has_ended():
                return directory
            if time.time() - last.told / 1000 > _FORGOTTEN_SECONDS:
                return directory
            if not hosts.hear(LISTEN_SECONDS, lambda name: name == directory.host):
                return directory
    except (KafkaException, WcsupError) as error:
        log.debug("whether another host has this one's name is not known: %s", error)
        return directory
    renamed = directory.renamed()
    log.warning(
        "state directory %s is a copy: host %s runs on %s (pid %d). This one is host %s from now on",
        directory.path,
        directory.host,
        last.run.machine,
        last.run.pid,
        renamed.host,
    )
    return renamed


class HostTeller:
    """Writes this host's state to the topic, in a thread that ends with the `with` block."""

    def __init__(self, config: Config, host: str, address: str | None = None) -> None:
        """`address` is where other hosts can ask this one by HTTP, as HOST:PORT."""
        self._config, self._host, self._address = config, host, address
        self._run = HostRun.own()
        self._newest: Snapshot | None = None
        self._refused: KafkaError | None = None
        """Why the last record was not written."""
        self._said = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="hosts", daemon=True)
        self._last: bytes | None = None
        """What the last record is to say; none deletes the host's record."""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Tell the end: why the run gave up, or in order, which deletes the record."""
        if error is not None:
            self._last = self._entry(str(error) or type(error).__name__)
        self._end.set()
        self._thread.join(_FAREWELL_SECONDS)

    def show(self, snapshot: Snapshot) -> None:
        """Tell this snapshot from now on."""
        self._newest = snapshot

    def _work(self) -> None:
        writer: Writer | None = None
        while not self._end.is_set():
            try:
                if writer is None:
                    topics.make_hosts(self._config)
                    writer = clients.producer(
                        self._config, self._heard, message_timeout_ms=10_000, compression_type="lz4"
                    )
                if self._newest is not None:
                    self._tell(writer, self._entry(None))
                self._end.wait(TELL_SECONDS)
            except (KafkaException, WcsupError, BufferError) as error:
                self._say(str(error))
                self._end.wait(_AGAIN_SECONDS)
        if writer is not None:
            try:
                self._tell(writer, self._last)
                writer.flush(_FAREWELL_SECONDS)
            except (KafkaException, BufferError) as error:
                log.debug("this host's end was not told: %s", error)

    def _tell(self, writer: Writer, entry: bytes | None) -> None:
        writer.produce(self._config.hosts_topic, entry, self._host.encode())
        writer.poll(0)
        refused, self._refused = self._refused, None
        if refused is not None and not failures.meaning(refused).passes:
            raise KafkaException(refused)

    def _heard(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused = error

    def _entry(self, ended: str | None) -> bytes:
        state = self._newest.to_json() if self._newest else {}
        state.pop("lag", None)  # each host sees the same, and a thousand partitions are 30 kB
        state.pop("events", None)
        told = {
            "format": _FORMAT,
            "version": __version__,
            "run": asdict(self._run),
            "ended": ended,
            "address": self._address,
            "state": state,
        }
        return json.dumps(told, separators=(",", ":")).encode()

    def _say(self, why: str) -> None:
        level = logging.DEBUG if self._said else logging.WARNING
        log.log(
            level, "other hosts can't show this one, since topic %s is not written: %s", self._config.hosts_topic, why
        )
        self._said = True
