"""What a client is answered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a client."""

    status: HTTPStatus
    kind: str
    """The content type."""
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers."""

    @classmethod
    def text(cls, text: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> Self:
        """Return an answer of plain text, a newline added; underscores in names of headers become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, "text/plain; charset=utf-8", f"{text}\n".encode(errors="backslashreplace"), named)

    @classmethod
    def json(cls, value: object, status: HTTPStatus = HTTPStatus.OK) -> Self:
        """Return an answer of JSON."""
        return cls(status, "application/json", encoded(value))


def encoded(value: object) -> bytes:
    """Return a value as JSON. It has no NaN, which JSON does not know."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def object_of(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body, an empty one for no body; raise `ValueError` for anything else."""
    value = json.loads(body or b"{}")
    if not isinstance(value, dict):
        raise TypeError("the body is no JSON object")
    return value
