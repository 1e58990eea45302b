"""How a worker reads its input: how long a read waits, and what an error of the consumer means."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.errors import FencedError, RetryError
from wcsup.kafka import failures, refusals
from wcsup.kafka.causes import CAUSES
from wcsup.kafka.failures import Failure, classify
from wcsup.kafka.refusals import About
from wcsup.kafka.rights import Right
from wcsup.kafka.topic_guard import gone
from wcsup.pipeline.membership import Membership
from wcsup.pipeline.pacing import Pacing, is_light
from wcsup.pipeline.patience import Doing, Patience
from wcsup.pipeline.stage import Stage

log = logging.getLogger("wcsup.intake")

IDLE_SECONDS = 0.1
"""How long a read waits for input."""
SHORT_SECONDS = 0.005
"""How long a read waits where the loop has something else to do soon."""
GROUP_SECONDS = 5.0
"""How long after a refusal by the group's coordinator the coordinator is asked whether it still refuses."""


class Intake:
    """What comes from the consumer: records for the stage, and errors."""

    def __init__(
        self,
        config: Config,
        stage: Stage,
        membership: Membership,
        pacing: Pacing,
        *,
        patience: Patience,
        about: About,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`about` has the group, and the rights that reading needs."""
        self._config, self._stage, self._membership = config, stage, membership
        self._pacing, self._patience, self._clock, self._sleep = pacing, patience, clock, sleep
        self._topic = config.topic(stage.input)
        self._about = replace(about, topic=self._topic)
        self._group_refused_at = 0.0
        """When the group's coordinator last refused something."""
        self._failed = False
        """Whether the consumer has a fatal error: under KIP-848 librdkafka does not retry what is refused."""

    def read(self) -> bool:
        """Hand the consumer's records to the stage; return whether there were none.

        Raises the exception of a rebalance callback, and the error that an error of the consumer stands for.
        """
        self._membership.wake()
        wait = SHORT_SECONDS if self._membership.opening or self._stage.taken else IDLE_SECONDS
        first = not self._stage.taken
        if not first and is_light(self._stage):
            # The consumer gathers records until the commit is due: one wake-up for all of them instead of one for each.
            self._sleep(self._pacing.until_light())
            wait = 0
        if not self._take(max(0.0, min(wait, self._membership.until_heartbeat()))):
            return True
        if first and self._stage.gather_seconds and is_light(self._stage) and not self._pacing.until_light():
            self._sleep(self._stage.gather_seconds)
            self._take(0)
        return False

    def _take(self, seconds: float) -> bool:
        """Hand the records that the consumer has within `seconds` to the stage; return whether there were any."""
        reader = self._membership.reader
        notices = reader.read(seconds, size=self._pacing.bytes_to_read)
        self._membership.raise_deferred()
        for error, _ in notices:
            self._judge(error)
        before = self._stage.taken
        self._stage.add(reader.inbox)
        if self._stage.taken == before:
            return False
        self._patience.passed(Doing.INPUT)
        self._pacing.read()
        return True

    def _judge(self, error: KafkaError) -> None:
        """Raise the error that an error of the consumer stands for, or take note of it."""
        if error.code() == KafkaError._PARTITION_EOF:
            return
        match classify(error):
            case Failure.FENCED:
                self._membership.is_fenced = True
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
        """Take note of a refusal. A consumer with a fatal error does not retry: `ask_again` replaces it."""
        if failures.cause(error) in failures.OF_A_LOGIN:
            CAUSES.hear(error)  # for `Login`
            return
        self._failed = self._failed or error.code() == KafkaError._FATAL
        doing = Doing.INPUT if failures.cause(error) == KafkaError.TOPIC_AUTHORIZATION_FAILED else Doing.GROUP
        # Each partition reports the refusal, and to word the message takes a request.
        if doing is Doing.GROUP or not self._patience.waits_for(doing):
            refused = refusals.refused(self._config, error, self._about)
            if doing is Doing.GROUP:
                self._group_refused_at = self._clock()
            self._patience.refused(doing, refused)

    def ask_again(self) -> None:
        """Ask whether refusals have ended, since librdkafka does not report their end.

        librdkafka reports once that it may not read a topic or find a group's coordinator, and goes on trying.
        """
        if self._failed:
            self._failed = False
            self._stage.clear()
            self._membership.join_in_place()
            return
        if self._patience.waits_for(Doing.INPUT):
            with suppress(KafkaException):
                if refusals.lacking(self._config, [Right("topic", self._topic, "READ")]) is None:
                    self._patience.passed(Doing.INPUT)
                    if not self._membership.owned:
                        # To a member without the right to see the topic it had no partitions, and still has none for
                        # up to 30 s after the right is given.
                        self._membership.join_anew()
        # A refusal to join the group is reported again with each try.
        if self._patience.waits_for(Doing.GROUP) and self._clock() > self._group_refused_at + GROUP_SECONDS:
            with suppress(KafkaException):
                self._membership.consumer.committed([TopicPartition(self._topic, 0)], IDLE_SECONDS)
                self._patience.passed(Doing.GROUP)
