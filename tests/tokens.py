"""A token server for clients with OAUTHBEARER (OIDC, client credentials: RFC 6749, section 4.4), with keys of its own.

with TokenServer(tmp_path, "books") as tokens:
    broker.start(data, secure=config, oauth=OAuth(tokens.keys, ISSUER, "kafka"))
    tokens.client(credential="wrong")       # librdkafka's settings for a login
"""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_CLIENT, SECRET = "counter", "open-sesame-21"
_KEY_ID = "first"
ISSUER = "https://tokens.here.test"


class TokenServer:
    """Gives tokens to who knows the secret; their subject is a user of the broker."""

    def __init__(self, home: Path, user: str) -> None:
        self._user = user
        self._key = rsa.generate_private_key(65537, 2048)
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": _KEY_ID, "n": _number(numbers.n), "e": _number(65537)}
        self._keys = home / "keys.json"
        self._keys.write_text(json.dumps({"keys": [key]}))
        self.lifetime = 300.0
        """Seconds for which the next tokens are valid."""
        self.given = 0
        """How many tokens it gave."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def keys(self) -> str:
        """The URL of the keys that sign its tokens."""
        return f"file://{self._keys}"

    def client(self, *, credential: str = SECRET, path: str = "token") -> dict[str, str]:
        """Return librdkafka's settings. The tokens of `path` "forged" are signed by a key that nobody knows."""
        return {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": f"http://127.0.0.1:{self._server.server_port}/{path}",
            "sasl.oauthbearer.client.id": _CLIENT,
            "sasl.oauthbearer.client.secret": credential,
        }

    def answer(self, authorization: str, *, forged: bool) -> tuple[int, dict[str, Any]]:
        """Return status and body of an answer to who shows this authorization."""
        if authorization != "Basic " + base64.b64encode(f"{_CLIENT}:{SECRET}".encode()).decode():
            return 401, {"error": "invalid_client", "error_description": "the client is not known"}
        self.given += 1
        key = rsa.generate_private_key(65537, 2048) if forged else self._key
        return 200, {"access_token": self._token(key), "token_type": "Bearer", "expires_in": self.lifetime}

    def _token(self, key: rsa.RSAPrivateKey) -> str:
        now = time.time()
        claims = {
            "sub": self._user,
            "iat": round(now),
            "exp": round(now + self.lifetime),
            "iss": ISSUER,
            "aud": "kafka",
        }
        head = {"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims))
        return f"{signed}.{_text(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _handler(tokens: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = tokens.answer(self.headers.get("Authorization", ""), forged=self.path == "/forged")
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _number(number: int) -> str:
    return _text(number.to_bytes((number.bit_length() + 7) // 8, "big"))
