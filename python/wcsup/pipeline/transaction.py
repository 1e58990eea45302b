"""The exactly-once commit, for mapper and reducer alike."""

import logging
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import NoReturn, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import FencedError, RefusedError, RetryError
from wcsup.kafka import clients, connection, failures, incarnation, refusals
from wcsup.kafka.failures import OF_A_LOGIN, Failure, classify, meaning
from wcsup.kafka.incarnation import Incarnation
from wcsup.kafka.refusals import About
from wcsup.kafka.writer import Writer, Written
from wcsup.pipeline.aside import Aside
from wcsup.pipeline.records import Letter
from wcsup.pipeline.settling import Settling
from wcsup.process import trace
from wcsup.process.crash import point

log = logging.getLogger("wcsup.transaction")

Result = TypeVar("Result")

_RETRY_PAUSE = 0.1
_SLICE_SECONDS = 1.0
"""How long the worker waits for a call that goes on in the background before it reports that it is alive."""
_OFFSETS_SECONDS = 5.0
"""How much longer than the transaction time-out `send_offsets_to_transaction` may take: by then Kafka has aborted the
transaction."""
_BREAK_SECONDS, _BREAK_AGAIN_SECONDS = 2.0, 4.0
"""How long `send_offsets_to_transaction` may take, though brokers answer, until connections are broken, and then until
they are broken again. Breaking them helps if the coordinator can be found within a second after it."""
_SAY_SECONDS, _SAY_AGAIN_SECONDS = 10.0, 60.0
_QUICK_STARTS = 4
_QUICK_START_SECONDS = 0.1
_QUEUE_PAUSE = 0.02
_LETTER_PAUSE = 0.002
_SETTLE_SECONDS = 0.1
"""How long a commit waits for the delivery of its records before it calls `commit_transaction`, which waits for the
rest and polls every 10 ms."""
_QUEUED = 20_000
"""Back-pressure: with more records in the producer's queue, a commit waits before it adds more. A queued record takes
300 bytes."""
_GIVEN = 10_000
"""How many records the producer is given at a time."""
_ANSWER_SECONDS = 1.0


_REBALANCED = {
    KafkaError(code).name()
    for code in (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    )
}
"""Why offsets are refused once their group has rebalanced."""

_FAILED_PRODUCE = re.compile(r"ProduceRequest for (\S+) \[\d+\]")
"""How librdkafka names the topic of records that a broker refused, in the error of the next call."""

_MAGIC = b"CGMDv2:"
_GENERATION = struct.Struct("=i")
"""What follows the magic in librdkafka's group metadata (`rd_kafka_consumer_group_metadata_write`)."""
_NO_GENERATION = (1 << 31) - 1


class AbortedError(Exception):
    """The transaction was given up: its batch is to be dropped and read again from the committed offsets."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.reason = error.name()


@dataclass(slots=True)
class Outbox:
    """What one commit writes."""

    records: Iterable[tuple[str, _core.Records]] = ()
    """By topic; gone through once."""
    letters: list[Letter] = field(default_factory=list)
    letters_apart: bool = False
    """Whether dead letters are sent one by one, since their topic takes no batch of several."""
    offsets: list[TopicPartition] = field(default_factory=list)
    """The next input offsets; never empty, so that each commit is fenced by the group's generation."""


def generation(metadata: bytes) -> int:
    """Return the generation in a consumer's group metadata, -1 for a member that has not joined."""
    return int(_GENERATION.unpack_from(_known(metadata), len(_MAGIC))[0])


def outdated(metadata: bytes) -> bytes:
    """Return group metadata of a generation that never exists: a broker refuses all offsets sent with it."""
    changed = bytearray(_known(metadata))
    _GENERATION.pack_into(changed, len(_MAGIC), _NO_GENERATION)
    return bytes(changed)


def _known(metadata: bytes) -> bytes:
    if not metadata.startswith(_MAGIC):
        raise RetryError(f"group metadata of an unknown version: {metadata[:8]!r}")
    return metadata


def _name(call: Callable[..., object]) -> str:
    return getattr(call, "__name__", "call")


