"""Whether brokers let a worker in: passwords are changed and certificates expire under it.

A connection that is there stays, unless the brokers want the password again now and then; so it may be hours until a
client is refused, and then it may be any of them. Each tells so in its log, once in 30 s, and tries again for ever. So
once one has told, a client of its own is made now and then that asks.
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
    """Hears of clients that are not let in, and finds out whether it lasts."""

    def __init__(self, config: Config, admin: AdminClient, patience: Patience) -> None:
        """`admin` is this process's client; one that was let in."""
        self._config, self._admin, self._patience = config, admin, patience
        self._began_with = clients.read_properties(config)
        self._let_in_at = self._looked_at = time.monotonic()

    def look(self) -> None:
        """Take note of what was heard. Waits for no more than a moment, and only where a client was not let in.

        Raises what `Patience.refused` does, and `RetryError` where it takes another process to be let in.
        """
        if time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._admin.poll(0)  # which is when it tells
        if (login := CAUSES.login_since(self._let_in_at)) is not None:
            asked_at = time.monotonic()
            if clients.lets_in(self._config, _ANSWER_SECONDS):
                self._let_in(login.text)
            elif (now := CAUSES.login_since(asked_at)) is not None and "isconnected" not in now.text:
                self._patience.refused(Doing.LOGIN, causes.not_let_in(clients.settings(self._config), now))
            else:  # nobody is there to say so, or whoever is there is on its way up or down
                self._patience.passed(Doing.LOGIN)
        self._looked_at = time.monotonic()

    def _let_in(self, refused: str) -> None:
        """Go on: the clients try again by themselves, but with the settings that they were made with."""
        if clients.read_properties(self._config) != self._began_with:
            raise RetryError(
                f"Kafka lets clients in with what {self._config.kafka_config} says now, and not with what it said: a "
                f"new process goes on ({refused})"
            )
        self._let_in_at = time.monotonic()
        self._patience.passed(Doing.LOGIN)
