"""Start, find and stop the broker, or the cluster, of a data directory."""

import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wcsup.broker import jars, java, pinned, ports, process, recovery, settings
from wcsup.broker import nodes as cluster
from wcsup.broker.locking import exclusive
from wcsup.broker.nodes import Node, Plan
from wcsup.broker.process import Kafka
from wcsup.broker.readiness import await_ready
from wcsup.broker.record import Record, resolve
from wcsup.broker.security import Security, check_user
from wcsup.broker.settings import OAuth
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
    """A running embedded broker, or a cluster of which at least one node runs."""

    bootstrap: str
    """Its address, for --bootstrap-servers; of a cluster those of all nodes."""
    pid: int
    """Of a cluster that of the first node that runs."""
    version: str
    data: Path
    log: Path
    started: float
    """When, in seconds of time.time()."""
    nodes: tuple[Node, ...] = ()
    """All nodes of a cluster; none of a single broker."""
    security: Security | None = None
    """Users and certificates; none where the broker lets everybody in."""


def start(
    data: Path,
    *,
    port: int | None = None,
    heap: str | None = None,
    nodes: int | None = None,
    secure: Config | None = None,
    oauth: OAuth | None = None,
    quiet: bool = False,
) -> Broker:
    """Start the broker of `data`, or find it running; return when it serves.

    Without `port` it is the port that it had before, or a free one where it had none or somebody else has it now.
    Of `nodes` there are 1 or 3; without a number as many as the directory has, and 1 in a new one.

    With `secure` it is a secured broker, on which the application of that configuration has a user, and
    which takes the tokens of `oauth`, too. Without `secure` it is what it was before. What was unusual, and a first
    fetch of the jars, is said on standard error unless `quiet`.

    Raises UsageError for a heap size that Java can't read; ConfigurationError for something that the user has to fix
    first (Java, the `broker` extra, a taken `port`, the directory); BrokerUnreachableError, quoting the log, where the
    broker ended or does not answer.
    """
    if heap is not None and not re.fullmatch(r"\d+[kmgKMG]", heap):
        raise UsageError(f"heap {heap!r} is not a size: give a number with k, m or g, such as 512m")
    data = resolve(data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        with exclusive(data / _LOCK):
            there = _there(data, nodes)
            security = _security(data, there or nodes or 1, secure, new=not there)
            if security is not None and oauth is not None:
                security = _with_tokens(security, oauth)
            plan = Plan.read(data)
            if plan is None and nodes == cluster.COUNT:
                plan = Plan.make(data)
            if plan is None:
                started = _start(data, port, heap or DEFAULT_HEAP, security, quiet=quiet)
            else:
                if port is not None:
                    raise UsageError("three nodes have three ports, which they choose by themselves: leave --port out")
                with _shown(f"starting {cluster.COUNT} nodes of Apache Kafka {pinned.KAFKA_VERSION}", quiet=quiet):
                    cluster.start(data, plan, security, heap=heap or cluster.DEFAULT_HEAP, quiet=quiet)
                started = _cluster(data, plan)
            if security is not None:
                security.write_clients(started.bootstrap)
                if secure is not None:
                    from wcsup.broker import users

                    users.admit(security, replace(secure, bootstrap_servers=started.bootstrap))
            return started
    except OSError as error:
        raise _unusable(data, error) from error


def _there(data: Path, nodes: int | None) -> int:
    """Return how many nodes the directory is of, 0 for a new one; raise where that is another number than `nodes`."""
    there = 1 if Record.read(data) else cluster.COUNT if Plan.read(data) else 0
    if nodes is not None and there not in {0, nodes}:
        raise ConfigurationError(
            f"the embedded Kafka of {data} has {there} node{'s' if there > 1 else ''}, not {nodes}: leave --nodes out, "
            "or choose another --data-dir"
        )
    return there


def _security(data: Path, nodes: int, application: Config | None, *, new: bool) -> Security | None:
    """Return what secures the directory's broker, made where `application` is to have a user; none for an open one."""
    security = Security.read(data)
    if application is None:
        return security
    check_user(application.app_id)
    if security is None or (new and len(security.tls_ports) != nodes):
        if not new:
            raise ConfigurationError(
                f"the embedded Kafka of {data} was made without --secure, and lets everybody in: choose another "
                "--data-dir for a secured one"
            )
        security = Security.make(data, nodes)
    return security.with_user(application.app_id)


def _with_tokens(security: Security, oauth: OAuth) -> Security:
    """Return the same with tokens taken from the next start on."""
    made = replace(security, oauth=oauth)
    if made != security:
        if status(security.data) is not None:
            raise ConfigurationError(
                f"the embedded Kafka of {security.data} runs with other --oauth-… options, or none: stop it first"
            )
        made.write()
    return made


def stop(data: Path, *, node: int | None = None) -> bool:
    """Stop the broker of `data`, or one `node` of a cluster, and wait for its end; return whether any was running.

    Raises UsageError for a node that there is not.
    """
    data = resolve(data)
    plan = Plan.read(data)
    if node is not None and (plan is None or node > cluster.COUNT):
        raise UsageError(f"the embedded Kafka of {data} has no node {node}")
    if plan is None and Record.read(data) is None:
        return False
    try:
        with exclusive(data / _LOCK):
            if plan is not None:
                return cluster.stop(data, plan, node)
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
    if (plan := Plan.read(data)) is not None:
        return _cluster(data, plan) if any(node.pid for node in cluster.find(data, plan)) else None
    record = Record.read(data)
    return _broker(data, record) if record and record.alive(data) else None


def has_data(data: Path) -> bool:
    """Return whether a broker, or a cluster, was ever started in `data`."""
    return Record.read(resolve(data)) is not None or Plan.read(resolve(data)) is not None


def ensure(config: Config, *, quiet: bool = False) -> str:
    """Return the bootstrap servers of `config`; if it names none, start its embedded broker.

    Says on standard error, unless `quiet`, that the broker was started and how to stop it. Raises what `start` raises.
    """
    if config.bootstrap_servers:
        return config.bootstrap_servers
    if config.kafka_config is None and (locked := locked_out(config)):
        raise ConfigurationError(locked)
    before = status(config.data)
    if before is not None and before.nodes:
        return before.bootstrap  # a node that is gone stays so: somebody may be trying what happens then
    broker = start(config.data, quiet=quiet)
    if not quiet and (before is None or before.pid != broker.pid):
        option = f" --data-dir {config.data}" if config.data_dir else ""
        _say(
            f"started Apache Kafka {broker.version} at {broker.bootstrap} with its data in {broker.data}; "
            f"`wcsup broker stop{option}` stops it"
        )
    return broker.bootstrap


def locked_out(config: Config) -> str | None:
    """Return what is to be done where the embedded broker is a secured one, which takes no client without settings."""
    security = Security.read(resolve(config.data))
    if security is None:
        return None
    file = shlex.quote(str(security.client_file(config.app_id)))
    if config.app_id in security.users:
        return f"the embedded Kafka of {config.data} is secured: come in with --kafka-config {file}"
    return (
        f"the embedded Kafka of {config.data} is secured, and has no user for {config.app_id}: wcsup broker start "
        f"--secure --app-id {config.app_id} makes one"
    )


def _start(data: Path, port: int | None, heap: str, security: Security | None, *, quiet: bool) -> Broker:
    """Do what `start` says, holding the directory's lock."""
    last = Record.read(data)
    if last and last.alive(data):
        if port not in {None, last.port}:
            raise ConfigurationError(f"the embedded Kafka of {data} runs already, at port {last.port}: stop it first")
        if _serves(data, last, security):
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
    controller_port = ports.find_free(but=chosen)
    more, options = "", list[str]()
    if security is not None:
        if not ports.comes_free(tls_port := security.tls_ports[0]):
            raise ConfigurationError(
                f"port {tls_port}, at which the embedded Kafka takes certificates, is taken{ports.owner(tls_port)}: "
                "end what has it, or choose another --data-dir"
            )
        more = security.server(data, 1, port=chosen, controller_port=controller_port)
        options = security.java_options()
    if not quiet:
        for note in notes:
            _say(note)
    kafka = Kafka(data, java.find(), jars.fetch(quiet=quiet))
    was_killed = recovery.was_killed(kafka)  # before a new log directory is made, which is clean
    process.prepare(kafka)
    if was_killed:
        recovery.forget_killed(kafka, security)
    pid = process.spawn(kafka, port=chosen, controller_port=controller_port, heap=heap, more=more, options=options)
    record = Record(port=chosen, version=pinned.KAFKA_VERSION, started=time.time(), pid=pid)
    record.write(data)
    with _shown(f"starting Apache Kafka {pinned.KAFKA_VERSION}", quiet=quiet):
        serves = _serves(data, record, security)
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


def _serves(data: Path, record: Record, security: Security | None) -> bool:
    """Wait until the broker of `record` serves; return False where it ended instead."""
    deadline = time.monotonic() + _START_SECONDS
    asked, tls = (security.tls_ports[0], security.context()) if security else (record.port, None)
    if await_ready(asked, deadline=deadline, running=lambda: record.present(data), tls=tls):
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
        security=Security.read(data),
    )


def _cluster(data: Path, plan: Plan) -> Broker:
    nodes = cluster.find(data, plan)
    first = next((node for node in nodes if node.pid), nodes[0])
    record = Record.read(first.data)
    return Broker(
        bootstrap=plan.bootstrap,
        pid=first.pid or 0,
        version=record.version if record else pinned.KAFKA_VERSION,
        data=data,
        log=first.data / settings.LOG_FILE,
        started=record.started if record else 0.0,
        nodes=tuple(nodes),
        security=Security.read(data),
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
