"""The file of `--kafka-config`: `key=value` lines, and references to secrets that stand elsewhere.

References are those of Kafka's own config providers, so a file for Java's clients can have the same ones:

- `${env:NAME}`: an environment variable (KIP-887)
- `${file:PATH:KEY}`: the value of a key in another file of such lines (KIP-297)
- `${dir:PATH:NAME}`: what is in the file NAME of a directory, such as a mounted secret of Kubernetes (KIP-421)
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9._-]+")
_REFERENCE = re.compile(r"\$\{(env|file|dir):([^}]*)\}")
_ADDRESS = "bootstrap.servers"

SECRETS = frozenset(
    {
        "sasl.password",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.client.secret",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
    }
)
"""librdkafka's settings whose values are secrets."""


class MissingError(Exception):
    """What a reference names is not there; the message has no secret."""


def lines(text: str) -> Iterator[tuple[int, str | None, str]]:
    """Yield number, key and value of each line, without comments; the key is none where the line is malformed."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            key, equals, value = stripped.partition("=")
            valid = equals and _KEY.fullmatch(key.strip())
            yield number, key.strip() if valid else None, value.strip()


def resolve(value: str) -> str:
    """Return a value with its references replaced by what they stand for. Raises `MissingError`."""
    return _REFERENCE.sub(_referred, value)


def address(file: Path) -> str | None:
    """Return the brokers' address in a file, and none where it has none. Nothing else of the file is judged."""
    try:
        found = [value for _, key, value in lines(file.read_text()) if key == _ADDRESS]
        return resolve(found[-1]) if found else None
    except (OSError, UnicodeDecodeError, MissingError):
        return None


def written_secrets(file: Path) -> list[str]:
    """Return the names of the settings whose secrets stand in a file itself, not in what it refers to."""
    return [
        key for _, key, value in lines(file.read_text()) if key in SECRETS and value and not _REFERENCE.fullmatch(value)
    ]


def _referred(reference: "re.Match[str]") -> str:
    provider, where = reference[1], reference[2]
    if provider == "env":
        if where not in os.environ:
            raise MissingError(f"the environment has no {where}")
        return os.environ[where]
    path, _, name = where.rpartition(":")
    if not path:
        form = "PATH:KEY" if provider == "file" else "PATH:NAME"
        raise MissingError(f"{reference[0]} is not of the form ${{{provider}:{form}}}")
    if provider == "dir":
        return _read(Path(path, name)).rstrip("\r\n")
    for _, key, value in lines(_read(Path(path))):
        if key == name:
            return value
    raise MissingError(f"{path} has no {name}")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise MissingError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise MissingError(f"{path} is no text") from None
