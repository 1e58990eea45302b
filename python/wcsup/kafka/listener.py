"""Which protocol a broker's listener speaks, and why a client's settings do not fit it.

If the protocol does not fit, librdkafka only says that the listener hung up; for a certificate it only says that it
could not be verified. So the listener is probed: by a TLS handshake, and by two requests that need no login.
"""

import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 2.0
"""How long each probe may take. The listener is probed only after no broker has answered for longer than that."""
_API_VERSIONS, _SASL_HANDSHAKE = (18, 0), (17, 1)
"""Number and version of the requests. Layouts are from the Kafka protocol guide."""
_ILLEGAL_STATE = 34
"""A listener without logins answers this to a `SaslHandshake`."""
_LONGEST = 1 << 20

_OUT_OF_TIME = {9, 10}
_OF_ANOTHER = {62, 64}
"""Why a certificate is refused: not yet or no longer valid; for another host or address (OpenSSL, `X509_V_ERR_…`)."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What was found out about a listener."""

    tls: bool
    mechanisms: tuple[str, ...] | None
    """The SASL mechanisms that it offers; none where it wants no login."""

    @property
    def protocol(self) -> str:
        """The `security.protocol` that its clients need."""
        if self.mechanisms is None:
            return "SSL" if self.tls else "PLAINTEXT"
        return "SASL_SSL" if self.tls else "SASL_PLAINTEXT"


def misfit(address: str, settings: Mapping[str, object]) -> str | None:
    """Return why a client with these settings can't talk to a listener, and what to do; none where that isn't known."""
    host, port = _parts(address)
    found = _ask(host, port)
    if found is None:
        return None
    protocol = str(settings.get("security.protocol", "PLAINTEXT")).upper()
    if protocol != found.protocol:
        speaks = "speaks TLS" if found.tls else "does not speak TLS"
        wants = "wants no login" if found.mechanisms is None else "wants a login"
        return (
            f"{address} {speaks} and {wants}, and security.protocol is {protocol}: set it to {found.protocol}, or use "
            "another port"
        )
    if found.mechanisms is not None:
        mechanism = str(settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "GSSAPI")))
        if mechanism not in found.mechanisms:
            offered = " or ".join(found.mechanisms)
            return f"{address} takes logins by {offered}, and sasl.mechanism is {mechanism}: set it to {offered}"
    return _distrust(host, port, settings) if found.tls else None


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else 0


def _ask(host: str, port: int) -> Listener | None:
    """Probe a listener; return none where it does not answer like a Kafka broker."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    for context in (anyone, None):
        with suppress(OSError, struct.error), _connect(host, port, context) as connection:
            if _answer(connection, _API_VERSIONS, b""):
                return Listener(context is not None, _mechanisms(host, port, context))
    return None


def _mechanisms(host: str, port: int, context: ssl.SSLContext | None) -> tuple[str, ...] | None:
    with _connect(host, port, context) as connection:
        answer = _answer(connection, _SASL_HANDSHAKE, struct.pack(">h1s", 1, b"?"))
    code, count = struct.unpack_from(">hi", answer)
    if code == _ILLEGAL_STATE:
        return None
    found, at = [], 6
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at)
        found.append(answer[at + 2 : at + 2 + length].decode("ascii", "replace"))
        at += 2 + length
    return tuple(found)


def _distrust(host: str, port: int, settings: Mapping[str, object]) -> str | None:
    """Return why the broker's certificate is refused, and what to do about it; none where it is accepted."""
    if str(settings.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        return None
    whose = f"the certificate of {host}:{port}"
    try:
        with _connect(host, port, _as_librdkafka(settings)):
            return None
    except ssl.SSLCertVerificationError as error:
        said = f"{whose} is refused: {error.verify_message.rstrip('.')}"
        if error.verify_code in _OUT_OF_TIME:
            return f"{said}. It has to be renewed on the broker (or the clock of this host is wrong)"
        if error.verify_code in _OF_ANOTHER:
            return (
                f"{said}. Use a name that it has, in --bootstrap-servers and in the broker's advertised.listeners, or "
                "have it made for this one"
            )
        return f"{said}. Set ssl.ca.location to the certificate of the authority that signed it"
    except OSError:
        return None


def _as_librdkafka(settings: Mapping[str, object]) -> ssl.SSLContext:
    """Return a TLS context that judges certificates as librdkafka does."""
    place, text = settings.get("ssl.ca.location"), settings.get("ssl.ca.pem")
    folder = place is not None and Path(str(place)).is_dir()
    context = ssl.create_default_context(
        cafile=str(place) if place and not folder else None,
        capath=str(place) if folder else None,
        cadata=str(text) if text else None,
    )
    context.check_hostname = str(settings.get("ssl.endpoint.identification.algorithm", "https")).lower() != "none"
    return context


def _connect(host: str, port: int, context: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_SECONDS)
    if context is None:
        return connection
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _answer(connection: socket.socket, api: tuple[int, int], body: bytes) -> bytes:
    """Make a request; return the body of its answer. Raises `OSError` where there is none."""
    request = struct.pack(">hhih5s", *api, 0, 5, b"wcsup") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _receive(connection, 4))
    if not 4 <= size <= _LONGEST:
        raise ConnectionError("it is no answer of Kafka's")
    return _receive(connection, size)[4:]  # behind the request's number


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the listener hung up")
        data += part
    return data