class Transactions:
    """A transactional producer and the protocol around it."""

    def __init__(
        self,
        config: Config,
        name: str,
        alive: Callable[[], None] = lambda: None,
        timed: Callable[[str, float], None] = lambda _step, _seconds: None,
        *,
        about: About | None = None,
        reached: Callable[[], bool] = lambda: True,
    ) -> None:
        """`name` becomes the `transactional.id`.

        `alive` is called during long waits, `timed` with the name and the seconds of each step of a commit. `about` has
        the group whose offsets are sent, and the rights that commits need. `reached` tells whether a broker is known to
        have answered lately.
        """
        self._config = config
        self._name = name
        self._about = replace(about or About(), transactional_id=name)
        self._alive = alive
        self._timed = timed
        self._reached = reached
        self._aside = Aside()
        self._disturbed = False
        """Whether the last transaction was disturbed: the producer is replaced before the next transaction."""
        self._settling = Settling(config, name, alive)
        self._began: float | None = None
        """When the open transaction was begun; none where no transaction is open."""
        self._was_overdue = False
        """Whether an earlier transaction of this producer was open beyond its time-out."""
        self._producer: Writer | None = None
        self._started = False
        self._last: Incarnation | None = None
        """The last producer of the name that is known to be no successor's; none where it is not known."""

    @property
    def started(self) -> bool:
        """Whether there is a producer that can begin transactions.

        There is none before `start`, after the producer was fenced, and after a refusal or a failed abort ended it.
        """
        return self._started

    def start(self) -> None:
        """Make the producer, fence the predecessor of this name, and settle its open and hanging transactions.

        Raises `RefusedError` where the brokers refuse the `transactional.id` or the time-out; call `start` again then.
        Raises `FencedError` where another producer was made under the name since this process had one: the new one
        would fence a successor that has not joined the group yet. If the successor does not exist, call `start` again.
        """
        before, now = self._last, self._incarnation() if self._last is not None else None
        if now is not None and now != before:
            self._last, self._started = now, False
            raise FencedError(
                f"another process was started as {self._name} and has taken over; this one ends ({before} was replaced)"
            )
        self._last = None  # requests of `_start` that are given up may change it
        self._start()
        self._last = self._incarnation()
        trace.step("producer", **({} if self._last is None else asdict(self._last)))
        self._settling.due = True
        self._settling.finish(self._is_answered)

    def _start(self) -> None:
        """Make the producer and initialize it.

        While the broker aborts a predecessor's transaction it answers CONCURRENT_TRANSACTIONS, and librdkafka asks
        again only after 500 ms (`rd_kafka_idemp_pid_timer_restart`). A new producer asks at once.
        """
        self._began, self._was_overdue = None, False
        self._started = False
        self.close()
        for _ in range(_QUICK_STARTS):
            self._producer = clients.transactional_producer(self._config, self._name)
            try:
                self._producer.init_transactions(_QUICK_START_SECONDS)
                break
            except KafkaException as failed:
                if classify(failed.args[0]) is not Failure.RETRY:
                    self._raise(failed.args[0])
        else:
            self._wait_for(self._running().init_transactions)
        # Connections break while a producer is made, and mean nothing: librdkafka closes those to bootstrap addresses,
        # and the one to a coordinator each time that it learns the coordinator's address.
        self._running().broke()
        self._disturbed = False
        self._started = True

    def commit(
        self,
        outbox: Outbox,
        metadata: bytes,
        retained: Callable[[Written], None],
    ) -> None:
        """Commit one batch exactly once.

        1. The batch is complete: the outbox's offsets are those of the records that were handed to Rust, and
           `metadata` was read after the poll that ended the batch. A generation below 0 is not committed: the
           broker would not fence it.
        2. Begin the transaction only now: it is open for milliseconds, so it never holds readers back, and a
           crash between two commits leaves none open.
        3. Produce. While the queue is full, wait, then go on with the records that were not accepted.
        4. Send the offsets to the transaction, and commit.
        5. Only after a successful commit, call `retained` with the highest offsets written: the reducer writes the
           totals to its stores, or keeps them in its write-behind buffer.

        Raises `AbortedError` where the batch is to be read again. Raises `RefusedError` where it is to be read again
        once somebody has changed a right, a password or a setting. Raises `FencedError` where another process has the
        name, and `RetryError` where the outcome is unknown: the next `init_transactions` settles it. `retained` is not
        called in any of these cases.
        """
        # Step 1
        current, offsets = generation(metadata), {one.partition: one.offset for one in outbox.offsets}
        if current < 0:
            trace.step("unjoined")
            raise AbortedError(KafkaError(KafkaError.ILLEGAL_GENERATION))
        producer = self._ready(outbox, metadata, partial(trace.step, "begin", generation=current, offsets=offsets))
        point("before-begin")
        try:
            # Step 2
            self._began = time.monotonic()
            self._call(producer.begin_transaction)
            point("after-begin")
            # Step 3
            given: dict[str, int] = {}
            with self._step("produce"):
                for topic, records in outbox.records:
                    self._produce(producer, topic, records)
                    given[topic] = given.get(topic, 0) + len(records)
                for letter in outbox.letters:
                    self._post(producer, letter)
                    while outbox.letters_apart and len(producer):
                        self._alive()
                        producer.poll(_LETTER_PAUSE)
            trace.step("produced", records=given)
            point("after-produce")
            # Step 4
            with self._step("offsets"):
                self._send_offsets(producer, outbox.offsets, metadata)
            trace.step("offsets", generation=current, offsets=offsets)
            point("after-send-offsets")
            with self._step("commit"):
                producer.settle(_SETTLE_SECONDS)
                self._wait_for(producer.commit_transaction)
            self._began = None
            trace.step("commit")
            point("after-commit")
        except (AbortedError, RefusedError) as failed:
            if isinstance(failed, RefusedError) and failed.code in OF_A_LOGIN:
                self._started = False  # no broker would accept the abort; the next `init_transactions` aborts
                trace.step("abort", reason=str(failed), usable=False)
                raise
            self._tell(failed)
            self._give_up(producer)
            trace.step("abort", reason=str(failed), usable=self._started)
            if (refused := self._refused_record(producer)) is not None:
                raise refused from failed
            raise
        # Step 5
        with self._step("store"):
            retained(producer.written())
        point("after-store-write")

    def _ready(self, outbox: Outbox, metadata: bytes, begin: Callable[..., None]) -> Writer:
        """Return the producer for the next transaction, a new one where there is none or the old one was disturbed.

        `begin` is told the state of the old one before that.
        """
        if ended := not self._started:
            begin(producer="ended")
            self.start()
        self._notice_breaks()
        is_disturbed = self._disturbed or self._running().unanswered()
        if not ended:
            begin(producer="disturbed" if is_disturbed else "usable")
        if is_disturbed:
            self._renew(outbox.offsets[0].topic, metadata)
        return self._running()

    @staticmethod
    def _tell(failed: AbortedError | RefusedError) -> None:
        """Log why a transaction is given up. A rebalance is ordinary; refusals are logged by `Patience`, once."""
        level = logging.DEBUG if isinstance(failed, RefusedError) else logging.WARNING
        if isinstance(failed, AbortedError) and failed.reason in _REBALANCED:
            log.info("rebalanced: the batch is read again")
            level = logging.DEBUG
        log.log(level, "transaction given up, its batch is read again: %s", failed)

    @property
    def open(self) -> bool:
        """Whether a transaction is open, as far as is known."""
        return self._began is not None

    @property
    def overdue(self) -> bool:
        """Whether a transaction of this producer is or was open beyond its time-out: Kafka fences the producer then."""
        return self._was_overdue or self._is_overdue()

    def _is_overdue(self) -> bool:
        return self._began is not None and time.monotonic() - self._began > self._config.transaction_timeout

    def superseded(self, topic: str, metadata: bytes) -> bool:
        """Return whether another process is known to have the name now."""
        try:
            self._ask(topic, metadata)
        except FencedError:
            return True
        except RefusedError as refused:
            log.info("who has the name %s can't be asked: %s", self._name, refused)
        return False

    def close(self) -> None:
        """Drop the producer; no transaction is open between commits."""
        self._producer = None

    def look(self) -> None:
        """Finish hanging transactions after a broken connection; for a worker with nothing to commit."""
        self._notice_breaks()
        self._settling.look()

    def _notice_breaks(self) -> None:
        """Take note of a broken connection: the broker may have died, and a transaction's marker with it."""
        if self._running().broke():
            self._disturbed = self._settling.due = True

    def _incarnation(self) -> Incarnation | None:
        return incarnation.current(self._config, self._name, self._alive)

    def _is_answered(self) -> bool:
        """Return whether a broker answers librdkafka."""
        try:
            self._running().list_topics(self._config.topic("dead-letters"), _ANSWER_SECONDS)
        except KafkaException:
            return False
        return True

    def _ask(self, topic: str, metadata: bytes) -> None:
        """Raise `FencedError` where another process has the name now. An empty transaction, begun and aborted, tells.

        The transaction has to be empty, since a delayed commit request of the one before, which has the same epoch, may
        end it. So it only sends offsets of a generation that never exists: the transaction coordinator checks the
        producer's epoch, and then the group coordinator refuses the offsets.
        """
        self._settling.finish(self._is_answered)
        producer = self._running()
        with suppress(RetryError):  # the answer can't be known
            self._began = time.monotonic()
            self._call(producer.begin_transaction)
            with suppress(AbortedError, RefusedError):  # refused for the generation, or before that is checked
                offsets = [TopicPartition(topic, 0, 0)]
                self._send_offsets(producer, offsets, outdated(metadata))
            if self._started:  # else the call is still under way, and an abort would be refused for as long
                self._abort(producer)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._timed(name, time.monotonic() - began)

    def _produce(self, producer: Writer, topic: str, records: _core.Records) -> None:
        given = 0
        while given < len(records):
            if len(producer) > _QUEUED:
                self._wait(producer)
                continue
            try:
                taken = producer.write(topic, records, given, given + _GIVEN)
            except KafkaException as failed:
                self._not_taken(failed.args[0], topic)
            given += taken
            if not taken:
                self._wait(producer)

    def _post(self, producer: Writer, letter: Letter) -> None:
        topic = self._config.topic("dead-letters")
        while True:
            try:
                producer.produce(topic, letter.value, letter.key, headers=letter.headers)
            except BufferError:
                self._alive()
                producer.poll(_QUEUE_PAUSE)
            except KafkaException as failed:
                self._not_taken(failed.args[0], topic)
            else:
                return

    def _wait(self, producer: Writer) -> None:
        """Wait until half of the producer's queue is delivered, or for `_QUEUE_PAUSE`."""
        self._alive()
        producer.poll(0)
        producer.settle(_QUEUE_PAUSE, len(producer) // 2)

    def _not_taken(self, error: KafkaError, topic: str) -> NoReturn:
        """Raise the error of a record that librdkafka did not accept."""
        if meaning(error) is Failure.REFUSED:
            raise refusals.refused(self._config, error, replace(self._about, topic=topic))
        # The transaction has failed already; the abort tells whether the producer has failed, too.
        raise AbortedError(error)

    def _give_up(self, producer: Writer) -> None:
        """Abort a transaction that failed.

        The abort fails where Kafka has aborted the transaction for its time-out. It also fails where the coordinator
        does not know the transaction, since it refused its first partition. The next producer's `init_transactions`
        ends it.
        """
        if not self._started:
            return  # the producer has ended, or one of its calls is still under way: it can't abort
        try:
            self._abort(producer)
        except RetryError as error:
            log.info("%s; a new producer settles it", error)
            self._started = False

    def _refused_record(self, producer: Writer) -> RefusedError | None:
        """Return the refusal of a record of an aborted transaction, if there was one.

        The error of the failed call may say no more than that some records were not delivered.
        """
        failed = producer.failed()
        if failed is None or meaning(failed[1]) is not Failure.REFUSED:
            return None
        return refusals.refused(self._config, failed[1], replace(self._about, topic=failed[0]))

    def _abort(self, producer: Writer) -> None:
        """Abort. A failed abort leaves the outcome to the next producer. The producer is not used again in either case.

        An abort purges records that librdkafka was about to retry, and gives their sequence numbers to the next records
        (`rd_kafka_toppar_purge_queues`). A broker that already has the purged records would take a new batch of equal
        length for a duplicate and acknowledge it: the words in that batch would be lost.
        """
        try:
            self._wait_for(producer.abort_transaction)
        except AbortedError as error:
            raise RetryError(f"the abort of a transaction failed: {error}") from error
        except RefusedError:
            self._started = False  # the next producer's `init_transactions` aborts it
            raise
        self._was_overdue = self.overdue
        self._began = None
        self._disturbed = True

    def _renew(self, topic: str, metadata: bytes) -> None:
        """Replace a producer whose last transaction had an unanswered request, a retry, an abort or a lost connection.

        librdkafka does not bump the epoch per transaction (KIP-890, librdkafka#5423), so a late request of one
        transaction can hit the next one. A new epoch fences such requests.

        A new producer fences every other process of the name. That may be a successor that has made its producer and
        not joined the group yet, and the successor would end. So the old producer first asks who has the name.
        """
        self._settling.due = True
        self._ask(topic, metadata)
        trace.step("asked")
        log.info("the last commit was disturbed: starting with a new producer epoch")
        self.start()

    def _send_offsets(self, producer: Writer, offsets: list[TopicPartition], metadata: bytes) -> None:
        """Send offsets to the transaction; raise `AbortedError` where that takes too long though brokers answer.

        librdkafka asks three times who the coordinator is, and then not again until a connection is made or lost
        (`rd_kafka_coord_req_handle_FindCoordinator`, librdkafka#5511). So connections are broken to make it ask. An
        abort at once is no alternative: it would also abort a hanging transaction of the same producer. If breaking
        connections does not help, the producer is abandoned.

        A call that was under way when a broker refused the transaction ends with `_STATE`, which does not tell why. In
        the state after that, the same call ends at once with the broker's error (`rd_kafka_txn_require_states0`).
        """
        waited, break_at, asked_why = 0.0, _BREAK_SECONDS, False

        def alive(seconds: float) -> None:
            nonlocal waited, break_at
            waited += seconds if self._reached() else 0.0
            if waited > self._config.transaction_timeout + _OFFSETS_SECONDS:
                self._started = False
                text = "the offsets are not sent though brokers answer: a new producer sends them"
                raise AbortedError(KafkaError(KafkaError._WAIT_COORD, text))
            if waited > break_at:
                break_at += _BREAK_AGAIN_SECONDS
                log.info("offsets wait though brokers answer: connecting anew, so that their coordinator is looked for")
                connection.break_all()
            self._alive()

        send = partial(producer.send_offsets_to_transaction, offsets, metadata)
        while True:
            try:
                self._aside.make(send, alive)
            except KafkaException as failed:
                error = failures.of(failed)
                if error.code() == KafkaError._STATE and error.txn_requires_abort() and not asked_why:
                    asked_why = self._disturbed = True
                    continue
                self._try_again("send_offsets_to_transaction", error)
            else:
                return

    def _wait_for(self, call: Callable[[float], None]) -> None:
        """Make a protocol call that goes on in the background, and report meanwhile that the worker is alive.

        `call` takes a time-out in seconds. A time-out is no disturbance: the same call, made again, goes on waiting for
        the operation under way (`rd_kafka_txn_curr_api_begin`). The producer notes requests that had no answer.
        """
        began = time.monotonic()
        say_at = began + _SAY_SECONDS
        while True:
            try:
                call(_SLICE_SECONDS)
            except KafkaException as failed:
                error = failures.of(failed)
                if error.code() != KafkaError._TIMED_OUT or classify(error) is not Failure.RETRY:
                    self._try_again(_name(call), error)
            else:
                return
            self._alive()
            if time.monotonic() > say_at:
                say_at += _SAY_AGAIN_SECONDS
                log.warning("waiting for %s for %.0f s", _name(call), time.monotonic() - began)

    def _call(self, call: Callable[..., Result], *arguments: object) -> Result:
        """Make a protocol call, and repeat it as long as its error is retriable."""
        while True:
            try:
                return call(*arguments)
            except KafkaException as failed:
                self._try_again(_name(call), failures.of(failed))

    def _try_again(self, call: str, error: KafkaError) -> None:
        """Pause before a retry; raise the error that stands for `error` where a retry would not help."""
        if classify(error) is not Failure.RETRY:
            self._raise(error)
        log.warning("%s, trying again: %s", call, error.str())
        self._disturbed = self._settling.due = True
        self._running().poll(0)  # librdkafka logs a failed authentication during a poll
        self._alive()
        time.sleep(_RETRY_PAUSE)

    def _raise(self, error: KafkaError) -> NoReturn:
        """Raise the error of wcsup that stands for an error of Kafka."""
        match classify(error):
            case Failure.ABORT:
                raise AbortedError(error)
            case Failure.FENCED:
                self._started = False
                # Noted before anybody looks for a successor: a later producer is a later process's.
                self._last = self._incarnation()
                raise FencedError(
                    f"another process was started as {self._name} and has taken over; this one ends ({error.str()})"
                )
            case Failure.REFUSED:
                self._started = self._started and not error.fatal()
                found = _FAILED_PRODUCE.search(error.str())
                about = replace(self._about, topic=found[1] if found else None)
                raise refusals.refused(self._config, error, about)
        raise RetryError(f"transaction ended with unknown outcome: {error.str()}")

    def _running(self) -> Writer:
        if self._producer is None:
            raise RuntimeError("commit before start")
        return self._producer
