"""Whether the brokers still authenticate a worker: passwords are changed and certificates expire during a run.

An open connection stays open, unless the brokers ask for re-authentication. So it may take hours until a client is
refused, and it may be any of the worker's clients. A refused client logs this once in 30 s and retries for ever. So
after such a log line, the worker makes a new client now and then to see whether the brokers let it in.
"""

import time

from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import RetryError
from wcsup.kafka import causes, clients
from wcsup.kafka.causes import CAUSES
from wcsup.pipeline.patience import Doing, Patience

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 2.0


class Login:
    """Hears of clients whose authentication failed, and finds out whether it still fails."""

    def __init__(self, config: Config, admin: AdminClient, patience: Patience) -> None:
        """`admin` is this process's admin client, which the brokers have let in."""
        self._config, self._admin, self._patience = config, admin, patience
        self._began_with = clients.read_properties(config)
        self._let_in_at = self._looked_at = time.monotonic()

    def look(self) -> None:
        """Act on a failed authentication that a client logged. Waits up to two seconds, and only after such a failure.

        Raises what `Patience.refused` does, and `RetryError` where only a new process would be let in.
        """
        if time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._admin.poll(0)  # librdkafka calls back with its log lines during a poll
        if (login := CAUSES.login_since(self._let_in_at)) is not None:
            asked_at = time.monotonic()
            if clients.lets_in(self._config, _ANSWER_SECONDS):
                self._let_in(login.text)
            elif (now := CAUSES.login_since(asked_at)) is not None and "isconnected" not in now.text:
                self._patience.refused(Doing.LOGIN, causes.not_let_in(clients.settings(self._config), now))
            else:  # no broker answers, or the broker that does is starting or shutting down
                self._patience.passed(Doing.LOGIN)
        self._looked_at = time.monotonic()

    def _let_in(self, refused: str) -> None:
        """Go on: the clients retry by themselves, but only with the settings that they were made with."""
        if clients.read_properties(self._config) != self._began_with:
            raise RetryError(
                f"Kafka lets clients in with what {self._config.kafka_config} says now, and not with what it said: a "
                f"new process goes on ({refused})"
            )
        self._let_in_at = time.monotonic()
        self._patience.passed(Doing.LOGIN)
