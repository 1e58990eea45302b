"""The loop that mapper and reducer share: poll, hand to Rust, commit; rebalances in between."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from types import FrameType
from typing import NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, ExitStatus, FencedError, RefusedError, RetryError
from wcsup.kafka import clients, failures, refusals, topics
from wcsup.kafka.causes import CAUSES
from wcsup.kafka.failures import Failure, classify
from wcsup.kafka.ownership import Orphans, Owners
from wcsup.kafka.rights import Right
from wcsup.kafka.sighting import Sight
from wcsup.kafka.watch import Watch, gone
from wcsup.pipeline.fencing import Fenced, has_successor
from wcsup.pipeline.holdup import Holdup
from wcsup.pipeline.login import Login
from wcsup.pipeline.mapper import Mapper
from wcsup.pipeline.offsets import Offsets
from wcsup.pipeline.pacing import Pacing, is_light
from wcsup.pipeline.patience import Doing, Patience
from wcsup.pipeline.report import SECONDS, Histogram, Job, Phase, Report
from wcsup.pipeline.stage import Stage
from wcsup.pipeline.transaction import AbortedError, Transactions
from wcsup.pipeline.trim import Trim
from wcsup.process import logs
from wcsup.process.crash import name_worker, point
from wcsup.process.memory import return_memory
from wcsup.state.directory import open_directory

log = logging.getLogger("wcsup.worker")

IDLE_SECONDS = 0.1
"""How long one turn waits for input."""
SHORT_SECONDS = 0.005
"""How long one turn waits where something else is to be done soon."""
REPORT_SECONDS = 0.5
WAKE_SECONDS = 0.05
"""How often librdkafka's main thread is woken at most; while a rebalance is under way it sends no heartbeat."""
SEEK_SECONDS = 20.0
"""How long an assigned partition may refuse to be sought before a new process tries."""
ASKING_SECONDS = 2.0
"""How long a new member that has no partition yet joins again at once, for what others were just asked to give up."""
STILL_SECONDS = 1.0
"""How often a worker without input looks whether it waits for something that stands still."""
WAIT_SECONDS = 2.0
"""How long a worker that is to end waits for brokers that do not answer, where nothing is open."""
LEAVE_SECONDS = 2.0
"""How long a worker that leaves its group tries to tell the broker, which knows when the session is over anyway."""
REFUSED_PAUSE = 1.0
"""How long a worker waits until it asks again for what was refused."""
GROUP_SECONDS = 5.0
"""How long a group has to be silent until it is asked whether it refuses its offsets still."""
_MOST_PAUSE = 5.0


class _NobodyAnswersError(Exception):
    """It is to end, and waits for Kafka with nothing open."""


