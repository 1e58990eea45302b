"""`wcsup doctor`: examines the cluster and the host of an application without changing anything."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from confluent_kafka import KafkaException

from wcsup.audit import application, cluster, copies, holdups, host, retention, settings, stuck
from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.audit.holdups import OpenTransaction
from wcsup.config import Config
from wcsup.errors import RefusedError, WcsupError
from wcsup.kafka import failures
from wcsup.kafka.failures import Failure
from wcsup.kafka.hanging import Hanging

CHECKS: dict[str, Callable[[Cluster], Iterator[Check]]] = {
    "broker": cluster.brokers,
    "features": cluster.features,
    "topics": cluster.topics_fit,
    "replication": copies.check,
    "elections": settings.elections,
    "timeouts": settings.timeouts,
    "expiry": settings.expiry,
    "late requests": settings.late,
    "retention": retention.retention,
    "sizes": settings.sizes,
    "application": application.ownership,
    "groups": application.progress,
    "clock": holdups.clock,
}


_OF_SETTINGS = {"elections", "timeouts", "expiry", "late requests", "sizes"}
"""Checks of settings of the brokers."""
_OF_THE_APPLICATION = {"topics", "application", "groups"}
"""Checks whose questions workers ask, too: where these are refused, so are the workers."""


class Doctor:
    """One examination."""

    def __init__(self, config: Config) -> None:
        self.open: list[OpenTransaction] = []
        """Open transactions that were found, and that will end by themselves."""
        self.hanging: list[Hanging] = []
        """Hanging transactions that were found: decided, and still open in a partition."""
        self._config = config

    def examine(self) -> Iterator[Check]:
        """Make every possible check; yield each as soon as it is done."""
        config = self._config
        yield from host.examine(config)
        address = config.bootstrap_servers
        if address is None:
            address, check = host.embedded(config)
            yield check
        if address is None:
            return
        try:
            asked = cluster.connect(replace(config, bootstrap_servers=address))
        except WcsupError as error:
            yield Check.failed("broker", str(error))
            return
        except KafkaException as error:
            yield Check.failed("broker", f"it answers, and refuses to: {error.args[0].str()}")
            return
        for name, look in CHECKS.items():
            if asked.hidden and name in _OF_SETTINGS:
                yield Check.warning(name, "not looked at: the settings of the brokers can't be seen")
            else:
                yield from _asking(name, partial(look, asked))
        yield from _asking("hanging", partial(stuck.hanging, asked, self.hanging))
        yield from _asking("transactions", partial(self._transactions, asked))

    def _transactions(self, asked: Cluster) -> Iterator[Check]:
        hang = {(one.open.topic, one.open.partition, one.open.offset) for one in self.hanging}
        found = holdups.open_transactions(asked)
        self.open = [one for one in found if (one.topic, one.partition, one.offset) not in hang]
        yield from holdups.transactions(asked, self.open)


def _asking(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Make a check. If a broker refuses to answer, only this check fails, or is left out: a right may be missing."""
    try:
        yield from look()
    except KafkaException as failed:
        error = failures.of(failed)
        refused = failures.meaning(error) is Failure.REFUSED
        yield _unmade(name, error.str(), f"Kafka does not answer: {error.str()}", refused=refused)
    except WcsupError as wrong:
        yield _unmade(name, str(wrong), str(wrong), refused=isinstance(wrong, RefusedError))


def _unmade(name: str, why: str, failure: str, *, refused: bool) -> Check:
    """Return what stands for a check that could not be made: it is left out where a right is lacking for it alone."""
    if refused and name not in _OF_THE_APPLICATION:
        return Check.warning(name, f"not looked at: {why}")
    return Check.failed(name, failure)
