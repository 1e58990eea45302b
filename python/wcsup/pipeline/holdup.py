"""What holds a worker up: it is logged with the time so far, and ended if it is an abandoned hanging transaction.

A worker waits for a stable offset of its group, for the last stable offset of `counts` while it restores, or for
records below the high watermark. All three stand still behind an open transaction. Most open transactions end by
themselves, at the latest by their time-out. A hanging one (`wcsup.kafka.hanging`) does not; the next process of its
`transactional.id` finishes it at its start. So a transaction that still hangs after a while is abandoned: its name is
that of a host that is gone, or of a slot that was scaled away.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.kafka.hanging import Examination, Hanging, told

log = logging.getLogger("wcsup.holdup")

STILL_SECONDS = 5.0
"""How long a worker's progress may stand still before it looks for the transaction that holds it up."""
AGAIN_SECONDS = 10.0
"""How often it looks again. A transaction that hangs at two such looks is abandoned."""


class Holdup:
    """Finds out why a worker makes no progress."""

    def __init__(
        self,
        config: Config,
        name: str,
        alive: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        examine: Callable[[Config, Callable[[], None]], Examination] = Examination,
    ) -> None:
        """`name` is the caller's own `transactional.id`; `alive` is called during long waits."""
        self._config, self._name, self._alive = config, name, alive
        self._clock, self._examine = clock, examine
        self._waiting: object = None
        self._since = self._ask_at = 0.0
        self._seen: set[tuple[str, int, int]] = set()
        """What hung at the last look: topic, partition and offset."""

    def look(self, waiting: object) -> None:
        """Take what the worker waits for, none where it waits for nothing; the same value again means no progress.

        Call it while no transaction is open. Raises `ConfigurationError` for a hanging transaction that can't be ended.
        """
        now = self._clock()
        if waiting is None or waiting != self._waiting:
            self._waiting, self._since, self._ask_at = waiting, now, now + STILL_SECONDS
            self._seen = set()
        elif now >= self._ask_at:
            try:
                self._ask(now - self._since)
            except KafkaException as error:
                silent = error.args[0].code() == KafkaError._TRANSPORT  # which is logged elsewhere
                log.log(logging.DEBUG if silent else logging.INFO, "why nothing moves can't be asked: %s", error)
            self._ask_at = self._clock() + AGAIN_SECONDS

    def _ask(self, seconds: float) -> None:
        with closing(self._examine(self._config, self._alive)) as examination:
            found = examination.find()
            for sentence in told(found):
                log.warning("waiting for %.0f s: %s", seconds, sentence)
            for one in examination.going_on if not found else ():
                log.warning(
                    "waiting for %.0f s for a transaction of %s, which is %s and ends by its time-out at the latest",
                    seconds,
                    one.name,
                    one.state,
                )
            if not found and not examination.going_on:
                log.info("nothing has moved for %.0f s, and no transaction is seen that it would wait for", seconds)
            examination.end(one for one in found if one.replaced or one.name == self._name)
            left = [one for one in found if not one.replaced and one.name != self._name]
            for name in {one.name for one in left if one.name and _place(one) in self._seen}:
                log.warning("nobody comes to end what hangs of %s: taking its name over for that", name)
                examination.replace(name)
                examination.end(examination.find(name))
            self._seen = {_place(one) for one in left}


def _place(one: Hanging) -> tuple[str, int, int]:
    return one.open.topic, one.open.partition, one.open.offset
