"""When a worker has to look for what hangs of its last transactions (`wcsup.kafka.hanging`)."""

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
"""How often a worker that has nothing to commit looks, until it could."""
_SAY_SECONDS, _SAY_AGAIN_SECONDS = 10.0, 60.0

Settle = Callable[[Config, str, Callable[[], None]], bool]


class Settling:
    """What may hang of one `transactional.id`."""

    def __init__(
        self,
        config: Config,
        name: str,
        alive: Callable[[], None],
        *,
        settle: Settle | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`alive` is called where it takes long."""
        self._config, self._name, self._alive = config, name, alive
        self._settle, self._sleep = settle or hanging.settle, sleep
        self.due = True
        """Whether something may hang: at a start, and since a connection broke."""
        self._look_at = 0.0

    def look(self) -> None:
        """End what hangs where that is due; for a worker that has nothing to commit, and waits for nothing here.

        Others wait for it: reducers for the words behind it, the next owner of a partition for its offset.
        """
        if not self.due or time.monotonic() < self._look_at:
            return
        try:
            self.due = not self._settle(self._config, self._name, self._alive)
        except KafkaException as error:
            log.debug("what hangs can't be looked at: %s", error)
        self._look_at = time.monotonic() + _AGAIN_SECONDS

    def finish(self, is_answered: Callable[[], bool]) -> None:
        """End what hangs where that is due, before a transaction whose marker would end it, too.

        Waits where a partition has no leader, since it would be written to as soon as it has one. `is_answered` tells
        whether librdkafka reaches brokers; where it does, and a connection of one's own does not, it is left at that.
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
