"""How wcsup's Kafka clients are set up; every client of the program is made here."""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Literal, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import RetryError, UsageError
from wcsup.kafka import causes, failures, libraries, properties
from wcsup.kafka.causes import CAUSES
from wcsup.kafka.failures import Failure
from wcsup.kafka.reader import Reader
from wcsup.kafka.writer import Writer

log = logging.getLogger("wcsup.kafka")
log.addFilter(causes.SAID)

REACH_SECONDS = 10.0
"""How long a broker may take to answer the first request before it counts as unreachable."""

REFUSED_SECONDS = 4.0
"""How long a command retries failing logins before it says so: a broker that is starting may not know its users yet."""

_TRY_SECONDS = 1.0
_AGAIN_SECONDS = 0.05
"""The pause before a request is made again, such as after a broken connection."""

MAX_RECORD_BYTES = 3_000_000
"""librdkafka's own bound on a record. It is above the broker's default, so that the broker's bound decides."""

BATCH_BYTES = 1_000_000
"""The largest batch of several records that a worker's producer makes."""

_CONNECT_SECONDS = 0.1
_CONNECT_QUESTIONS = 3

_GATHERED_BYTES = 256 << 10

Isolation = Literal["read_committed", "read_uncommitted"]
COMMITTED: Final = "read_committed"
UNCOMMITTED: Final = "read_uncommitted"

_KEPT: Final[dict[str, tuple[str, ...]]] = {
    "acks": ("all", "-1"),
    "auto.commit.enable": ("false",),
    "auto.offset.reset": ("earliest", "smallest", "beginning"),
    "enable.auto.commit": ("false",),
    "enable.idempotence": ("true",),
    "enable.partition.eof": ("true",),
    "group.id": (),
    "group.instance.id": (),
    "isolation.level": (COMMITTED,),
    "log.connection.close": ("true",),
    "logger": (),
    "partition.assignment.strategy": ("cooperative-sticky",),
    "partitioner": ("murmur2_random",),
    "request.required.acks": ("all", "-1"),
    "transactional.id": (),
}
"""Settings that the user may not change, each with the values that the file may repeat."""

_EXACTLY_ONCE = "counting exactly once rests on it"
_WHY: Final = {"log.connection.close": "the log is to say which connection broke before a producer was renewed"}
"""Why the user may not change a setting, where the reason is not `_EXACTLY_ONCE`."""

_SECRET = re.compile("password|passphrase|secret|token|jaas|oauth|assertion|credential|key|pem", re.IGNORECASE)
"""Parts of the names of settings whose values appear in no message."""

Settings = dict[str, Any]
Client = TypeVar("Client")
Answer = TypeVar("Answer")


def read_properties(config: Config) -> Settings:
    """Return the librdkafka settings of `--kafka-config`, with references to secrets replaced (`kafka/properties.py`).

    Raises `UsageError` for a file that can't be read, for a setting that the user may not change, and for a reference
    to something that is not there.
    """
    if config.kafka_config is None:
        return {}
    try:
        text = config.kafka_config.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--kafka-config {config.kafka_config} can't be read: {error}") from error
    settings = {}
    for number, key, written in properties.lines(text):
        where = f"{config.kafka_config}:{number}"
        if key is None:
            # The line may have a password, so the message does not repeat it.
            raise UsageError(f"{where}: expected key=value, such as linger.ms=5")
        try:
            value = properties.resolve(written)
        except properties.MissingError as missing:
            raise UsageError(f"{where}: {key} can't be had: {missing}") from missing
        if key not in _KEPT:
            settings[key] = value
        elif value.lower() not in _KEPT[key]:
            raise UsageError(
                f"{where}: {key} is not to be {written!r}, since {_WHY.get(key, _EXACTLY_ONCE)}: take the line out"
            )
    return settings


