"""When a worker has to look for hanging transactions of its own (`wcsup.kafka.hanging`)."""

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.kafka import hanging

log = logging.getLogger("wcsup.settling")

_TRIES = 5
_PAUSE_SECONDS = 0.2
_AGAIN_SECONDS = 1.0
"""How often a worker without anything to commit looks, until a look succeeds."""
_SAY_SECONDS, _SAY_AGAIN_SECONDS = 10.0, 60.0

Settle = Callable[[Config, str, Callable[[], None]], bool]


class Settling:
    """Hanging transactions of one `transactional.id`: whether there may be any, and their end."""

    def __init__(
        self,
        config: Config,
        name: str,
        alive: Callable[[], None],
        *,
        settle: Settle | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`alive` is called during long waits."""
        self._config, self._name, self._alive = config, name, alive
        self._settle, self._sleep = settle or hanging.settle, sleep
        self.due = True
        """Whether a transaction may hang: true at a start and after a broken connection."""
        self._look_at = 0.0

    def look(self) -> None:
        """Finish hanging transactions where a look is due; for a worker without anything to commit. Tries once.

        Other workers wait for it: reducers for records of `words` behind it, a partition's next owner for its offset.
        """
        if not self.due or time.monotonic() < self._look_at:
            return
        try:
            self.due = not self._settle(self._config, self._name, self._alive)
        except KafkaException as error:
            log.debug("what hangs can't be looked at: %s", error)
        self._look_at = time.monotonic() + _AGAIN_SECONDS

    def finish(self, is_answered: Callable[[], bool]) -> None:
        """Finish hanging transactions where a look is due: the marker of the next transaction would end them, too.

        Waits while a partition has no leader, since the next transaction would write to it as soon as it has one.
        `is_answered` tells whether librdkafka reaches brokers. If librdkafka does, and wcsup's own connections fail,
        the look is given up after some tries.
        """
        failures, say_at = 0, time.monotonic() + _SAY_SECONDS
        while self.due:
            self._alive()
            try:
                self.due = not self._settle(self._config, self._name, self._alive)
            except KafkaException as error:
                code = error.args[0].code()
                failures += code not in hanging.PASSING and is_answered()
                if failures == _TRIES or code == KafkaError._UNSUPPORTED_FEATURE:
                    log.info("whether a transaction of %s hangs can't be seen: %s", self._name, error.args[0].str())
                    self.due = False
            if self.due:
                if time.monotonic() > say_at:
                    say_at += _SAY_AGAIN_SECONDS
                    log.warning("waiting for the last transaction's markers, and for partitions that have no leader")
                self._sleep(_PAUSE_SECONDS)
