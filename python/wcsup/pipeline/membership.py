"""Which partitions of its input a worker owns, and which of them are open.

A partition that a rebalance assigns goes through these steps, while work on open partitions goes on:

1. It is paused, and its stage begins to open what it needs: a reducer its store, a mapper nothing.
2. Its committed offset is found, and the consumer seeks to it. librdkafka refuses to seek until the partition's fetcher
   has started.
3. It is open: the stage takes its records, and the consumer reads on.

A revoked partition is released after the batch, which may have its records, is committed or dropped. After an aborted
batch all partitions are opened anew, and their records are read again.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RefusedError, RetryError
from wcsup.kafka import clients, failures, topics
from wcsup.kafka.failures import Failure, classify
from wcsup.kafka.ownership import Orphans, partition_list
from wcsup.kafka.reader import Reader
from wcsup.pipeline.aside import Aside
from wcsup.pipeline.offsets import Offsets
from wcsup.pipeline.patience import Doing, Patience
from wcsup.pipeline.stage import Stage
from wcsup.process import trace
from wcsup.process.crash import point

log = logging.getLogger("wcsup.membership")

SEEK_SECONDS = 20.0
"""How long seeks of an assigned partition may fail before a new process tries."""
ASK_AGAIN_SECONDS = 1.0
"""How soon a request that the brokers refused is made again."""
_ASKING_SECONDS = 2.0
"""How long a new member without partitions rejoins at once: the other members have just been asked to give some up."""
_LEAVE_SECONDS = 2.0
"""How long a leaving member waits for the broker's answer. Without it the broker hears at the session time-out."""
_WAKE_SECONDS = 0.05
"""How often librdkafka's main thread is woken at most; while a rebalance is under way it sends no heartbeat."""
_TURN_SECONDS = 0.005
_FENCED_TURN_SECONDS = 0.1
_CANNOT_SEEK_YET = {KafkaError._STATE, KafkaError._TIMED_OUT, KafkaError._PREV_IN_PROGRESS}


@dataclass(frozen=True, slots=True)
class Ties:
    """What a membership calls in its work loop."""

    beat: Callable[[], None]
    """Reports that the worker is alive."""
    settle: Callable[[], None]
    """Commits or drops the batch, before partitions are released."""
    changed: Callable[[], None]
    """Takes note that the owned or the open partitions have changed."""


