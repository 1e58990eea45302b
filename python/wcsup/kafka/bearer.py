"""Tokens by which wcsup's own connections log in with OAUTHBEARER (RFC 7628, KIP-255).

They are fetched as librdkafka does with `sasl.oauthbearer.method=oidc`: the user's token server is shown the id and the
secret of the client, and gives a token (RFC 6749, section 4.4). A token serves all connections of the process until
most of its life has passed. Other ways to a token (an assertion, a metadata server, a callback) only librdkafka knows.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from wcsup.kafka.trust import context, unsupported

Given = Mapping[str, object]
"""librdkafka's settings."""

_PREFIX = "sasl.oauthbearer."
_KNOWN = {
    "method",
    "token.endpoint.url",
    "client.id",
    "client.secret",
    "client.credentials.client.id",
    "client.credentials.client.secret",
    "scope",
    "extensions",
    "grant.type",
}
_ANSWER_SECONDS = 4.0
_LONGEST_ANSWER = 1 << 20
_FRESH = 0.8
"""The share of its life after which a token is replaced, as librdkafka has it."""
_UNTOLD_SECONDS = 60.0
"""How long a token serves whose life the server does not tell."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    until: float
    """When to replace it, by the monotonic clock."""


_lock = threading.Lock()
_tokens: dict[tuple[object, ...], _Token] = {}


def first_message(given: Given, clock: Callable[[], float] = time.monotonic) -> bytes:
    """Return the message by which a client logs in.

    Raises `KafkaException`: with `_AUTHENTICATION` where the token server refuses the client or gives no token, with
    `_TRANSPORT` where it can't be reached, and with `_UNSUPPORTED_FEATURE` for what only librdkafka knows.
    """
    named = {name.removeprefix(_PREFIX): str(value) for name, value in given.items() if name.startswith(_PREFIX)}
    unknown = sorted(name for name in named if name not in _KNOWN)
    if unknown:
        raise unsupported(_PREFIX + unknown[0])
    if named.get("method", "default").lower() != "oidc":
        raise unsupported("a login by OAUTHBEARER without sasl.oauthbearer.method=oidc")
    if named.get("grant.type", "client_credentials") != "client_credentials":
        raise unsupported("sasl.oauthbearer.grant.type")
    key = tuple(sorted(named.items()))
    with _lock:  # one thread asks the server, and the next one has its token
        token = _tokens.get(key)
        if token is None or clock() >= token.until:
            token = _tokens[key] = _fetched(named, given, clock)
    extensions = "".join(f"\1{pair.strip()}" for pair in named.get("extensions", "").split(",") if pair.strip())
    return f"n,,\1auth=Bearer {token.text}{extensions}\1\1".encode()


def forget() -> None:
    """Fetch new tokens from now on: a broker has refused one, or the server's keys have changed."""
    with _lock:
        _tokens.clear()


def _fetched(named: Mapping[str, str], given: Given, clock: Callable[[], float]) -> _Token:
    asked = clock()
    answer = _asked(named, given)
    text, life = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(text, str) or not text or not text.isprintable():
        raise _refused("its answer has no access_token")
    return _Token(text, asked + (_FRESH * life if isinstance(life, int | float) and life > 0 else _UNTOLD_SECONDS))


def _asked(named: Mapping[str, str], given: Given) -> dict[str, Any]:
    """Return the token server's answer."""
    # A process that logs in otherwise does without these modules, 4 MB of them.
    from urllib.error import HTTPError  # noqa: PLC0415
    from urllib.parse import quote_plus, urlencode, urlsplit  # noqa: PLC0415
    from urllib.request import Request, urlopen  # noqa: PLC0415

    url = named.get("token.endpoint.url", "")
    if urlsplit(url).scheme not in {"http", "https"}:
        raise unsupported(f"{_PREFIX}token.endpoint.url={url}")
    client = named.get("client.credentials.client.id", named.get("client.id", ""))
    secret = named.get("client.credentials.client.secret", named.get("client.secret", ""))
    form = {"grant_type": "client_credentials"} | ({"scope": named["scope"]} if named.get("scope") else {})
    shown = base64.b64encode(f"{client}:{secret}".encode()).decode()
    request = Request(  # noqa: S310 - the scheme is looked at above
        url,
        urlencode(form, quote_via=quote_plus).encode(),
        {
            "Authorization": f"Basic {shown}",
            "Accept": "application/json",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    trust = context(given, "https.ca") if url.startswith("https") else None
    try:
        with urlopen(request, timeout=_ANSWER_SECONDS, context=trust) as answer:  # noqa: S310 - as above
            told = json.loads(answer.read(_LONGEST_ANSWER))
    except HTTPError as error:
        with error:
            raise _refused(_reason(error.read(_LONGEST_ANSWER)) or f"HTTP status {error.code}") from None
    except OSError as error:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT, f"the token server {url}: {error}")) from error
    except ValueError as error:
        raise _refused("its answer is not JSON") from error
    if not isinstance(told, dict):
        raise _refused("its answer is not a JSON object")
    return told


def _reason(body: bytes) -> str:
    """Return why a server refuses, as RFC 6749 has it; empty where it says nothing of the kind."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(told, dict):
        return ""
    return ": ".join(str(told[name]) for name in ("error", "error_description") if name in told)


def _refused(why: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._AUTHENTICATION, f"the token server gives no token: {why}"))