class Worker:
    """One mapper or reducer from its start to its drain."""

    def __init__(self, job: Job, send: Callable[[Report], None] = lambda _: None, sight: Sight | None = None) -> None:
        """`send` takes a report twice a second; it must not block. `sight` is what a supervisor tells of."""
        self._config: Config = job.config
        self._send = send
        self._report = Report()
        self._sent = self._ask_until = self._woken = self._stood_at = 0.0
        self._drain_since: float | None = None
        """When it was asked to end."""
        self._leaving = False
        self._deferred: BaseException | None = None
        self._owned: set[int] = set()
        self._opening: set[int] = set()
        self._seeking: dict[int, tuple[int, float]] = {}
        """Opened partitions that are yet to be sought: the offset, and since when."""
        self._joined = self._member = self._replaced = False
        self._aborts_in_row = 0
        self._asked_at = self._group_refused_at = 0.0
        """When it was asked last whether what was refused is refused still, and when the group told of a refusal."""
        self._reset = False
        """Whether a partition went on at its start because its offset was not there."""

        config = self._config
        directory = open_directory(config)
        self._admin = admin = clients.admin(config)
        self._reach(supervised=job.report_fd is not None)
        identity = topics.identity(admin, config)
        name = directory.name(config, job.role, job.slot)
        self._claim = directory.claim(job.role, job.slot)
        sight = Sight() if sight is None else sight
        self._stage: Stage
        self._trim: Trim | None = None
        if job.role == "map":
            self._stage, group = Mapper(config, admin, sight), config.map_group
            self._watch = Watch(config, identity, ["lines", "positions"], sight)
        else:
            # Here, so that no mapper and no spare process loads RocksDB: 8 MB of each, for 4 ms of a reducer's start.
            from wcsup.pipeline.reducer import Reducer  # noqa: PLC0415 - see above

            self._stage, group = Reducer(config, directory, admin, identity), config.reduce_group
            self._watch = Watch(config, identity, ["words", "counts", "positions"], sight)
            self._trim = Trim(admin, config.topic("words"))
        self._pacing = Pacing(config.commit_interval, self._stage.pause_seconds)
        self._topic = config.topic(self._stage.input)
        self._offsets = Offsets(config, admin, self._stage.input, identity)
        self._about = replace(refusals.of_role(config, job.role), topic=self._topic)
        self._patience = Patience()
        self._login = Login(config, admin, self._patience)
        self._transactions = Transactions(
            config, name, self._wait_on, self._timed, about=self._about, reached=sight.fresh
        )
        self._holdup = Holdup(config, name, self._beat)
        self._make_reader = partial(
            clients.group_reader, config, group, name, self._stage.fetch_seconds, self._hear_reset
        )
        self._reader = self._make_reader()
        self._orphans = Orphans(Owners(sight, group), config.partitions)

    @property
    def _consumer(self) -> Consumer:
        return self._reader.consumer

    def _reach(self, *, supervised: bool) -> None:
        """Wait for a broker; one whose supervisor reached it once waits for as long as it takes."""
        while True:
            try:
                return clients.check_reachable(self._config)
            except BrokerUnreachableError:
                if not supervised:
                    raise
                self._report.beat += 1
                self._send(self._report)

    def run(self) -> None:
        """Work until drained. Raises the `WcsupError` that ends it otherwise."""
        try:
            # The fencing of a predecessor comes before the first poll: whatever it had open is settled then.
            while not self._start() and self._drain_since is None:
                self._pause(REFUSED_PAUSE)
            self._enter(Phase.JOINING)
            self._beat(now=True)
            self._join()
            while self._drain_since is None:
                try:
                    self._turn()
                except FencedError as fenced:
                    self._go_on(fenced)
            self._drain()
        except _NobodyAnswersError:
            log.warning("drained while no broker answers: what is not committed is read again")
        finally:
            self._stage.close()
            self._offsets.close()
            self._transactions.close()

    def _go_on(self, fenced: FencedError) -> None:
        """Go on where nobody else has the name, with a new producer or as a new member; raise `fenced` otherwise."""
        static = self._config.group_protocol == "classic"
        if has_successor(
            Fenced(self._joined, self._replaced, self._transactions.overdue, static),
            claimed=self._claim.holds,
            superseded=self._superseded,
            member_is_fenced=self._member_is_fenced,
        ):
            raise fenced
        log.warning(
            "fenced by the time-out of a transaction, a broker's restart or a late request of its own, since nobody "
            "else has its name: going on"
        )
        if self._replaced:
            self._replace_reader()
        else:
            self._rewind()

    def _replace_reader(self) -> None:
        """Join as a new member, in place of one that the broker has fenced."""
        self._stage.clear()
        self._reader.close()
        self._drop(self._owned.copy(), "lost")
        self._replaced = self._member = False
        self._reader = self._make_reader()
        self._enter(Phase.JOINING)
        self._join()

    def _superseded(self) -> bool:
        return self._transactions.superseded(self._topic, self._consumer.consumer_group_metadata())

    def _member_is_fenced(self) -> bool:
        """Return whether its member of the group is fenced, which is heard within half a session."""
        self._stage.clear()  # callbacks have nothing to commit any more
        deadline = time.monotonic() + max(1.0, self._config.session_timeout / 2)
        while time.monotonic() < deadline:
            self._beat()
            message = self._consumer.poll(IDLE_SECONDS)
            error = None if message is None else message.error()
            if error is not None and classify(error) is Failure.FENCED:
                self._replaced = True
                return True
        return False

    def drain(self, *, leave: bool = False) -> None:
        """Ask the loop to end after a last commit; safe to call from a signal handler.

        `leave`: others are to have its partitions now. They stay its name's until its session is over, else.
        """
        self._drain_since = time.monotonic()
        self._leaving = leave

    def _start(self) -> bool:
        """Make the producer; return false where it is refused, and to be tried again."""
        try:
            self._transactions.start()
        except RefusedError as refused:
            self._patience.refused(Doing.COMMIT, refused)
            return False
        return True

    def _pause(self, seconds: float) -> None:
        """Wait between two tries, but not for long once the worker is to end."""
        until = time.monotonic() + seconds
        while self._drain_since is None and (left := until - time.monotonic()) > 0:
            self._beat()
            time.sleep(min(left, IDLE_SECONDS))

    def _join(self) -> None:
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _join_anew(self) -> None:
        self._consumer.unsubscribe()
        self._join()

    def _look(self) -> None:
        """Look whether the topics are the same, and whether every partition has an owner."""
        with suppress(RefusedError):  # commits tell, and fetches
            self._watch.look()
        # Under KIP-848 the broker itself sees to owners, and no member hands on what another one lacks.
        if self._config.group_protocol == "classic" and (orphans := self._orphans.found(self._consumer.memberid)):
            log.warning("partitions %s of %s have no owner: joining anew", sorted(orphans), self._topic)
            # A static member too leaves the group here, unlike in `close`: so the others are asked to join again.
            self._join_anew()

    def _turn(self) -> None:
        self._wake()
        dry = self._poll()
        self._look()
        if self._patience.waiting:
            self._ask_whether_refused()
        if self._reset:
            self._reset = False
            self._rewind()  # opening them anew finds out why
        if self._opening:
            self._open()
        if self._pacing.is_due(self._stage, dry=dry, idle_work=self._idle_work):
            if self._transactions.started or self._start():
                self._commit()
            else:
                self._pause(REFUSED_PAUSE)
        elif dry:
            self._transactions.look()
            self._look_still()
        self._stage.tend()
        if self._trim is not None:
            self._trim.look(self._offsets.counted)
        self._beat()

    def _ask_whether_refused(self) -> None:
        """Raise what is refused for too long, and find out what is not any more though nothing has told.

        librdkafka tells once that it may not read a topic or look for a group's coordinator, and goes on trying.
        """
        self._patience.look()
        if time.monotonic() < self._asked_at + REFUSED_PAUSE:
            return
        self._asked_at = time.monotonic()
        if not self._transactions.started:
            self._start()  # what its predecessor left open is waited for, too
        if self._patience.waits_for(Doing.INPUT):
            with suppress(KafkaException):
                if refusals.lacking(self._config, [Right("topic", self._topic, "READ")]) is None:
                    self._patience.passed(Doing.INPUT)
                    if not self._owned:
                        self._join_anew()  # a topic that may not be seen has no partitions, for up to 30 s afterwards
        # What is refused to a member that joins is told again with each try.
        if self._patience.waits_for(Doing.GROUP) and self._asked_at > self._group_refused_at + GROUP_SECONDS:
            with suppress(KafkaException):
                self._consumer.committed([TopicPartition(self._topic, 0)], IDLE_SECONDS)
                self._patience.passed(Doing.GROUP)

    def _look_still(self) -> None:
        """Look whether what there is to wait for moves."""
        if time.monotonic() < self._stood_at + STILL_SECONDS:
            return
        self._stood_at = time.monotonic()
        if self._opening:
            self._holdup.look((sorted(self._opening), dict(self._report.restoring)))
            return
        behind = []
        for partition, offset in self._offsets.counted.items():
            _, end = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if end > offset:
                behind.append((partition, offset))
        self._holdup.look(behind or None)
        if not behind and not self._stage.owing and not self._offsets.owed:
            self._patience.passed(Doing.COMMIT)  # there is nothing to commit any more

    def _wake(self) -> None:
        """Have a heartbeat sent that is due: librdkafka's main thread does that, and sleeps for up to a second.

        A commit wakes it, too, and should find none due: where the answer to that one tells of a rebalance, the group
        may have its next generation before the offsets arrive, and refuse them. So `_poll` waits until one is due at
        most.
        """
        if self._until_heartbeat() <= 0:
            self._woken = time.monotonic()
            self._consumer.memberid()

    def _until_heartbeat(self) -> float:
        since = self._reader.inbox.since_heartbeat()
        woken = time.monotonic() - self._woken
        due = 0.0 if since is None else clients.heartbeat_seconds(self._config) - since
        return max(due, WAKE_SECONDS - woken)

    def _poll(self) -> bool:
        """Hand what the consumer has to the stage; return whether it had nothing."""
        wait = SHORT_SECONDS if self._opening or self._stage.taken else IDLE_SECONDS
        first = not self._stage.taken
        if not first and is_light(self._stage):
            # The consumer gathers what comes until the commit: one wake-up for all of it instead of one for each.
            time.sleep(self._pacing.until_light())
            wait = 0
        if not self._read(max(0.0, min(wait, self._until_heartbeat()))):
            return True
        if first and self._stage.gather_seconds and is_light(self._stage) and not self._pacing.until_light():
            time.sleep(self._stage.gather_seconds)
            self._read(0)
        return False

    def _read(self, seconds: float) -> bool:
        """Hand what the consumer has within so long to the stage; return whether there were records."""
        notices = self._reader.read(seconds, size=self._pacing.bytes_to_read)
        if self._deferred is not None:
            raise self._deferred
        for error, _ in notices:
            self._judge(error)
        before = self._stage.taken
        self._stage.add(self._reader.inbox)
        if self._stage.taken == before:
            return False
        self._patience.passed(Doing.INPUT)
        self._pacing.read()
        return True

    def _judge(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            return
        match classify(error):
            case Failure.FENCED:
                self._replaced = True
                raise FencedError(f"another process joined under this name; this one ends ({error.str()})")
            case Failure.REFUSED:
                self._hear_refusal(error)
                return
            case Failure.UNKNOWN if error.code() == KafkaError._FATAL:
                raise RetryError(f"the consumer failed: {error.str()}")
        if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}:
            raise gone(self._config, self._stage.input)
        log.warning("consumer: %s", error.str())

    def _hear_refusal(self, error: KafkaError) -> None:
        """Take note of what the consumer is refused; raise it where the consumer does not go on trying."""
        if failures.cause(error) in failures.OF_A_LOGIN:
            CAUSES.hear(error)  # for `Login`
            return
        fatal = error.code() == KafkaError._FATAL
        doing = Doing.INPUT if failures.cause(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED else Doing.GROUP
        # Each partition tells, and what to say of it takes a request.
        if fatal or doing is Doing.GROUP or not self._patience.waits_for(doing):
            refused = refusals.refused(self._config, error, self._about)
            if fatal:
                raise refused
            if doing is Doing.GROUP:
                self._group_refused_at = time.monotonic()
            self._patience.refused(doing, refused)

    def _idle_work(self) -> bool:
        return self._offsets.owed or self._stage.idle_work() or bool(self._stage.offsets())

    def _commit(self, *, last: bool = False) -> None:
        stage = self._stage
        self._enter(Phase.COMMITTING)
        self._beat()
        began = time.monotonic()
        outbox = stage.outbox(last=last)
        due = self._offsets.due(stage.offsets())
        outbox.offsets = self._offsets.of_group(due)
        records = self._offsets.records(due, self._owned)
        outbox.records = chain(outbox.records, [(self._config.topic("positions"), records)])
        counters, taken, counted = self._report.counters, stage.taken, False
        try:
            metadata = self._consumer.consumer_group_metadata()
            self._watch.confirm(self._wait_on)
            self._transactions.commit(outbox, metadata, stage.committed)
        except AbortedError as aborted:
            counters.aborts[aborted.reason] = counters.aborts.get(aborted.reason, 0) + 1
            self._patience.aborted(aborted.reason)
            self._rewind()
        except RefusedError as refused:
            self._patience.refused(Doing.COMMIT, refused)
            self._rewind()
        else:
            self._patience.committed()
            self._aborts_in_row = 0
            self._offsets.committed(due)
            counted = taken > 0
            counters.commits += 1
            counters.batch_records.observe(taken)
            counters.commit_seconds += time.monotonic() - began
        self._pacing.ended(began, counted=counted)
        self._enter(Phase.RESTORING if self._opening else Phase.RUNNING)

    def _rewind(self) -> None:
        """Drop the batch and open every partition anew from its committed offset; a row of aborts slows down."""
        self._stage.clear()
        for partition in self._owned:
            self._stage.disown(partition, again=True)
        self._consumer.pause([TopicPartition(self._topic, p) for p in self._owned])
        self._start_opening(self._owned)
        self._aborts_in_row += 1
        if self._aborts_in_row > 1:
            self._pause(min(_MOST_PAUSE, 0.05 * 2**self._aborts_in_row))

    def _start_opening(self, partitions: set[int]) -> None:
        if not partitions:
            return
        self._stop_seeking(partitions)
        self._offsets.begin(partitions)
        for partition in sorted(partitions):
            self._stage.begin(partition)
        self._opening |= partitions
        self._enter(Phase.RESTORING)

    def _stop_seeking(self, partitions: set[int]) -> None:
        self._seeking = {p: wanted for p, wanted in self._seeking.items() if p not in partitions}

    def _open(self) -> None:
        """Go on opening what is assigned; partitions that are open now are read from their committed offset."""
        opened = self._opened()
        self._seeking |= {partition: (offset, time.monotonic()) for partition, offset in opened.items()}
        sought: list[TopicPartition] = []
        for partition, (offset, since) in list(self._seeking.items()):
            if not self._seek(TopicPartition(self._topic, partition, offset), since):
                continue
            self._stage.own(partition, offset)
            self._offsets.open(partition, offset)
            self._opening.discard(partition)
            del self._seeking[partition]
            sought.append(TopicPartition(self._topic, partition))
        if sought:
            self._reader.resume(sought)
        if not self._opening:
            self._enter(Phase.RUNNING)

    def _opened(self) -> dict[int, int]:
        """Return the partitions that are open now, with their committed offsets."""
        try:
            opened = self._stage.opened(self._find)
        except RefusedError as refused:
            self._patience.refused(Doing.RESTORE, refused)
            return {}
        self._patience.passed(Doing.RESTORE)
        return opened

    def _find(self, partitions: list[int]) -> dict[int, int] | None:
        try:
            found = self._offsets.find(self._consumer, partitions)
        except RefusedError as refused:
            self._patience.refused(Doing.OFFSETS, refused)
            self._pause(REFUSED_PAUSE)
            return None
        if found is not None or not self._offsets.reading:
            self._patience.passed(Doing.OFFSETS)
        return found

    def _seek(self, to: TopicPartition, since: float) -> bool:
        """Seek; false where it is to be tried again.

        A partition that was assigned this moment refuses until its fetcher has started, and that waits for an earlier
        one to stop.
        """
        try:
            self._consumer.seek(to)
        except KafkaException as error:
            if error.args[0].code() not in {KafkaError._STATE, KafkaError._TIMED_OUT, KafkaError._PREV_IN_PROGRESS}:
                raise RetryError(f"seek to {to.offset} of {to.topic} failed: {error}") from error
            if time.monotonic() - since > SEEK_SECONDS:
                raise RetryError(
                    f"partition {to.partition} of {to.topic} refuses to seek since {SEEK_SECONDS:.0f} s"
                ) from error
            return False
        return True

    # Rebalance callbacks run within `poll`, which throws away what it holds when one raises: so they keep their errors
    # for the loop (`_poll`).

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            self._ask_again(bool(partitions))
            self._reader.assign_paused(partitions)
            self._patience.passed(Doing.GROUP)
            new = {p.partition for p in partitions}
            if new and max(new) >= self._config.partitions:
                reason = topics.miscount(self._config, self._stage.input, max(new) + 1, fixed=True)
                raise ConfigurationError(reason or "")
            self._owned |= new
            self._joined = self._member = True
            self._start_opening(new)
            if not self._opening:
                self._enter(Phase.RUNNING)
            self._report.partitions = sorted(self._owned)
            if new:
                log.info("assigned partitions %s of %s", sorted(new), self._topic)
            point("joined")
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = error

    def _ask_again(self, given: bool) -> None:
        """Have a new member that was given nothing join again when this assignment is done.

        What others gave up for it is assigned when all have joined once more. It would hear of that by a heartbeat, and
        librdkafka joins once a second unless partitions were revoked or a subscription came between
        (`rd_kafka_trigger_waiting_subscribe_maybe`): the partitions would be nobody's for that second.
        """
        if not self._joined:
            self._ask_until = time.monotonic() + ASKING_SECONDS
        # Under KIP-848 the broker hands out partitions one by one, as they are given up.
        if (
            not given
            and not self._owned
            and self._config.group_protocol == "classic"
            and time.monotonic() < self._ask_until
        ):
            self._join()

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Commit before letting go: until `incremental_unassign` nobody else is given the partitions."""
        try:
            if (self._stage.taken or self._stage.owing) and self._deferred is None:
                if self._transactions.started and not self._replaced and not self._patience.waiting:
                    self._commit(last=True)
                elif self._stage.taken:
                    self._rewind()  # others wait for the partitions: whoever has them reads the batch again
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = error
        self._release(partitions, "revoked")

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop the batch: others may have the partitions already."""
        self._member = False
        self._stage.clear()
        self._release(partitions, "lost")

    def _release(self, partitions: list[TopicPartition], why: str) -> None:
        try:
            self._drop({p.partition for p in partitions}, why)
            self._reader.unassign(partitions)
            point("released")
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = self._deferred or error

    def _drop(self, gone: set[int], why: str) -> None:
        """Take note that partitions are not its own any more."""
        for partition in gone & self._owned:
            self._stage.disown(partition)
            self._offsets.drop(partition)
        self._owned -= gone
        self._opening -= gone
        self._stop_seeking(gone)
        if not self._opening:
            self._patience.passed(Doing.OFFSETS, Doing.RESTORE)
        self._report.partitions = sorted(self._owned)
        log.info("partitions %s of %s %s", sorted(gone), self._topic, why)

    def _hear_reset(self, _what: str) -> None:
        self._reset = True

    def _enter(self, phase: Phase) -> None:
        self._report.phase = phase
        logs.enter(phase)

    def _timed(self, step: str, seconds: float) -> None:
        steps = self._report.counters.step_seconds
        if step not in steps:
            steps[step] = Histogram(SECONDS)
        steps[step].observe(seconds)

    def _beat(self, *, now: bool = False) -> None:
        """Report that the loop goes round; called wherever it may spend a while."""
        self._report.beat += 1
        self._login.look()
        clock, ready = time.monotonic(), self._member and not self._opening and not self._patience.waiting
        if not now and ready == self._report.ready and clock - self._sent < REPORT_SECONDS:
            return
        self._sent = clock
        self._report.ready = ready
        self._stage.tell(self._report)
        self._send(self._report)

    def _wait_on(self) -> None:
        """Report that it waits for Kafka; where it is to end, end the wait after a while.

        Not that for a transaction's end, as long as Kafka has not ended it by itself: it holds readers back.
        """
        self._beat()
        since, transactions = self._drain_since, self._transactions
        waits_long = since is not None and time.monotonic() - since > WAIT_SECONDS
        if waits_long and (transactions.overdue or not transactions.open):
            raise _NobodyAnswersError

    def _drain(self) -> None:
        self._enter(Phase.DRAINING)
        self._beat(now=True)
        log.info("draining")
        owed = self._stage.taken or self._stage.owing or self._stage.offsets() or self._offsets.owed
        # What is refused is read again by the next process, from where the last commit was.
        if owed and self._transactions.started and not self._patience.waiting:
            try:
                self._commit(last=True)
            except FencedError as fenced:
                self._go_on(fenced)
        if self._patience.waiting:
            self._stage.clear()
        self._enter(Phase.DRAINING)
        self._beat(now=True)
        self._stage.tend(last=True)
        if self._trim is not None:
            self._trim.finish(self._offsets.counted)
        # A dynamic member, as those of KIP-848 are, leaves when it is closed.
        if self._leaving and self._config.group_protocol == "classic":
            self._leave()
        self._stage.close()
        # A static member tells nobody that it ends, so there is nothing that closing its consumer would wait for.
        if self._config.group_protocol != "classic":
            self._reader.close()

    def _leave(self) -> None:
        """Leave the group, as a static member does not when it is closed (KIP-345).

        librdkafka forgets the member's id as it says so to the broker, and `close` waits for the answer.
        """
        self._consumer.unsubscribe()
        deadline = time.monotonic() + LEAVE_SECONDS
        while self._consumer.memberid() and time.monotonic() < deadline:
            self._beat()
            self._reader.read(SHORT_SECONDS)


def work(job: Job, send: Callable[[Report], None] = lambda _: None, sight: Sight | None = None) -> ExitStatus:
    """Run one worker in this process until a signal drains it; return `DONE`. `sight` is as in `Worker`.

    SIGTERM is for one that may come again under its name, and SIGINT for one that is not to: it leaves its group.
    Raises the `WcsupError` that ends it otherwise.
    """
    name_worker(job.name)
    return_memory()
    worker: Worker | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        if worker is None:
            end(ExitStatus.DONE)  # nothing is open yet, and its clients may wait for brokers
        worker.drain(leave=number == signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker = Worker(job, send, sight)
    worker.run()
    return ExitStatus.DONE


def end(status: int) -> NoReturn:
    """End the process of a worker, whose clients are left as they are: to be called where its error is handled.

    The error's frames hold the producer. It is destroyed when they go, and where another process had fenced it,
    librdkafka has been seen to abort there, which hides the status. Nothing of its threads is worth waiting for.
    """
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