def settings(config: Config, **own: Any) -> Settings:
    """Return a client's settings: shared ones, overridden by `own` (underscores for dots), then by the user's file."""
    if config.bootstrap_servers is None:
        raise ValueError("the broker's address is resolved before clients are made")
    return {
        "bootstrap.servers": config.bootstrap_servers,
        "client.id": config.app_id,
        "logger": log,
        "error_cb": CAUSES.hear,
        # Reconnect to a restarted broker at once; the default backs off to 10 s.
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 500,
        "topic.metadata.refresh.interval.ms": 30_000,
        # With the default, librdkafka forgets all brokers when none is connected, but keeps its cache of coordinators.
        # The next send_offsets_to_transaction() then waits for ever for a broker that is gone (librdkafka#5511), and
        # list_offsets() fails at once ("No leaders found") instead of waiting.
        "metadata.recovery.strategy": "none",
        # A stalled broker loses its partitions after some 9 s. librdkafka learns of the new leaders when a request to
        # the stalled one times out. The default is 60 s; for a transactional producer it is the transaction time-out.
        **({} if "transactional_id" in own else {"socket.timeout.ms": 10_000}),
        **{key.replace("_", "."): value for key, value in own.items()},
        **read_properties(config),
    }


def user(config: Config) -> str | None:
    """Return the user name that clients log in with; none where they log in without one."""
    return read_properties(config).get("sasl.username")


def _make(config: Config, kind: Callable[[Settings], Client], values: Settings) -> Client:
    file = f" of {config.kafka_config}" if config.kafka_config else ""
    try:
        return kind(values)
    except KafkaException as error:
        said = _without_secrets(error.args[0].str(), values)
        raise UsageError(f"librdkafka refuses the settings{file}: {said}") from None
    except (TypeError, ValueError) as error:  # such as a text where the client wants a function (error_cb)
        raise UsageError(
            f"the Kafka client refuses the settings{file}: {_without_secrets(str(error), values)}"
        ) from None


def _without_secrets(text: str, values: Settings) -> str:
    """Return a text without the values of settings that may be secrets."""
    secrets = {str(value) for key, value in values.items() if _SECRET.search(key) and value}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def admin(config: Config, **own: Any) -> AdminClient:
    """Return a new admin client with `own` settings; without such settings, this process's shared one."""
    return _make(config, AdminClient, settings(config, **own)) if own else _shared_admin(config)


@lru_cache(maxsize=4)
def _shared_admin(config: Config) -> AdminClient:
    return _make(config, AdminClient, settings(config))


_RAISED = {"TXNERR", "ADDPARTS", "ADDOFFSETS"}
"""Facilities of librdkafka's log lines about errors of transactional calls."""


class _Quiet:
    """A logger for a transactional producer. Errors that its calls also raise are logged where they are handled."""

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Take a line of librdkafka's log; its facility is the first argument."""
        log.log(logging.DEBUG if arguments[0] in _RAISED else level, text, *arguments)


def producer(config: Config, on_delivery: Callable[[KafkaError | None, Message], None], **own: Any) -> Writer:
    """Return a producer without transactions; it calls `on_delivery` for each record, from within its calls."""
    values = _plugged(settings(config, enable_idempotence=True, **own))
    return _make(config, Writer, values | {"on_delivery": on_delivery})


class _ResetListener:
    """A logger for a consumer that notices offset resets: the offset was not there, and the consumer went to the start.

    librdkafka has no callback for a reset, but logs a warning each time (`rd_kafka_offset_reset`). Lines that its
    `debug` setting adds under the same facility are not about resets.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        self._heard = heard

    def log(self, level: int, text: str, *arguments: object) -> None:
        """Take a line of librdkafka's log; its facility is the first argument."""
        if arguments[0] == "OFFSET" and level > logging.DEBUG:
            self._heard(text % arguments)
        log.log(level, text, *arguments)


def transactional_producer(config: Config, name: str) -> Writer:
    """Return a producer whose `transactional.id` is `name`; the next producer with that id fences this one.

    If a broker answers, the producer is connected to it. Without a connected broker `init_transactions` takes 500 ms in
    half of all cases, since it finds no broker to ask for the coordinator (`rd_kafka_txn_coord_query`). The first
    answer usually comes over the bootstrap connection, which librdkafka closes as soon as it knows the brokers, so the
    producer asks again.
    """
    timeout = int(config.transaction_timeout * 1000)
    writer = _make(
        config,
        Writer,
        _plugged(
            settings(
                config,
                logger=_Quiet(),
                transactional_id=name,
                transaction_timeout_ms=timeout,
                message_timeout_ms=timeout,
                message_max_bytes=MAX_RECORD_BYTES,
                compression_type="lz4",
                batch_size=BATCH_BYTES,
                # A batch is produced at once and flushed by its commit: waiting for more only adds latency.
                linger_ms=0,
                # While the markers of a transaction are being written, the first requests of the next transaction are
                # answered with CONCURRENT_TRANSACTIONS. The markers take some milliseconds; the default retries after
                # 100.
                retry_backoff_ms=20,
                queue_buffering_max_messages=1_000_000,
                queue_buffering_max_kbytes=131_072,
                partitioner="murmur2_random",
            )
        ),
    )
    with suppress(KafkaException):
        for _ in range(_CONNECT_QUESTIONS):
            # Any request that is cheap to answer.
            answer = writer.list_topics(config.topic("dead-letters"), _CONNECT_SECONDS)
            if answer.orig_broker_id >= 0:
                break
    return writer


