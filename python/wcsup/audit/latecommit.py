"""`wcsup chaos --late-commit`: a commit request that arrives late, and what it does to a loop of the textbooks.

A round gives twelve lines to two programs, four at a time. A proxy keeps back the request that commits the first four,
and breaks the connection that it came by. The client sends it again, and that one succeeds. Then the next transaction
is begun, and the first request reaches the broker in the middle of it.

The two programs are the loop of `wcsup.audit.textbook`, and a mapper and a reducer of wcsup. wcsup's mapper is killed
right after the late request has arrived, when what the request may have committed can't be taken back any more.

librdkafka speaks version 1 of the transaction protocol, in which all transactions of a producer have the same epoch
(librdkafka#5423, KIP-890). docs/how/late-commit.md explains what follows.
"""

import secrets
import signal
import struct
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from wcsup.audit.proxy import Api, Proxy, Trap
from wcsup.audit.textbook import BATCH, consume_process_produce
from wcsup.audit.verify import verify
from wcsup.broker import ports
from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import application, clients, groups, progress, topics
from wcsup.pipeline.report import Job, Role
from wcsup.supervisor.processes import WORKER, Child, start_worker

LINES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo", "lima")
_FIRST, _NEXT, _LAST = LINES[:BATCH], LINES[BATCH : 2 * BATCH], LINES[2 * BATCH :]
ROUNDS = BATCH
"""In so many rounds the late request arrives once at each moment of the next transaction: after its first line, …"""
_HERE = "127.0.0.1"
_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_DRAIN_SECONDS = 10.0
_FLEXIBLE = 3
"""From this version on, the header of an answer to EndTxn has tagged fields (KIP-482)."""
_SAFE = 5
"""From this version on, each transaction of a producer has an epoch of its own (KIP-890)."""

