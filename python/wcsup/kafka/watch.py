"""Whether the topics are still those that a worker began with.

A consumer whose topic is deleted and made again goes on at its offset as if nothing had happened, and what stands
below is never read. So the broker is asked whether the topics are the same: within a commit, after its batch was read
and before it is committed, and where there is nothing to commit; both when the last time was `WATCH_SECONDS` ago.

A consumer that runs meets the deletion itself within a fetch's wait, so what is left is a topic that is made again
within that moment: what is committed of it before the next question may be counted twice or not.
"""

import time
from collections.abc import Callable, Collection
from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from wcsup.config import Config
from wcsup.errors import ConfigurationError, RetryError
from wcsup.kafka import clients, failures, refusals, topics
from wcsup.kafka.failures import Failure
from wcsup.kafka.refusals import About
from wcsup.kafka.rights import Right

WATCH_SECONDS = 2.0
"""How often it is asked. Each answer costs 100 bytes for good: confluent-kafka never frees the topic's id in it."""

_PAUSE_SECONDS = 0.1
_ROUND_SECONDS = 0.2
"""How long an answer is waited for before the work loop says that it is alive."""

COUNTS_LOST = (
    "topic counts was deleted and made again, but its group has committed offsets: the totals of what was counted "
    "before are lost, and counting on would be wrong. Start over with wcsup del"
)

_Answers = dict[str, "Future[TopicDescription]"]


class Watch:
    """Asks about the topics without waiting, and raises what the answer means."""

    def __init__(
        self, admin: AdminClient, config: Config, identity: topics.Identity, relied_on: Collection[str]
    ) -> None:
        """`relied_on` are the plain names of the topics that have to be the same."""
        self._admin = admin
        self._config = config
        self._ids = {name: identity.topics[name] for name in relied_on}
        self._answers: _Answers = {}
        self._ask_at = time.monotonic() + WATCH_SECONDS

    def ask(self) -> None:
        """Ask where it is time to; `confirm` waits for the answer."""
        if time.monotonic() >= self._ask_at:
            self._ask()

    def confirm(self, alive: Callable[[], None]) -> None:
        """Wait until what was asked is answered: the topics are the same as ever. `alive` is called meanwhile.

        Raises `ConfigurationError` for one that is gone, has other partitions or has lost the totals, `RefusedError`
        where that may not be known, and `RetryError` where a new process reads the new topic from its start.
        """
        while not self._same(alive):
            alive()
            time.sleep(_PAUSE_SECONDS)
            self._ask()

    def look(self) -> None:
        """Ask where it is time to, and raise what the answer means as soon as it is there; never waits."""
        if not self._answers:
            self.ask()
        elif all(answer.done() for answer in self._answers.values()):
            self._same(lambda: None)

    def _ask(self) -> None:
        self._ask_at = time.monotonic() + WATCH_SECONDS
        wanted = TopicCollection([self._config.topic(name) for name in self._ids])
        answers: _Answers = self._admin.describe_topics(wanted, request_timeout=clients.REACH_SECONDS)
        self._answers = {name: answers[self._config.topic(name)] for name in self._ids}

    def _same(self, alive: Callable[[], None]) -> bool:
        """Raise where a topic is not the same; false where the broker did not say."""
        answers, self._answers = self._answers, {}
        said = True
        for name, answer in answers.items():
            while True:
                try:
                    found = answer.result(_ROUND_SECONDS)
                except TimeoutError:
                    alive()
                    continue
                except KafkaException as failed:
                    self._judge(name, failed.args[0])
                    said = False
                else:
                    self._compare(name, found)
                break
        return said

    def _judge(self, name: str, error: KafkaError) -> None:
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise gone(self._config, name)
        if failures.meaning(error) is Failure.REFUSED:
            topic = self._config.topic(name)
            raise refusals.refused(self._config, error, About(topic, rights=[Right("topic", topic, "READ")]))

    def _compare(self, name: str, found: TopicDescription) -> None:
        if str(found.topic_id) != self._ids[name]:
            if name == "counts":
                raise ConfigurationError(COUNTS_LOST)
            then = "goes on" if name == "positions" else "reads it from its start"
            raise RetryError(f"topic {found.name} was deleted and made again; a new process {then}")
        if reason := topics.miscount(self._config, name, len(found.partitions), fixed=True):
            raise ConfigurationError(reason)


def gone(config: Config, name: str) -> ConfigurationError:
    """Return the error of a topic that was deleted."""
    then = "all totals went with it. Start over with wcsup del" if name == "counts" else "wcsup run makes it anew"
    return ConfigurationError(f"topic {config.topic(name)} was deleted under its workers: {then}")
