"""The loop that mapper and reducer share: read records, hand them to Rust, commit; rebalances in between."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from queue import SimpleQueue

from confluent_kafka import KafkaError, TopicPartition

from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, FencedError, RefusedError
from wcsup.kafka import clients, refusals, topics
from wcsup.kafka.ownership import Orphans, Owners
from wcsup.kafka.sighting import Sight
from wcsup.kafka.topic_guard import TopicGuard
from wcsup.pipeline.fencing import Fenced, has_successor
from wcsup.pipeline.holdup import Holdup
from wcsup.pipeline.intake import Intake
from wcsup.pipeline.login import Login
from wcsup.pipeline.mapper import Mapper
from wcsup.pipeline.membership import ASK_AGAIN_SECONDS, Membership, Ties
from wcsup.pipeline.offsets import Offsets
from wcsup.pipeline.pacing import Pacing
from wcsup.pipeline.patience import Doing, Patience
from wcsup.pipeline.report import SECONDS, Ended, Histogram, Job, Phase, Question, Reply, Report
from wcsup.pipeline.stage import Stage
from wcsup.pipeline.succession import Succession
from wcsup.pipeline.transaction import AbortedError, Transactions
from wcsup.process import logs, trace
from wcsup.state.directory import open_directory

log = logging.getLogger("wcsup.worker")

_REPORT_SECONDS = 0.5
_STILL_SECONDS = 1.0
"""How often a worker without input checks whether its partitions are held up by an open transaction."""
_WAIT_SECONDS = 2.0
"""How long a draining worker waits for brokers that do not answer, while none of its transactions is open."""
_MOST_PAUSE = 5.0
_PAUSE_TURN_SECONDS = 0.1


class _NobodyAnswersError(Exception):
    """The worker is draining, no broker answers, and no transaction is open."""


class Worker:
    """One mapper or reducer from its start to its drain."""

    def __init__(
        self,
        job: Job,
        send: Callable[[Report | Reply], None] = lambda _: None,
        sight: Sight | None = None,
        questions: "SimpleQueue[Question] | None" = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Reach a broker and make the parts. The predecessor is fenced by `run`, not before.

        `send` takes a report twice a second and must not block. `sight` is what the supervisor sees of topics and
        groups, and `questions` is what it asks: the replies go to `send`, too.
        """
        self._questions = SimpleQueue() if questions is None else questions
        self._config: Config = job.config
        self._send, self._clock, self._sleep = send, clock, sleep
        self._report = Report()
        self._sent = self._stood_at = 0.0
        self._drain_since: float | None = None
        """When the worker was asked to drain."""
        self._leaving = False
        self._aborts_in_row = 0
        self._asked_at = 0.0
        """When the brokers were last asked whether they still refuse what they refused."""
        self._was_reset = False
        """Whether librdkafka reset a partition to its start, since its offset was not there (`auto.offset.reset`)."""

        config = self._config
        directory = open_directory(config)
        admin = clients.admin(config)
        self._reach(supervised=job.report_fd is not None)
        identity = topics.identity(admin, config)
        name = directory.name(config, job.role, job.slot)
        self._claim = directory.claim(job.role, job.slot)
        sight = Sight() if sight is None else sight
        self._stage: Stage
        if job.role == "map":
            self._stage, group = Mapper(config, admin, sight), config.map_group
            self._guard = TopicGuard(config, identity, ["lines", "positions"], sight)
        else:
            # Imported here, so that no mapper and no spare process loads RocksDB: it saves 8 MB in each of them, and
            # costs 4 ms of a reducer's start.
            from wcsup.pipeline.reducer import Reducer  # noqa: PLC0415 - see above

            self._stage, group = Reducer(config, directory, admin, identity), config.reduce_group
            self._guard = TopicGuard(config, identity, ["words", "counts", "positions"], sight)
        self._pacing = Pacing(config.commit_interval, self._stage.pause_seconds)
        self._topic = config.topic(self._stage.input)
        self._upkeep = self._stage.upkeep
        self._offsets = Offsets(config, admin, self._stage.input, identity)
        self._patience = Patience()
        self._login = Login(config, admin, self._patience)
        about = refusals.of_role(config, job.role)
        self._transactions = Transactions(
            config, name, self._wait_on, self._timed, about=replace(about, topic=self._topic), reached=sight.fresh
        )
        self._name = name
        self._succession = Succession(config, admin, group, self._claim)
        self._holdup = Holdup(config, name, self._beat)
        self._membership = Membership(
            config,
            self._stage,
            offsets=self._offsets,
            patience=self._patience,
            orphans=Orphans(Owners(sight, group), config.partitions),
            make_reader=partial(clients.group_reader, config, group, name, self._stage.fetch_seconds, self._hear_reset),
            ties=Ties(self._beat, self._settle, self._tell_partitions),
        )
        self._intake = Intake(config, self._stage, self._membership, self._pacing, patience=self._patience, about=about)

    def _reach(self, *, supervised: bool) -> None:
        """Wait for a broker: without bound in a supervised worker, since its supervisor has reached the broker once."""
        while True:
            try:
                return clients.check_reachable(self._config)
            except BrokerUnreachableError:
                if not supervised:
                    raise
                self._report.beat += 1
                self._send(self._report)

    def run(self) -> None:
        """Work until drained. Raises the `WcsupError` that ends the worker otherwise."""
        trace.step("start")
        try:
            # The predecessor is fenced before the first poll: its open transaction is settled by then.
            while not self._start() and self._drain_since is None:
                self._pause(ASK_AGAIN_SECONDS)
            self._enter(Phase.JOINING)
            self._beat(now=True)
            self._succession.relieve()
            self._membership.join()
            while self._drain_since is None:
                try:
                    self._turn()
                except FencedError as fenced:
                    self._go_on(fenced)
            self._drain()
            trace.step("end")
        except _NobodyAnswersError:
            log.warning("drained while no broker answers: what is not committed is read again")
        finally:
            self._stage.close()
            self._offsets.close()
            self._transactions.close()

    def _go_on(self, fenced: FencedError) -> None:
        """Go on with a new producer or as a new member; raise `fenced` where another process has the name."""
        log.info("fenced: looking whether another process has this one's name")
        membership, static = self._membership, self._config.group_protocol == "classic"
        what = "member" if membership.is_fenced else "producer"
        succeeded = has_successor(
            Fenced(membership.has_joined, membership.is_fenced, self._transactions.overdue, static),
            claimed=self._claim.holds,
            superseded=self._superseded,
            member_is_fenced=self._member_is_fenced,
            successor_joins=self._successor_joins,
        )
        trace.step("verdict", fenced=what, successor=succeeded)
        if succeeded:
            raise fenced
        log.warning(
            "fenced by the time-out of a transaction, a broker's restart or a late request of its own, since nobody "
            "else has its name: going on"
        )
        if not membership.is_fenced:
            self._rewind()
            return
        self._stage.clear()
        membership.join_in_place()
        self._enter(Phase.JOINING)

    def _superseded(self) -> bool:
        return self._transactions.superseded(self._topic, self._membership.consumer.consumer_group_metadata())

    def _member_is_fenced(self) -> bool:
        """Return whether the worker's group member is fenced: the broker says so within half a session time-out."""
        self._stage.clear()  # so that rebalance callbacks commit nothing
        return self._membership.is_found_fenced(max(1.0, self._config.session_timeout / 2))

    def _successor_joins(self) -> bool:
        """Return whether the group has another member of the worker's name within half a session time-out."""
        seconds = max(1.0, self._config.session_timeout / 2)
        return self._succession.joins(self._name, self._membership.consumer.memberid(), seconds, self._beat)

    def _ask_who_has_the_name(self) -> None:
        """Raise `FencedError` where another process has the name: for a member that has left its group unasked.

        A dynamic member rejoins like a new one. Without this question a process whose name was taken would have
        partitions again, until its next commit is refused.
        """
        if self._superseded():
            raise FencedError(f"another process was started as {self._name} and has taken over; this one ends")

    def drain(self, *, leave: bool = False) -> None:
        """Ask the loop to end after a last commit; safe to call from a signal handler.

        With `leave` the group reassigns the worker's partitions at once. Without it they stay assigned to the worker's
        static member until the session times out.
        """
        self._drain_since = self._clock()
        self._leaving = leave

    def _start(self) -> bool:
        """Make the producer; return false where the brokers refuse it and it is to be tried again."""
        try:
            self._transactions.start()
        except RefusedError as refused:
            self._patience.refused(Doing.COMMIT, refused)
            return False
        return True

    def _pause(self, seconds: float) -> None:
        """Wait between two tries; a drain request ends the wait."""
        until = self._clock() + seconds
        while self._drain_since is None and (left := until - self._clock()) > 0:
            self._beat()
            self._sleep(min(left, _PAUSE_TURN_SECONDS))

    def _turn(self) -> None:
        dry = self._intake.read()
        with suppress(RefusedError):  # commits and fetches report the refusal
            self._guard.look()
        self._membership.look()
        if self._membership.was_lost:
            self._membership.was_lost = False
            if self._config.group_protocol == "consumer" and self._transactions.started:
                self._ask_who_has_the_name()
        if self._patience.waiting:
            self._ask_whether_refused()
        if self._was_reset:
            self._was_reset = False
            self._rewind()  # opening the partitions anew finds out why
        if self._membership.opening:
            self._membership.open()
        if self._pacing.is_due(self._stage, dry=dry, idle_work=self._idle_work):
            if self._transactions.started or self._start():
                self._commit()
            else:
                self._pause(ASK_AGAIN_SECONDS)
        elif dry:
            self._transactions.look()
            self._look_still()
        if self._upkeep is not None:
            self._upkeep.tend(self._offsets.counted, self._beat)
        while not self._questions.empty():
            self._reply(self._questions.get())
        self._beat()

    def _reply(self, question: Question) -> None:
        found = self._stage.find([(partition, word.encode("latin-1")) for partition, word in question.words])
        self._send(Reply(question.number, found))

    def _ask_whether_refused(self) -> None:
        """Raise a refusal that has lasted too long; ask again about refusals whose end librdkafka does not report."""
        self._patience.look()
        if self._clock() < self._asked_at + ASK_AGAIN_SECONDS:
            return
        self._asked_at = self._clock()
        if not self._transactions.started:
            self._start()  # this also waits for the transaction that a predecessor left open
        self._intake.ask_again()

    def _look_still(self) -> None:
        """Check whether the stores that are being opened, or the partitions with a lag, make progress."""
        if self._clock() < self._stood_at + _STILL_SECONDS:
            return
        self._stood_at = self._clock()
        membership = self._membership
        if membership.opening:
            self._holdup.look((sorted(membership.opening), dict(self._report.restoring)))
            return
        behind = []
        for partition, offset in self._offsets.counted.items():
            _, end = membership.consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if end > offset:
                behind.append((partition, offset))
        self._holdup.look(behind or None)
        if not behind and not self._owes:
            self._patience.passed(Doing.COMMIT)  # nothing is left to commit

    @property
    def _owes(self) -> bool:
        """Whether something is left to commit even without new input."""
        return self._offsets.owed or (self._upkeep is not None and self._upkeep.owing)

    def _idle_work(self) -> bool:
        """Return whether it is time for a commit without new input."""
        upkeep_is_due = self._upkeep is not None and self._upkeep.is_due
        return self._offsets.owed or upkeep_is_due or bool(self._stage.offsets())

    def _commit(self, *, last: bool = False) -> None:
        stage = self._stage
        self._enter(Phase.COMMITTING)
        self._beat()
        began = self._clock()
        outbox = stage.outbox(last=last)
        due = self._offsets.due(stage.offsets())
        outbox.offsets = self._offsets.of_group(due)
        records = self._offsets.records(due, self._membership.owned)
        outbox.records = chain(outbox.records, [(self._config.topic("positions"), records)])
        counters, taken, counted, error = self._report.counters, stage.taken, False, None
        try:
            metadata = self._membership.consumer.consumer_group_metadata()
            self._guard.confirm(self._wait_on)
            self._transactions.commit(outbox, metadata, stage.committed)
        except AbortedError as aborted:
            error = aborted.reason
            for aborts in (counters.aborts, self._report.aborts_in_row):
                aborts[aborted.reason] = aborts.get(aborted.reason, 0) + 1
            self._patience.aborted(aborted.reason)
            self._rewind()
        except RefusedError as refused:
            error = KafkaError(refused.code).name()
            self._patience.refused(Doing.COMMIT, refused)
            self._rewind()
        else:
            self._patience.committed()
            self._aborts_in_row = 0
            self._report.aborts_in_row = {}
            self._offsets.committed(due)
            counted = taken > 0
            counters.commits += 1
            counters.batch_records.observe(taken)
            counters.commit_seconds += self._clock() - began
        self._report.ended.append(Ended(round(time.time(), 3), round(self._clock() - began, 4), taken, error))
        self._pacing.ended(began, counted=counted)
        self._enter(Phase.RESTORING if self._membership.opening else Phase.RUNNING)

    def _rewind(self) -> None:
        """Drop the batch and open every partition anew from its committed offset; back off after consecutive aborts."""
        self._stage.clear()
        self._membership.reopen()
        self._aborts_in_row += 1
        if self._aborts_in_row > 1:
            self._pause(min(_MOST_PAUSE, 0.05 * 2**self._aborts_in_row))

    def _settle(self) -> None:
        """Commit the batch before partitions are released; without a commit, the next owner reads it again."""
        if not (self._stage.taken or (self._upkeep is not None and self._upkeep.owing)):
            return
        if self._transactions.started and not self._membership.is_fenced and not self._patience.waiting:
            self._commit(last=True)
        elif self._stage.taken:
            self._rewind()

    def _hear_reset(self, _what: str) -> None:
        self._was_reset = True

    def _tell_partitions(self) -> None:
        self._report.partitions = sorted(self._membership.owned)
        if self._membership.is_member:
            self._succession.record(self._membership.consumer.memberid)
        if self._report.phase is not Phase.DRAINING:
            self._enter(Phase.RESTORING if self._membership.opening else Phase.RUNNING)

    def _enter(self, phase: Phase) -> None:
        self._report.phase = phase
        logs.enter(phase)

    def _timed(self, step: str, seconds: float) -> None:
        steps = self._report.counters.step_seconds
        if step not in steps:
            steps[step] = Histogram(SECONDS)
        steps[step].observe(seconds)

    def _beat(self, *, now: bool = False) -> None:
        """Report that the loop goes round; called wherever the loop may spend a while."""
        self._report.beat += 1
        self._login.look()
        membership, time_now = self._membership, self._clock()
        ready = membership.is_member and not membership.opening and not self._patience.waiting
        if not now and ready == self._report.ready and time_now - self._sent < _REPORT_SECONDS:
            return
        self._sent = time_now
        self._report.ready = ready
        self._stage.tell(self._report)
        self._send(self._report)
        self._report.ended.clear()

    def _wait_on(self) -> None:
        """Report that the loop is alive while it waits for Kafka. A draining worker gives the wait up after a while.

        It does not give up the wait for the end of a transaction before that transaction's time-out: until then the
        open transaction holds readers back.
        """
        self._beat()
        since, transactions = self._drain_since, self._transactions
        waits_long = since is not None and self._clock() - since > _WAIT_SECONDS
        if waits_long and (transactions.overdue or not transactions.open):
            raise _NobodyAnswersError

    def _drain(self) -> None:
        self._enter(Phase.DRAINING)
        self._beat(now=True)
        log.info("draining")
        owed = self._stage.taken or self._stage.offsets() or self._owes
        # A batch whose commit is refused is read again by the next process, from the last committed offsets.
        if owed and self._transactions.started and not self._patience.waiting:
            try:
                self._commit(last=True)
            except FencedError as fenced:
                self._go_on(fenced)
        if self._patience.waiting:
            self._stage.clear()
        self._enter(Phase.DRAINING)
        self._beat(now=True)
        if self._upkeep is not None:
            self._upkeep.tend(self._offsets.counted, self._beat, last=True)
        # A dynamic member, such as each member under KIP-848, leaves when its consumer is closed.
        if self._leaving and self._config.group_protocol == "classic":
            self._membership.leave()
        self._stage.close()
        # A static member does not leave the group when its consumer is closed, so closing it would achieve nothing.
        if self._config.group_protocol != "classic":
            self._membership.reader.close()