class Membership:
    """A worker's member of its stage's consumer group."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        *,
        offsets: Offsets,
        patience: Patience,
        orphans: Orphans,
        make_reader: Callable[[], Reader],
        ties: Ties,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make_reader` makes the reader of a new group member; `orphans` finds partitions without an owner."""
        self._config, self._stage, self._offsets, self._patience = config, stage, offsets, patience
        self._orphans, self._make_reader, self._ties, self._clock = orphans, make_reader, ties, clock
        self._topic = config.topic(stage.input)
        self.owned: set[int] = set()
        """Partitions that are assigned."""
        self.opening: set[int] = set()
        """Partitions that are owned and not open yet."""
        self._seeking: dict[int, tuple[int, float]] = {}
        """Opened partitions that have yet to be sought: the offset, and since when seeks are tried."""
        self.has_joined = False
        """Whether there ever was an assignment, even one without partitions."""
        self.is_member = False
        """Whether the last assignment is still valid, as far as is known."""
        self.was_lost = False
        """Whether the broker took the partitions away since the owner of the membership last set this to false."""
        self.is_fenced = False
        """Whether the broker has fenced the member, since another member has its name."""
        self._deferred: BaseException | None = None
        """What a rebalance callback raised, kept for the loop: a callback that raises loses the consumer's messages."""
        self._join_again_until = self._woken = self._find_at = 0.0
        self.reader = make_reader()

    @property
    def consumer(self) -> Consumer:
        """The member's consumer; `join_in_place` replaces it."""
        return self.reader.consumer

    def join(self) -> None:
        """Subscribe. Later reads run the callbacks that assign partitions."""
        self.consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def join_anew(self) -> None:
        """Leave the group, also as a static member, and subscribe again: it makes the group rebalance."""
        self.consumer.unsubscribe()
        self.join()

    def join_in_place(self) -> None:
        """Join as a new member of the same name, in place of one that is fenced or has failed."""
        self.is_member = False
        self.reader.close()
        self._drop(self.owned.copy(), "lost")
        self.is_fenced = False
        self.reader = self._make_reader()
        self.join()

    def leave(self) -> None:
        """Leave the group for good, as a static member does not when its consumer is closed (KIP-345).

        librdkafka forgets the member's id when it has the request for the broker ready, and a process that ends then
        may not have sent it. Closing the consumer waits for the answer: it is closed aside, where no broker may be.
        """
        self.consumer.unsubscribe()
        deadline = self._clock() + _LEAVE_SECONDS

        def alive(_seconds: float = 0.0) -> None:
            self._ties.beat()
            if self._clock() >= deadline:
                raise TimeoutError

        with suppress(TimeoutError):
            while self.consumer.memberid():
                alive()
                self.reader.read(_TURN_SECONDS)
            Aside().make(self.reader.close, alive)

    def look(self) -> None:
        """Rejoin the group where partitions have no owner."""
        # Under KIP-848 the broker itself assigns every partition, and there is no second round that could be missed.
        if self._config.group_protocol == "classic" and (orphans := self._orphans.found(self.consumer.memberid)):
            log.warning("partitions %s of %s have no owner: joining anew", partition_list(orphans), self._topic)
            self.join_anew()

    def is_found_fenced(self, seconds: float) -> bool:
        """Return whether the broker says within `seconds` that the member is fenced: half a session is enough."""
        deadline = self._clock() + seconds
        while not self.is_fenced and self._clock() < deadline:
            self._ties.beat()
            message = self.consumer.poll(_FENCED_TURN_SECONDS)
            error = None if message is None else message.error()
            self.is_fenced = error is not None and classify(error) is Failure.FENCED
        return self.is_fenced

    def wake(self) -> None:
        """Wake librdkafka's main thread where a heartbeat is due: it sends heartbeats, and sleeps for up to a second.

        A commit wakes that thread, too, and should find no heartbeat due. A heartbeat that goes out with a commit may
        be answered with a rebalance: the group then has a new generation before the offsets arrive, and refuses them.
        So a read waits at most until the next heartbeat is due (`until_heartbeat`).
        """
        if self.until_heartbeat() <= 0:
            self._woken = self._clock()
            self.consumer.memberid()

    def until_heartbeat(self) -> float:
        """Return the seconds until a heartbeat is due."""
        since = self.reader.inbox.since_heartbeat()
        woken = self._clock() - self._woken
        due = 0.0 if since is None else clients.heartbeat_seconds(self._config) - since
        return max(due, _WAKE_SECONDS - woken)

    def raise_deferred(self) -> None:
        """Raise the exception of a rebalance callback, if there was one."""
        if self._deferred is not None:
            raise self._deferred

    def reopen(self) -> None:
        """Open every partition anew from its committed offset; the batch is dropped."""
        for partition in self.owned:
            self._stage.disown(partition, again=True)
        self.consumer.pause([TopicPartition(self._topic, p) for p in self.owned])
        self._start_opening(self.owned)

    def open(self) -> None:
        """Go on opening assigned partitions; read those that are open now from their committed offset."""
        now = self._clock()
        self._seeking |= {partition: (offset, now) for partition, offset in self._opened().items()}
        sought: list[TopicPartition] = []
        for partition, (offset, since) in list(self._seeking.items()):
            if not self._seek(TopicPartition(self._topic, partition, offset), since):
                continue
            self._stage.own(partition, offset)
            self._offsets.open(partition, offset)
            self.opening.discard(partition)
            del self._seeking[partition]
            sought.append(TopicPartition(self._topic, partition))
        if sought:
            self.reader.resume(sought)
            self._ties.changed()

    def _start_opening(self, partitions: set[int]) -> None:
        if not partitions:
            return
        self._stop_seeking(partitions)
        self._offsets.begin(partitions)
        for partition in sorted(partitions):
            self._stage.begin(partition)
        self.opening |= partitions
        self._ties.changed()

    def _stop_seeking(self, partitions: set[int]) -> None:
        self._seeking = {p: wanted for p, wanted in self._seeking.items() if p not in partitions}

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
        if self._clock() < self._find_at:
            return None
        try:
            found = self._offsets.find(self.consumer, partitions)
        except RefusedError as refused:
            self._patience.refused(Doing.OFFSETS, refused)
            self._find_at = self._clock() + ASK_AGAIN_SECONDS
            return None
        if found is not None:
            trace.step("found", offsets=found)
        if found is not None or not self._offsets.reading:
            self._patience.passed(Doing.OFFSETS)
        return found

    def _seek(self, to: TopicPartition, since: float) -> bool:
        """Seek; return false where the seek is to be tried again.

        librdkafka refuses to seek a partition that was just assigned until its fetcher has started. The fetcher starts
        only after an earlier fetcher of the partition has stopped.
        """
        try:
            self.consumer.seek(to)
        except KafkaException as error:
            if failures.of(error).code() not in _CANNOT_SEEK_YET:
                raise RetryError(f"seek to {to.offset} of {to.topic} failed: {error}") from error
            if self._clock() - since > SEEK_SECONDS:
                raise RetryError(
                    f"partition {to.partition} of {to.topic} refuses to seek since {SEEK_SECONDS:.0f} s"
                ) from error
            return False
        return True

    # Rebalance callbacks run within a read. They keep their exceptions for the loop (`raise_deferred`).

    def _assigned(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            self._join_again(bool(partitions))
            self.reader.assign_paused(partitions)
            self._patience.passed(Doing.GROUP)
            new = {p.partition for p in partitions}
            if new and max(new) >= self._config.partitions:
                reason = topics.miscount(self._config, self._stage.input, max(new) + 1, fixed=True)
                raise ConfigurationError(reason or "")
            self.owned |= new
            trace.step("assigned", partitions=sorted(new))
            self.has_joined = self.is_member = True
            self._start_opening(new)
            self._ties.changed()
            if new:
                log.info("assigned partitions %s of %s", partition_list(new), self._topic)
            point("joined")
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = error

    def _join_again(self, given: bool) -> None:
        """Have a new member without partitions rejoin as soon as this assignment is done.

        The other members give up partitions in the first round of a cooperative rebalance, and the new member is
        assigned these in the second round. It would hear of the second round by a heartbeat, and librdkafka joins at
        most once a second unless partitions were revoked or there was a new subscription
        (`rd_kafka_trigger_waiting_subscribe_maybe`): the partitions would have no owner for that second.
        """
        if not self.has_joined:
            self._join_again_until = self._clock() + _ASKING_SECONDS
        # Under KIP-848 the broker assigns each partition as soon as its old owner has given it up.
        if (
            not given
            and not self.owned
            and self._config.group_protocol == "classic"
            and self._clock() < self._join_again_until
        ):
            self.join()

    def _revoked(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Commit before the release: until `incremental_unassign` no other member is assigned the partitions."""
        try:
            if self._deferred is None:
                self._ties.settle()
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = error
        self._release(partitions, "revoked")

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop the batch: other members may own the partitions already."""
        self.is_member = False
        self.was_lost = True
        self._stage.clear()
        self._release(partitions, "lost")

    def _release(self, partitions: list[TopicPartition], why: str) -> None:
        try:
            self._drop({p.partition for p in partitions}, why)
            self.reader.unassign(partitions)
            trace.step(why, partitions=sorted(p.partition for p in partitions))
            point("released")
        except BaseException as error:  # noqa: BLE001 - see above
            self._deferred = self._deferred or error

    def _drop(self, gone: set[int], why: str) -> None:
        """Take note that the member does not own these partitions any more."""
        for partition in gone & self.owned:
            self._stage.disown(partition)
            self._offsets.drop(partition)
        self.owned -= gone
        self.opening -= gone
        self._stop_seeking(gone)
        if not self.opening:
            self._patience.passed(Doing.OFFSETS, Doing.RESTORE)
        self._ties.changed()
        if gone:
            log.info("partitions %s of %s %s", partition_list(gone), self._topic, why)
