"""wcsup's own connection to a broker, for requests that librdkafka has no call for.

It follows librdkafka's settings, the user's `--kafka-config` included: plain text or TLS, and SASL's PLAIN, SCRAM and
OAUTHBEARER. Settings that only librdkafka supports (Kerberos, key stores) are refused by name.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError, KafkaException

from wcsup.kafka import bearer, trust
from wcsup.kafka.encoding import NO_TAGS
from wcsup.kafka.trust import unsupported

if TYPE_CHECKING:
    import ssl

Given = Mapping[str, object]
"""librdkafka's settings."""

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 4.0
_LONGEST_ANSWER = 100_000_000

_SASL_HANDSHAKE, _SASL_AUTHENTICATE = 17, 36
_SCRAM = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
_ONLY_LIBRDKAFKA = ("ssl.keystore.location", "ssl.engine.location", "ssl.certificate.pem", "ssl.key.pem")


def break_all() -> None:
    """Break all network connections of this process; its Kafka clients reconnect. Not for a process with a server."""
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the descriptor was closed meanwhile, is no socket or is not connected
            shared = os.dup(int(path.name))
            try:
                connected = socket.socket(fileno=shared)
            except OSError:
                os.close(shared)
                continue
            with connected:
                if connected.family in {socket.AF_INET, socket.AF_INET6}:
                    connected.getpeername()
                    connected.shutdown(socket.SHUT_RDWR)


class Connection:
    """Sends requests to one broker, one after the other.

    Raises `KafkaException`: with `_TRANSPORT` where the connection fails, with `_AUTHENTICATION` where the broker
    refuses the user, and with `_UNSUPPORTED_FEATURE` for settings that only librdkafka supports.
    """

    def __init__(self, host: str, port: int, given: Given, answer_seconds: float = ANSWER_SECONDS) -> None:
        """`answer_seconds` is how long an answer may take."""
        self._client = str(given.get("client.id", "wcsup")).encode()
        self._at = f"{host}:{port}"
        self._number = 0
        protocol = str(given.get("security.protocol", "plaintext")).lower()
        mechanism = _mechanism(given) if protocol.startswith("sasl") else None
        context = _tls(given) if protocol.endswith("ssl") else None
        try:
            self._socket = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        except OSError as error:
            raise self._failed(error) from error
        try:
            if context is not None:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._socket.settimeout(answer_seconds)
            if mechanism is not None:
                self._authenticate(mechanism, given)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.close()

    def ask(self, api: int, version: int, body: bytes, *, flexible: bool = False) -> bytes:
        """Send one request and return the body of its answer."""
        self._number += 1
        head = struct.pack(f">hhih{len(self._client)}s", api, version, self._number, len(self._client), self._client)
        request = head + (NO_TAGS if flexible else b"") + body
        try:
            self._socket.sendall(struct.pack(">i", len(request)) + request)
            (size,) = struct.unpack(">i", self._receive(4))
            if not 4 <= size <= _LONGEST_ANSWER:
                raise ConnectionError(f"an answer of {size} bytes")
            answer = self._receive(size)
        except OSError as error:
            raise self._failed(error) from error
        return answer[5:] if flexible else answer[4:]  # the body is behind the correlation id and the tagged fields

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ConnectionResetError("the broker closed the connection")
            data += part
        return bytes(data)

    def _failed(self, error: OSError) -> KafkaException:
        return KafkaException(KafkaError(KafkaError._TRANSPORT, f"{self._at}: {error}"))

    def _authenticate(self, mechanism: str, given: Given) -> None:
        """Log in (KIP-43, KIP-152)."""
        if mechanism == "OAUTHBEARER":
            first = bearer.first_message(given)  # before the broker waits for it
        name = mechanism.encode()
        answer = self.ask(_SASL_HANDSHAKE, 1, struct.pack(f">h{len(name)}s", len(name), name))
        (code,) = struct.unpack_from(">h", answer)
        if code:
            raise KafkaException(KafkaError(KafkaError._AUTHENTICATION, f"{self._at} does not offer {mechanism}"))
        if mechanism == "OAUTHBEARER":
            self._show(first)
            return
        user, password = str(given.get("sasl.username", "")), str(given.get("sasl.password", ""))
        if mechanism == "PLAIN":
            self._say(f"\0{user}\0{password}".encode())
            return
        scram = Scram(_SCRAM[mechanism], user, password)
        final = scram.proof(self._say(scram.first()))
        scram.check(self._say(final))

    def _show(self, token: bytes) -> None:
        """Log in with a token. A broker that refuses it says why, and waits for an empty answer (RFC 7628, 3.2.3)."""
        try:
            if refusal := self._say(token):
                self._say(b"\1")
                raise KafkaException(KafkaError(KafkaError._AUTHENTICATION, refusal.decode(errors="replace")))
        except KafkaException:
            bearer.forget()
            raise

    def _say(self, text: bytes) -> bytes:
        """Send one step of the login; return the broker's reply."""
        answer = self.ask(_SASL_AUTHENTICATE, 0, struct.pack(">i", len(text)) + text)
        code, length = struct.unpack_from(">hh", answer)
        at = 4 + max(0, length)
        if code:
            raise KafkaException(KafkaError(KafkaError._AUTHENTICATION, answer[4:at].decode(errors="replace")))
        (size,) = struct.unpack_from(">i", answer, at)
        return answer[at + 4 : at + 4 + max(0, size)]


