"""Why clients are not connected: librdkafka tells its callbacks and its log, but not the call that times out."""

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
"""librdkafka puts the connection before the reason, and how long the connection had been in its state behind it. A log
line also begins with the thread."""

_ADDRESS = re.compile(r"(?:^|[/\s])([\w.-]+:\d+|\[[^\]]+\]:\d+)(?:/\w+)?:")
"""The first address in such a text. For the connection to a coordinator, its role stands before the address."""
_AGAIN_SECONDS = 600.0
"""How long after logging that a broker is not connected it is logged again."""

_OIDC = "OIDC"
"""The facility of librdkafka's log lines about the token server: at level error, there is no token to log in with."""

_ASKED = 2
"""How many of the addresses are probed for their protocol; each takes some seconds where nobody answers."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a client has no connection."""

    code: int
    text: str
    at: float
    """When the client reported it, in seconds of `time.monotonic`."""

    @property
    def failed(self) -> bool:
        """Whether the connection could not be made: the address has no host, or nobody listens there."""
        return self.code == KafkaError._RESOLVE or self.text.startswith("Connect to ")


class Causes:
    """The last causes that the clients of this process reported. Each client reports from within its own `poll`."""

    def __init__(self) -> None:
        self.login: Cause | None = None
        """Why authentication failed: the broker refused the client, or the client refused the broker."""
        self.connection: Cause | None = None
        """Why there was no connection at all."""
        self.told = False
        """Whether a caller that waits for a first connection will say why there is none."""

    def hear(self, error: KafkaError) -> None:
        """Take note of an error (librdkafka's `error_cb`). Never raises."""
        self._hear(error.code(), error.str())

    def hear_log(self, text: str) -> None:
        """Take note of a failed login from a log line: for clients without an error callback."""
        self._hear(KafkaError._SSL if "SSL" in text and "SASL" not in text else KafkaError._AUTHENTICATION, text)

    def _hear(self, code: int, text: str) -> None:
        match = _AROUND.match(text)
        cause = Cause(code, match[1] if match else text, time.monotonic())
        if code in OF_A_LOGIN:
            self.login = cause
        elif "SSL alert" in cause.text:  # the broker refused the client's certificate, or requires one
            self.login = Cause(KafkaError._SSL, cause.text, cause.at)
        elif code in {KafkaError._TRANSPORT, KafkaError._RESOLVE}:
            self.connection = cause

    def login_since(self, moment: float) -> Cause | None:
        """Return why a login has failed since a moment; none where none has."""
        return self.login if self.login is not None and self.login.at >= moment else None

    def connection_since(self, moment: float) -> Cause | None:
        """Return why a connection has failed since a moment; none where none has."""
        return self.connection if self.connection is not None and self.connection.at >= moment else None


CAUSES = Causes()
"""The causes of this process: all of its clients have the same address and the same password."""


def refusal(settings: Mapping[str, object], since: float) -> RefusedError | None:
    """Return why reachable brokers refuse clients with these settings, and what to do; none where it is not known.

    `since` is when the clients began to wait for a connection.
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
    """Return the error of a failed login."""
    address = settings["bootstrap.servers"]
    return RefusedError(
        f"Kafka at {address} does not let {_who(settings)} in: {login.text}. {_advice(settings, login)}", login.code
    )


def silence(settings: Mapping[str, object], since: float, seconds: float) -> WcsupError:
    """Return the error for no broker having answered for `seconds`."""
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


def _advice(settings: Mapping[str, object], login: Cause) -> str:
    if login.code == KafkaError._SSL:
        return "Check the settings ssl.… in --kafka-config: authority, own certificate and key"
    if settings.get("sasl.mechanism", settings.get("sasl.mechanisms")) == "OAUTHBEARER":
        return (
            "Check sasl.oauthbearer.… in --kafka-config: the token server's address, the client's id and secret; and "
            "that the brokers trust that server's keys"
        )
    return "Check sasl.username and sasl.password (or what the mechanism takes for them) in --kafka-config"


class SaidElsewhere(logging.Filter):
    """Keeps repeated lines about failed connections and logins out of librdkafka's log: wcsup says each once.

    Lines that are no errors are shown at level debug alone: wcsup says in its own words what they come to.
    Lines about logins also go to `CAUSES`: clients with wcsup's plugin report failed logins in no other way.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}
        """When a failed connection was last logged, by the broker's address."""

    def forget(self) -> None:
        """Log the next failed connection of each broker again: the brokers were connected since."""
        self._said.clear()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be logged."""
        arguments = record.args
        if not isinstance(arguments, tuple) or not arguments or arguments[0] not in {"FAIL", _OIDC}:
            return record.levelno >= logging.ERROR or logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        text = str(arguments[-1])
        if arguments[0] == _OIDC:
            if record.levelno <= logging.DEBUG:
                return True
            CAUSES.hear_log(text)
            return not CAUSES.told and self._is_new(text)
        is_login = "SASL" in text or "SSL handshake" in text
        if is_login:
            CAUSES.hear_log(text)
        return not is_login and not CAUSES.told and self._is_new(text)

    def _is_new(self, text: str) -> bool:
        """Return whether this failure was not logged yet, or long ago: each client reports every connection."""
        match = _ADDRESS.search(text)
        address, now = match[1] if match else text, time.monotonic()
        if now - self._said.get(address, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
            return False
        self._said[address] = now
        return True


SAID = SaidElsewhere()
"""The filter of this process's clients."""
