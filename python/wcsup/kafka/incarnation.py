"""Which producer a `transactional.id` has now. Each `init_transactions` under the name changes it.

So a process that has lost its own producer can tell whether another one was made under its name since: it compares the
coordinator's answer with an earlier one. The coordinator itself changes the epoch, too, when a transaction times out.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import KafkaException

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka.hanging import PASSING
from wcsup.kafka.requests import Brokers

log = logging.getLogger("wcsup.incarnation")

_TRIES = 5
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One producer of a `transactional.id`."""

    producer: int
    """The producer's id."""
    epoch: int

    def __str__(self) -> str:
        return f"producer id {self.producer} with epoch {self.epoch}"


def current(config: Config, name: str, alive: Callable[[], None]) -> Incarnation | None:
    """Return the last producer of a name, as its coordinator knows it; none where that can't be known.

    A coordinator that is moving is asked again for a second. `alive` is called meanwhile.
    """
    for _ in range(_TRIES):
        try:
            with closing(Brokers(config)) as brokers:
                found = brokers.transaction(brokers.layout([]), name)
        except KafkaException as error:
            said = error.args[0]
            if said.code() in PASSING:
                alive()
                time.sleep(_PAUSE_SECONDS)
                continue
            log.info("which producer %s has can't be seen: %s", name, said.str())
        except WcsupError as error:
            log.info("which producer %s has can't be seen: %s", name, error)
        else:
            return None if found is None else Incarnation(found.producer, found.epoch)
        break
    return None