_QUESTION = b"\x7f\xff\xff\xff"
"""The generation in the offsets by which a worker asks who has its name (`wcsup.pipeline.transaction.outdated`)."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Late:
    """The late request, and what the broker answered."""

    version: int
    error: KafkaError | None

    @classmethod
    def of(cls, trap: Trap) -> "Late":
        """Let the request go, and wait for its answer."""
        trap.release()
        answer = trap.wait_answered()
        _throttled, code = struct.unpack_from(">ih", answer, 1 if trap.version >= _FLEXIBLE else 0)
        return cls(trap.version, KafkaError(code) if code else None)

    def text(self) -> str:
        """Say what became of it."""
        if self.error is None:
            return "the late request arrives: Kafka takes it, and commits what the open transaction has so far"
        return f"the late request arrives: Kafka refuses it ({self.error.name()})"


@dataclass(slots=True)
class LateCommitReport:
    """How many rounds each of the two programs came through."""

    rounds: int = 0
    textbook_wrong: int = 0
    wcsup_wrong: int = 0
    version: int = 0
    """Of the late request, EndTxn, as the client sent it."""

    def text(self) -> str:
        """Return two lines."""
        return (
            f"of {self.rounds} rounds, the textbook loop was wrong in {self.textbook_wrong}, "
            f"wcsup in {self.wcsup_wrong}\n"
            f"the client's commit requests (EndTxn) have version {self.version}; Kafka refuses late ones from version "
            f"{_SAFE} on (KIP-890)"
        )


def port_of_single_broker(config: Config) -> int:
    """Return the port of the broker; raise `ConfigurationError` where it is none that the proxy can stand before."""
    if "SSL" not in clients.read_properties(config).get("security.protocol", "").upper():
        brokers = list(clients.admin(config).list_topics(timeout=clients.REACH_SECONDS).brokers.values())
        if [broker.host for broker in brokers] == [_HERE]:
            return int(brokers[0].port)
    raise ConfigurationError(
        f"--late-commit holds back requests to a single broker on this machine ({_HERE}), without TLS: leave "
        "--bootstrap-servers and --kafka-config out, and it takes the embedded Kafka of --data-dir"
    )


def differences(wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    """Say of each line how often it is there, unless it is there once."""
    counts = Counter(found)
    numbers = {0: "missing", 2: "twice"}
    return [f"{line} {numbers.get(counts[line], f'{counts[line]} times')}" for line in wanted if counts[line] != 1]


class LateCommit:
    """Shows the two programs to the user, on topics of its own."""

    def __init__(self, config: Config, say: Say = lambda _: None, command: Sequence[str] = WORKER) -> None:
        """`config` names a broker that answers. `command` starts a worker of wcsup."""
        self._config, self._say, self._command = config, say, command
        self._inside = port_of_single_broker(config)
        self._name = f"late-commit-{secrets.token_hex(4)}"

    def run(self, rounds: int = ROUNDS) -> LateCommitReport:
        """Show it again and again; delete all that was made for it. Raises `RetryError` where something hangs."""
        report = LateCommitReport()
        with closing(Proxy(ports.find_free(), self._inside)) as proxy:
            for number in range(rounds):
                moment = number % BATCH + 1
                self._say(f"round {number + 1} of {rounds}")
                config = replace(
                    self._config,
                    app_id=f"{self._name}-{number}",
                    topic_prefix=f"{self._name}-{number}.",
                    partitions=1,
                    replication=1,
                )
                self._say("  the textbook loop")
                textbook = _Textbook(config, proxy, self._tell)
                report.textbook_wrong += not textbook.run(moment)
                report.version = textbook.version
                self._say("  wcsup")
                report.wcsup_wrong += not _Wcsup(config, proxy, self._tell, self._command).run()
                report.rounds += 1
        return report

    def _tell(self, text: str) -> None:
        self._say(f"    {text}")


class _Textbook:
    """One round of the loop."""

    def __init__(self, config: Config, proxy: Proxy, say: Say) -> None:
        self._config, self._proxy, self._say = config, proxy, say
        self._admin = clients.admin(config)
        self._source, self._target = (f"{config.topic_prefix}textbook-{end}" for end in ("input", "output"))
        self._name = f"{config.app_id}-textbook"
        self._ended = threading.Event()
        self.version = 0

    def run(self, moment: int) -> bool:
        """Return whether each line is in the output once.

        `moment` is after how many lines of the next transaction the late request arrives.
        """
        with ExitStack() as during:
            during.enter_context(_made(self._admin, [self._source, self._target], self._name))
            output = during.enter_context(_output(self._config, self._target))
            loop = threading.Thread(target=self._loop, name="textbook")
            loop.start()
            during.callback(loop.join)
            during.callback(self._ended.set)
            during.callback(self._proxy.let_go)
            return self._round(moment, output)

    def _round(self, moment: int, output: "_Output") -> bool:
        late = self._proxy.hold_request(Api.END_TXN)
        self._feed(_FIRST)
        _wait_for("the loop commits", late.sprung.is_set)
        _wait_for("it commits again", lambda: output.has(_FIRST))
        self._say(f"{' '.join(_FIRST)}: its connection breaks during the commit; it is sent again, and succeeds")
        middle = self._proxy.hold_answer(Api.TXN_OFFSET_COMMIT)
        for line in _NEXT[:moment]:
            end = _end_of(self._admin, self._target)
            self._feed([line])
            _wait_for("the loop writes", partial(self._wrote, end))
        if moment == BATCH:
            _wait_for("the loop sends offsets", middle.sprung.is_set)
        offsets = " with their offsets" if moment == BATCH else ""
        self._say(f"{' '.join(_NEXT[:moment])}: written{offsets}, not committed yet")
        arrived = Late.of(late)
        self.version = arrived.version
        self._say(arrived.text())
        self._proxy.disarm(middle)
        self._feed([*_NEXT[moment:], *_LAST])
        _wait_for("all is committed", lambda: output.has(_LAST[-1:]))
        wrong = differences(LINES, output.lines)
        self._say(f"committed in the end: {' '.join(output.lines)}")
        self._say(f"WRONG: {', '.join(wrong)}" if wrong else "right: each line once")
        return not wrong

    def _loop(self) -> None:
        """Run the loop, and start it again where it ends with an error, as whoever runs a service would."""
        settings = {
            "bootstrap.servers": self._proxy.address,
            "logger": clients.log,
            **clients.read_properties(self._config),
        }
        while not self._ended.is_set():
            try:
                consume_process_produce(
                    settings, self._name, self._source, self._target, on_abort=self._say_abort, ended=self._ended
                )
            except KafkaException as failed:
                self._say(f"the loop ends with {failed.args[0].name()}, and is started again")

    def _say_abort(self, error: KafkaError) -> None:
        self._say(f"the loop is told {error.name()}: it aborts, and goes back to the committed offsets")

    def _feed(self, lines: Sequence[str]) -> None:
        _write(self._config, self._source, lines)

    def _wrote(self, since: int) -> bool:
        return _end_of(self._admin, self._target) > since


class _Wcsup:
    """One round of wcsup."""

    def __init__(self, config: Config, proxy: Proxy, say: Say, command: Sequence[str]) -> None:
        self._config, self._proxy, self._say, self._command = config, proxy, say, command
        self._admin = clients.admin(config)
        self._children: dict[Role, Child] = {}

    def run(self) -> bool:
        """Return whether each line was counted once."""
        with tempfile.TemporaryDirectory(prefix="wcsup-late-commit-") as state:
            self._config = replace(self._config, state_dir=Path(state))
            try:
                application.prepare(self._config)
                return self._round()
            finally:
                self._proxy.let_go()
                self._end_workers()
                topics.delete(self._admin, self._config)
                groups.await_no_members(self._admin, self._config, lambda _: None)
                groups.delete(self._admin, self._config)

    def _round(self) -> bool:
        self._start("reduce")
        self._start("map")
        late = self._proxy.hold_request(Api.END_TXN)
        self._feed(_FIRST)
        self._wait_for("the mapper commits", late.sprung.is_set)
        self._wait_for("it commits again", self._all_counted)
        self._say(f"{' '.join(_FIRST)}: its connection breaks during the commit; it is sent again, and succeeds")
        # Offsets that go along with the output; a mapper that replaces its producer sends others before.
        offsets = self._proxy.delay_request(Api.TXN_OFFSET_COMMIT, unlike=_QUESTION)
        words = self._config.topic("words")
        end = _end_of(self._admin, words)
        self._feed(_NEXT)
        self._wait_for("the mapper writes", lambda: offsets.sprung.is_set() and _end_of(self._admin, words) > end)
        self._say(f"{' '.join(_NEXT)}: written, not committed yet")
        self._say(Late.of(late).text())
        self._children["map"].close()
        self._proxy.disarm(offsets)
        self._start("map")
        self._say("the mapper is killed, and another one is started")
        self._feed(_LAST)
        self._wait_for("all is counted", self._all_counted)
        verdict = verify(self._config)
        exact = verdict.exact and verdict.words == len(LINES)
        for line in [f"exact: {verdict.lines} lines, each counted once"] if exact else verdict.text().splitlines():
            self._say(line.strip())
        return exact

    def _start(self, role: Role) -> None:
        """Start a worker; the mapper is behind the proxy."""
        config = self._config
        if role == "map":
            config = replace(config, bootstrap_servers=self._proxy.address)
        child = self._children[role] = start_worker(self._command)
        child.assign(Job(role, "0", config, child.report_fd, "error"))

    def _wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait, and do meanwhile what a supervisor does: read what workers say, and replace those that end."""

        def tended() -> bool:
            for role, child in self._children.items():
                child.logs.read()
                child.reports.read()
                if child.poll() is not None:
                    child.close()
                    self._start(role)
            return holds()

        _wait_for(what, tended)

    def _all_counted(self) -> bool:
        lag = progress.lag(self._admin, self._config)
        return lag.lines == lag.words == 0

    def _feed(self, lines: Sequence[str]) -> None:
        _write(self._config, self._config.topic("lines"), lines)

    def _end_workers(self) -> None:
        """End the workers, which leave their groups; kill them if that takes long."""
        for child in self._children.values():
            child.send(signal.SIGINT)
        deadline = time.monotonic() + _DRAIN_SECONDS
        while any(child.poll() is None for child in self._children.values()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        for child in self._children.values():
            child.close()


class _Output:
    """The committed lines of the loop's output, in the loop's spelling of the input."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self.lines: list[str] = []

    def has(self, lines: Sequence[str]) -> bool:
        """Read on; return whether the last lines are there now."""
        for message in self._consumer.consume(1000, _LOOK_SECONDS):
            if message.error() is None:
                self.lines.append((message.value() or b"").decode().lower())
        return set(lines) <= set(self.lines)


@contextmanager
def _output(config: Config, topic: str) -> Iterator[_Output]:
    with closing(clients.assigned_consumer(config)) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        yield _Output(consumer)


@contextmanager
def _made(admin: AdminClient, names: Sequence[str], group: str) -> Iterator[None]:
    """Have topics of one partition; delete them and a consumer group afterwards."""
    for made in admin.create_topics([NewTopic(name, 1, 1) for name in names]).values():
        made.result()
    try:
        yield
    finally:
        for gone in [*admin.delete_topics(list(names)).values(), *admin.delete_consumer_groups([group]).values()]:
            with suppress(KafkaException):  # what is still in use, after an error, is left
                gone.result()


def _end_of(admin: AdminClient, topic: str) -> int:
    """Return the end of a topic, with what is not committed yet."""
    return topics.ends(admin, [TopicPartition(topic, 0)])[topic, 0]


def _write(config: Config, topic: str, lines: Sequence[str]) -> None:
    # One batch, so that a mapper reads all of it at once.
    settings: dict[str, Any] = clients.settings(config, enable_idempotence=True, linger_ms=20)
    producer = Producer(settings)
    for line in lines:
        producer.produce(topic, line.encode())
    if producer.flush(_WAIT_SECONDS):
        raise RetryError(f"lines could not be written to {topic} within {_WAIT_SECONDS:.0f} s")


def _wait_for(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RetryError(f"waited {_WAIT_SECONDS:.0f} s in vain until {what}")
        time.sleep(_LOOK_SECONDS)
