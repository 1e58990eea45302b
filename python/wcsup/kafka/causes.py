"""Why clients are not connected: librdkafka tells it aside, and a call that waits for a broker that it had none."""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError

from wcsup.errors import BrokerUnreachableError, RefusedError, WcsupError
from wcsup.kafka import listener
from wcsup.kafka.failures import OF_A_LOGIN

_AROUND = re.compile(r"^(?:\[thrd:[^]]*\]: )?\S+: (.*?)(?: \(after \d+ms in state \w+.*\))?$", re.DOTALL)
"""librdkafka puts the connection before what it says, a line of its log the thread, and since when it had its state
behind."""

_ADDRESS = re.compile(r"(?:^|[/\s])([\w.-]+:\d+|\[[^\]]+\]:\d+)(?:/\w+)?:")
"""The first address in such a text; of a coordinator's connection its role stands before."""
_AGAIN_SECONDS = 600.0
"""How long after it was said that a broker is not connected it is said again."""

_ASKED = 2
"""How many of the addresses are asked what they speak; each takes some seconds where nobody answers."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a client heard."""

    code: int
    text: str
    at: float
    """When, in seconds of `time.monotonic`."""

    @property
    def failed(self) -> bool:
        """Whether nobody was there: the address has no host, or nobody listens there."""
        return self.code == KafkaError._RESOLVE or self.text.startswith("Connect to ")


class Causes:
    """What the clients of this process heard last; each tells by calls from within its own `poll`."""

    def __init__(self) -> None:
        self.login: Cause | None = None
        """Why a broker did not let a client in, or was not let in by it."""
        self.connection: Cause | None = None
        """Why there was no connection at all."""
        self.told = False
        """Whether somebody waits for a first connection who will say why there is none."""

    def hear(self, error: KafkaError) -> None:
        """Take note of an error (librdkafka's `error_cb`). Never raises."""
        self._hear(error.code(), error.str())

    def hear_log(self, text: str) -> None:
        """Take note of a login that failed, as a client's log has it: for clients that tell by no callback."""
        self._hear(KafkaError._SSL if "SSL" in text and "SASL" not in text else KafkaError._AUTHENTICATION, text)

    def _hear(self, code: int, text: str) -> None:
        match = _AROUND.match(text)
        cause = Cause(code, match[1] if match else text, time.monotonic())
        if code in OF_A_LOGIN:
            self.login = cause
        elif "SSL alert" in cause.text:  # the broker did not take the client's certificate, or wants one
            self.login = Cause(KafkaError._SSL, cause.text, cause.at)
        elif code in {KafkaError._TRANSPORT, KafkaError._RESOLVE}:
            self.connection = cause

    def login_since(self, moment: float) -> Cause | None:
        """Return why a client was not let in since a moment, if it was so."""
        return self.login if self.login is not None and self.login.at >= moment else None

    def connection_since(self, moment: float) -> Cause | None:
        """Return why there was no connection since a moment, if there was one that failed."""
        return self.connection if self.connection is not None and self.connection.at >= moment else None


CAUSES = Causes()
"""Those of this process: whoever has one address and one password has them in all of its clients."""


def refusal(settings: Mapping[str, object], since: float) -> RefusedError | None:
    """Return why brokers that are there do not let clients with such settings in, and what is to be done.

    None where that is not known. `since` is when they began to wait for one.
    """
    address = str(settings["bootstrap.servers"])
    login, connection = CAUSES.login_since(since), CAUSES.connection_since(since)
    if login is not None or connection is None or not connection.failed:
        for one in address.split(",")[:_ASKED]:
            if why := listener.misfit(one.strip(), settings):
                said = f"Kafka can't be talked to with these settings (--kafka-config): {why}"
                return RefusedError(said, KafkaError._SSL)
    return None if login is None else not_let_in(settings, login)


def not_let_in(settings: Mapping[str, object], login: Cause) -> RefusedError:
    """Return what there is to say of a login that failed."""
    address = settings["bootstrap.servers"]
    return RefusedError(
        f"Kafka at {address} does not let {_who(settings)} in: {login.text}. {_advice(login)}", login.code
    )


def silence(settings: Mapping[str, object], since: float, seconds: float) -> WcsupError:
    """Return what there is to say where no broker answered for so long."""
    if (refused := refusal(settings, since)) is not None:
        return refused
    connection = CAUSES.connection_since(since)
    why = f" ({connection.text})" if connection is not None else ""
    return BrokerUnreachableError(
        f"no Kafka broker answered at {settings['bootstrap.servers']} within {seconds:.0f} s{why}; check the address "
        "(--bootstrap-servers) and that it runs (wcsup broker status)"
    )


def _who(settings: Mapping[str, object]) -> str:
    user = settings.get("sasl.username")
    return f"user {user}" if user else "this client"


def _advice(login: Cause) -> str:
    if login.code == KafkaError._SSL:
        return "Check the settings ssl.… in --kafka-config: authority, own certificate and key"
    return "Check sasl.username and sasl.password (or what the mechanism takes for them) in --kafka-config"


class SaidElsewhere(logging.Filter):
    """Keeps out of the log what librdkafka repeats there of connections and logins that fail, and is said once.

    What it says of logins is taken note of: it is all that is heard of clients made with wcsup's plugin.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}
        """When it was said last that there is no connection, by the broker's address."""

    def forget(self) -> None:
        """Say it of each broker once more: they were connected since."""
        self._said.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged."""
        arguments = record.args
        if not isinstance(arguments, tuple) or not arguments or arguments[0] != "FAIL":
            return True
        text = str(arguments[-1])
        is_login = "SASL" in text or "SSL handshake" in text
        if is_login:
            CAUSES.hear_log(text)
        return not is_login and not CAUSES.told and self._is_new(text)

    def _is_new(self, text: str) -> bool:
        """Return whether it was not said of the broker yet, or long ago: each client tells it of each connection."""
        match = _ADDRESS.search(text)
        address, now = match[1] if match else text, time.monotonic()
        if now - self._said.get(address, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        self._said[address] = now
        return True


SAID = SaidElsewhere()
"""That of this process's clients."""