class Scram:
    """The client's side of a SCRAM login (RFC 5802), without channel binding, as Kafka has it."""

    def __init__(self, algorithm: str, user: str, password: str, nonce: str | None = None) -> None:
        self._algorithm = algorithm
        self._password = password.encode()
        self._nonce = nonce or base64.b64encode(os.urandom(24)).decode()
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """Return the first message."""
        return f"n,,{self._bare}".encode()

    def proof(self, challenge: bytes) -> bytes:
        """Return the answer to the server's challenge."""
        given = _fields(challenge)
        if not given.get("r", "").startswith(self._nonce):
            raise KafkaException(KafkaError(KafkaError._AUTHENTICATION, "the broker's nonce is not for this log-in"))
        salted = hashlib.pbkdf2_hmac(self._algorithm, self._password, base64.b64decode(given["s"]), int(given["i"]))
        client = self._hmac(salted, b"Client Key")
        bare = f"c=biws,r={given['r']}"
        message = f"{self._bare},{challenge.decode()},{bare}".encode()
        stored = hashlib.new(self._algorithm, client).digest()
        proof = bytes(a ^ b for a, b in zip(client, self._hmac(stored, message), strict=True))
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), message)
        return f"{bare},p={base64.b64encode(proof).decode()}".encode()

    def check(self, final: bytes) -> None:
        """Raise where the server can't prove that it knows the password."""
        if not hmac.compare_digest(base64.b64decode(_fields(final).get("v", "")), self._signature):
            raise KafkaException(KafkaError(KafkaError._AUTHENTICATION, "the broker could not prove who it is"))

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._algorithm)


def _fields(message: bytes) -> dict[str, str]:
    return dict(part.split("=", 1) for part in message.decode().split(",") if "=" in part)


def _mechanism(given: Given) -> str:
    mechanism = str(given.get("sasl.mechanism", given.get("sasl.mechanisms", "GSSAPI"))).upper()
    if mechanism not in {"PLAIN", "OAUTHBEARER", *_SCRAM}:
        raise unsupported(
            f"this needs a login by SCRAM, PLAIN, a token or a certificate, which wcsup makes itself, not {mechanism}"
        )
    return mechanism


def _tls(given: Given) -> "ssl.SSLContext":
    import ssl  # noqa: PLC0415 - costs a start some milliseconds, and most starts have no TLS

    for name in _ONLY_LIBRDKAFKA:
        if given.get(name):
            raise unsupported(name)
    context = trust.context(given, "ssl.ca")
    try:
        if given.get("ssl.certificate.location"):
            key, password = given.get("ssl.key.location"), given.get("ssl.key.password")
            context.load_cert_chain(
                str(given["ssl.certificate.location"]),
                str(key) if key else None,
                str(password) if password else None,
            )
    except (OSError, ValueError) as error:  # of OpenSSL, too
        raise unsupported(f"the TLS settings: {error}") from error
    verified = str(given.get("enable.ssl.certificate.verification", "true")).lower() == "true"
    named = str(given.get("ssl.endpoint.identification.algorithm", "https")).lower() == "https"
    context.check_hostname = verified and named
    if not verified:
        context.verify_mode = ssl.CERT_NONE
    return context