def _reading(
    config: Config, isolation: str = COMMITTED, fetch_message_max_bytes: int = 4_000_000, **own: Any
) -> Settings:
    return settings(
        config,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level=isolation,
        enable_partition_eof=True,
        fetch_queue_backoff_ms=1,
        fetch_message_max_bytes=fetch_message_max_bytes,
        receive_message_max_bytes=100_000_000,
        **own,
    )


def _plugged(values: Settings) -> Settings:
    """Return the settings with wcsup's plugin, which gives Rust access to the client."""
    plugins = [values.get("plugin.library.paths"), libraries.plugin()]
    return values | {"plugin.library.paths": ";".join(filter(None, plugins))}


def _reader(config: Config, values: Settings) -> Reader:
    return Reader(_make(config, Consumer, _plugged(values)))


def heartbeat_seconds(config: Config) -> float:
    """Return the heartbeat interval of a worker's reader; by a heartbeat it also hears of a rebalance.

    The interval is short since a partition is handed on after two rebalances. Under KIP-848 the broker sets the
    interval, to a longer one.
    """
    return max(0.1, min(0.2, config.session_timeout / 6))


def group_reader(
    config: Config,
    group: str,
    name: str,
    gather_seconds: float = 0,
    on_reset: Callable[[str], None] = lambda _: None,
) -> Reader:
    """Return a worker's reader in `group`, a static member under `name` with the classic protocol.

    A static member that is started again gets its partitions back at once and fences its predecessor (KIP-345). Under
    KIP-848 the broker refuses a new static member until the old one's session ends; so members are dynamic there, with
    `name` as their client id, and only the `transactional.id` fences.

    `queued.max.messages.kbytes` bounds a worker's memory. `queued.min.messages` is as high as it is since librdkafka
    would else fetch only when a worker has counted most of its queue.

    `gather_seconds` is how long the broker gathers records for a fetch; without it, each record that a producer sends
    alone would be a fetch. With `_GATHERED_BYTES` the broker answers at once. `on_reset` is called from within `poll`
    when a partition resumes at its start because its offset was not there.
    """
    own: Settings = {
        "group_id": group,
        "group_protocol": config.group_protocol,
        "queued_min_messages": 80_000,
        "queued_max_messages_kbytes": 16_384,
        "fetch_wait_max_ms": round(gather_seconds * 1000) or 100,
        "fetch_min_bytes": _GATHERED_BYTES if gather_seconds else 1,
        "fetch_max_bytes": 4_000_000,
        "logger": _ResetListener(on_reset),
    }
    if config.group_protocol == "consumer":
        own["client_id"] = name  # by which a member of the same name is found: see `wcsup.pipeline.fencing`
    else:  # under KIP-848 the broker decides on these, and librdkafka refuses them
        session = int(config.session_timeout * 1000)
        own |= {
            "group_instance_id": name,
            "partition_assignment_strategy": "cooperative-sticky",
            "session_timeout_ms": session,
            "heartbeat_interval_ms": round(heartbeat_seconds(config) * 1000),
        }
    return _reader(config, _reading(config, **own) | {"log_level": 6})  # `_ResetListener` needs the log lines


def _assigned(config: Config, isolation: str) -> Settings:
    return _reading(
        config,
        isolation,
        group_id=config.reduce_group,
        queued_min_messages=200_000,
        queued_max_messages_kbytes=65_536,
        fetch_wait_max_ms=10,
    )


