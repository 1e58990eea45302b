"""Tokens for wcsup's own connections, from a server that gives and refuses them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from clocks import FakeClock
from confluent_kafka import KafkaException
from tokens import SECRET, TokenServer

from wcsup.kafka import bearer

FIRST = "n,,\1auth=Bearer "


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TokenServer]:
    bearer.forget()
    with TokenServer(tmp_path, "books") as made:
        yield made
    bearer.forget()


def test_a_token_serves_until_most_of_its_life_has_passed(server: TokenServer) -> None:
    server.lifetime = 100.0
    clock = FakeClock()
    first = bearer.first_message(server.client(), clock.monotonic)
    assert first.decode().startswith(FIRST) and first.endswith(b"\1\1")
    clock.now += 79
    assert bearer.first_message(server.client(), clock.monotonic) == first
    assert server.given == 1
    clock.now += 2
    bearer.first_message(server.client(), clock.monotonic)
    assert server.given == 2


def test_a_token_that_a_broker_refused_is_replaced(server: TokenServer) -> None:
    bearer.first_message(server.client())
    bearer.forget()
    bearer.first_message(server.client())
    assert server.given == 2


def test_extensions_are_sent_along(server: TokenServer) -> None:
    given = server.client() | {"sasl.oauthbearer.extensions": "cluster=one, pool = two"}
    assert bearer.first_message(given).endswith(b"\1cluster=one\1pool = two\1\1")


def test_a_refused_client_hears_why_and_no_secret(server: TokenServer) -> None:
    with pytest.raises(KafkaException, match=r"_AUTHENTICATION.*invalid_client: the client is not known") as raised:
        bearer.first_message(server.client(credential="wrong-41"))
    assert "wrong-41" not in str(raised.value) and SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"<html>", "is not JSON"),
        (200, b"[]", "is not a JSON object"),
        (200, b"{}", "has no access_token"),
        (200, json.dumps({"access_token": "a\1b"}).encode(), "has no access_token"),
        (503, b"later", "HTTP status 503"),
        (400, b"[1]", "HTTP status 400"),
    ],
)
def test_a_server_that_gives_no_token_is_told_of(status: int, body: bytes, said: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        given = {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": f"http://127.0.0.1:{made.server_port}/",
        }
        with pytest.raises(KafkaException, match=f"_AUTHENTICATION.*the token server gives no token: .*{said}"):
            bearer.first_message(given)
        made.shutdown()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"token.endpoint.url": "http://127.0.0.1:9/token"}, "_TRANSPORT.*the token server http://127.0.0.1:9/token"),
        ({"token.endpoint.url": "file:///etc/passwd"}, "_UNSUPPORTED_FEATURE.*token.endpoint.url"),
        ({"method": "default"}, "_UNSUPPORTED_FEATURE.*method=oidc"),
        ({"grant.type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "_UNSUPPORTED_FEATURE.*grant.type"),
        ({"assertion.file": "/a"}, "_UNSUPPORTED_FEATURE.*sasl.oauthbearer.assertion.file"),
    ],
)
def test_what_cannot_be_fetched_is_said(server: TokenServer, changed: dict[str, str], said: str) -> None:
    given = server.client() | {f"sasl.oauthbearer.{name}": value for name, value in changed.items()}
    with pytest.raises(KafkaException, match=said):
        bearer.first_message(given)
