"""Control over HTTP, for who knows the token: the commands of the control socket, and `verify`.

`POST /control/COMMAND` with a JSON object. A page of another site can make a browser send requests here, so a request
has to say that no such page made it, has to carry the token in a header that no form can send, and JSON, which no form
can send either.
"""

import hmac
import logging
import secrets
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from wcsup.errors import ConfigurationError, UsageError, WcsupError
from wcsup.observe.web.answers import Response, object_of
from wcsup.observe.web.names import is_of_another_site
from wcsup.process.files import write_private

log = logging.getLogger("wcsup.http")

PLACE = "/control/"
LONGEST_BODY = 4096
COMMANDS: Mapping[str, frozenset[str]] = {
    "check": frozenset(),
    "scale": frozenset({"mappers", "reducers"}),
    "restart": frozenset({"slot"}),
    "kill": frozenset({"slot"}),
    "drain": frozenset({"leave"}),
    "verify": frozenset(),
}
"""What can be asked for, and what each request may say. `check` does nothing: it tells that the token is right."""

_SHORTEST_TOKEN = 16
_READ_BY_OTHERS = 0o007

Steer = Callable[[Mapping[str, Any]], Any]
"""Sends a command to the supervisor as `supervisor.request` does, and returns the reply."""


def token_of(file: Path) -> str:
    """Return the token in a file; a file that is not there is made, with a random token and for its owner alone.

    Raises `ConfigurationError` where others may read the file, or where it has no good token.
    """
    try:
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24) + "\n")
            log.info("made a token for the page's controls: it is in %s", file)
        if file.stat().st_mode & _READ_BY_OTHERS:
            raise ConfigurationError(f"--http-token {file} can be read by everybody on this machine: chmod 600 {file}")
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigurationError(f"--http-token {file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        token = ""
    if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"--http-token {file} has to have one line of at least {_SHORTEST_TOKEN} letters, digits and signs; remove "
            "the file, and wcsup makes one"
        )
    return token


class Control:
    """Answers what is asked of `/control/`."""

    def __init__(self, token: str | None) -> None:
        """Without a token nothing can be asked for."""
        self._token = token
        self._steer: Steer | None = None
        self._verify: Callable[[], Mapping[str, Any]] | None = None

    @property
    def possible(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def steer(self, steer: Steer, verify: Callable[[], Mapping[str, Any]]) -> None:
        """Pass commands on from now on; `verify` begins a recount and returns at once."""
        self._steer, self._verify = steer, verify

    def answer(self, command: str, headers: Mapping[str, str], body: bytes, client: str) -> Response:
        """Do what is asked for, if it may be."""
        refused = self._refusal(headers)
        if refused is not None:
            return refused
        if command not in COMMANDS:
            return Response.text(f"no command {command!r}; there are {' '.join(COMMANDS)}", HTTPStatus.NOT_FOUND)
        try:
            asked = object_of(body)
        except (TypeError, ValueError, RecursionError):
            return Response.text("the body has to be a JSON object", HTTPStatus.BAD_REQUEST)
        if unknown := asked.keys() - COMMANDS[command]:
            return Response.text(f"{command} does not know {', '.join(sorted(unknown))}", HTTPStatus.BAD_REQUEST)
        return self._do(command, asked, client)

    def _refusal(self, headers: Mapping[str, str]) -> Response | None:
        """Return why a request is refused; none where it is not."""
        if self._token is None:
            return Response.text(
                "this run can be looked at and not steered: start it with --http-token FILE", HTTPStatus.FORBIDDEN
            )
        if is_of_another_site(headers):
            return Response.text("a page of another site made this request", HTTPStatus.FORBIDDEN)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(errors="replace"), self._token.encode())
        if scheme.lower() != "bearer" or not right:
            return Response.text(
                "the header Authorization has to be Bearer and the token of --http-token",
                HTTPStatus.UNAUTHORIZED,
                WWW_Authenticate='Bearer realm="wcsup"',
            )
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return Response.text("the body has to be application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
        return None

    def _do(self, command: str, asked: Mapping[str, Any], client: str) -> Response:
        if command == "check":
            return Response.json({})
        if self._steer is None or self._verify is None:
            return Response.text("starting", HTTPStatus.SERVICE_UNAVAILABLE)
        said = " ".join(f"{name}={value!r}" for name, value in asked.items())
        log.info("%s asks over HTTP: %s %s", client, command, said)
        try:
            done = self._verify() if command == "verify" else self._steer({"command": command, **asked})
        except UsageError as error:
            return Response.text(str(error), HTTPStatus.CONFLICT)
        except WcsupError as error:
            return Response.text(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return Response.json(done)