def assigned_consumer(config: Config, isolation: Isolation = COMMITTED) -> Consumer:
    """Return a consumer that reads by `assign()`, and neither joins its group nor commits.

    It has to name a group all the same, since librdkafka looks for the group's coordinator: here the reducers' group,
    to which the user has the right.
    """
    return _make(config, Consumer, _assigned(config, isolation))


def peeking_consumer(config: Config) -> Consumer:
    """Return an assigned consumer that fetches little more than the next committed record of each partition."""
    return _make(
        config,
        Consumer,
        _reading(
            config,
            group_id=f"{config.app_id}-reader",
            queued_min_messages=1,
            queued_max_messages_kbytes=1_024,
            fetch_message_max_bytes=4_096,  # a broker gives a partition's first batch whole, however large (KIP-74)
            fetch_wait_max_ms=10,
        ),
    )


def assigned_reader(config: Config) -> Reader:
    """Return a reader of committed records by `assign()`."""
    return _reader(config, _assigned(config, COMMITTED))


def restoring_reader(config: Config) -> Reader:
    """Return an assigned reader whose partitions are added and removed one by one.

    Its fetches are small, since the next fetch is made while the records of the last one are worked on: larger fetches
    would take more memory.
    """
    return _reader(
        config,
        _reading(
            config,
            group_id=config.reduce_group,
            queued_min_messages=20_000,
            queued_max_messages_kbytes=16_384,
            fetch_max_bytes=2_000_000,
            fetch_wait_max_ms=10,
        ),
    )


@lru_cache(maxsize=4)
def offsets_reader(config: Config, group: str, isolation: Isolation = UNCOMMITTED) -> Consumer:
    """Return a consumer to ask for the committed offsets of a group that it never joins.

    With `read_committed` it waits for pending transactions. An admin client is not used: its requests to a coordinator
    abort the whole process when they time out, as they do while the broker is down (librdkafka#3663, #4605), and its
    request for offsets is a segmentation fault when the coordinator has just moved.
    """
    own = settings(config, group_id=group, enable_auto_commit=False, isolation_level=isolation)
    return _make(config, Consumer, own)


def check_reachable(config: Config) -> None:
    """Raise an error that says why no broker answers, unless one does.

    Raises `BrokerUnreachableError` after `REACH_SECONDS`, or sooner a `RefusedError` where brokers refuse this client.
    """
    began, sought = time.monotonic(), False
    CAUSES.told = True
    try:
        while not _answers(config, _TRY_SECONDS):
            waited = time.monotonic() - began
            if waited >= REFUSED_SECONDS and not sought:
                sought = True
                if (refused := causes.refusal(settings(config), began)) is not None:
                    raise refused
            if waited >= REACH_SECONDS:
                raise causes.silence(settings(config), began, waited)
    finally:
        CAUSES.told = False


def _answers(config: Config, seconds: float) -> bool:
    """Return whether a broker answers within `seconds`."""
    client = admin(config)
    try:
        client.list_topics(timeout=seconds)
    except KafkaException as failed:
        client.poll(0)  # librdkafka reports the cause during a poll
        if not failures.meaning(failures.of(failed)).passes:
            raise
        time.sleep(_AGAIN_SECONDS)
        return False
    return True


def lets_in(config: Config, seconds: float) -> bool:
    """Return whether a broker answers a new client within `seconds`."""
    client = _make(config, AdminClient, settings(config))
    try:
        client.list_topics(timeout=seconds)
    except KafkaException:
        client.poll(0)  # librdkafka reports the cause during a poll
        return False
    return True


def unreachable(config: Config, ask: Callable[[], Answer]) -> Answer:
    """Return what `ask` returns; retry for `REACH_SECONDS` after errors that pass by themselves.

    Then raises what `check_reachable` raises if no broker answered, and a `RetryError` if brokers answered with such
    errors. Any other `KafkaException` is raised as it is.
    """
    began = time.monotonic()
    while True:
        try:
            return ask()
        except KafkaException as failed:
            error = failures.of(failed)
            found, waited = failures.meaning(error), time.monotonic() - began
            if not found.passes:
                raise
            if waited < REACH_SECONDS:
                time.sleep(_AGAIN_SECONDS)
                continue
            admin(config).poll(0)
            if found is Failure.SILENT:
                raise causes.silence(settings(config), began, waited) from failed
            raise RetryError(f"Kafka could not say for {waited:.0f} s what it was asked: {error.str()}") from failed
