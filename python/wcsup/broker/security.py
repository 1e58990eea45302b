"""A secured broker: its authority, its certificates and its users, in two folders of the data directory.

Clients come in with a password (SCRAM-SHA-512, PLAIN) or with a token (OAUTHBEARER) at one listener, and with a
certificate at another one, by which the nodes and this program come in, too. All is encrypted. A user may do what ACLs
allow it. The administrator may do everything.

Folder `secure` has what the nodes need. A user has the name of its application (`--app-id`), and folder `users/NAME`
has two files for its `--kafka-config`: `kafka.properties` with a password, `kafka-tls.properties` with a certificate.
"""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wcsup.broker import ports, settings
from wcsup.broker.settings import OAuth
from wcsup.errors import ConfigurationError, UsageError
from wcsup.process.files import write_private

if TYPE_CHECKING:
    import ssl

    from wcsup.broker.certificates import Authority

ADMIN = settings.ADMIN
_FOLDER, _USERS = "secure", "users"
_FILE = "secure.json"
_LONGEST_NAME = 64
"""The most characters of a certificate's common name (RFC 5280, ub-common-name)."""
_HERE = ("127.0.0.1", "localhost")

_BY_LOGIN = """\
# Written by wcsup: how user {user} comes in at the embedded Kafka of {data}.
# {offered}
bootstrap.servers={address}
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username={user}
sasl.password={password}
ssl.ca.location={home}/ca.pem
"""
_BY_CERTIFICATE = """\
# Written by wcsup: how user {user} comes in at the embedded Kafka of {data} with a certificate.
bootstrap.servers={address}
security.protocol=SSL
ssl.ca.location={home}/ca.pem
ssl.certificate.location={own}
ssl.key.location={own}
"""


@dataclass(frozen=True, slots=True)
class Security:
    """What the nodes and the users of a secured data directory have in common."""

    data: Path
    tls_ports: list[int]
    """By node, the port of its listener for certificates."""
    users: dict[str, str] = field(default_factory=dict, repr=False)
    """Passwords by user; one of the users is the administrator."""
    oauth: OAuth | None = None
    """Which tokens are taken; none where none is."""

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return what was made for `data`; none where its broker is not secured.

        Raises ConfigurationError where the file is damaged: an open broker in its place would be a hole.
        """
        file = data / _FOLDER / _FILE
        try:
            values = json.loads(file.read_text())
            oauth = values.pop("oauth")
            return cls(data, **values, oauth=oauth and OAuth(**oauth))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"{file} is damaged ({error}): choose another --data-dir") from error

    @classmethod
    def make(cls, data: Path, nodes: int) -> Self:
        """Make the authority, the nodes' certificate and the administrator of a new data directory."""
        chosen: list[int] = []
        while len(chosen) < nodes:
            chosen += {ports.find_free()} - set(chosen)
        made = cls(data, chosen)
        _private(made.home)
        made._authority().issue(made.home / f"{settings.ITSELF}.pem", settings.ITSELF, _HERE)
        return made.with_user(ADMIN)

    def with_user(self, name: str) -> Self:
        """Return the same with a user; a new one gets a password and a certificate."""
        if name in self.users:
            return self
        _private(self.data / _USERS)
        _private(self.data / _USERS / name)
        self._authority().issue(self._certificate(name), name)
        made = replace(self, users={**self.users, name: secrets.token_urlsafe(24)})
        made.write()
        return made

    def write(self) -> None:
        """Replace the file of `data`."""
        values = {name: value for name, value in asdict(self).items() if name != "data"}
        write_private(self.home / _FILE, json.dumps(values))

    @property
    def home(self) -> Path:
        """The folder of what the nodes need."""
        return self.data / _FOLDER

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered."""
        return ("SCRAM-SHA-512", "PLAIN", *(["OAUTHBEARER"] if self.oauth else []))

    @property
    def tls_bootstrap(self) -> str:
        """The addresses of the listeners for certificates."""
        return ",".join(f"127.0.0.1:{port}" for port in self.tls_ports)

    def client_file(self, user: str, *, certificate: bool = False) -> Path:
        """Return the path of a user's file for `--kafka-config`."""
        return self.data / _USERS / user / f"kafka{'-tls' * certificate}.properties"

    def _certificate(self, user: str) -> Path:
        return self.data / _USERS / user / "certificate.pem"

    def write_clients(self, bootstrap: str) -> None:
        """Write the files of all users, for a broker whose listener for passwords is at `bootstrap`."""
        offered = f"It may also log in by {' or '.join(self.mechanisms[1:])} (sasl.mechanism)."
        for user, password in self.users.items():
            here = {"user": user, "data": self.data, "home": self.home}
            text = _BY_LOGIN.format(**here, address=bootstrap, password=password, offered=offered)
            write_private(self.client_file(user), text)
            text = _BY_CERTIFICATE.format(**here, own=self._certificate(user), address=self.tls_bootstrap)
            write_private(self.client_file(user, certificate=True), text)

    def context(self) -> "ssl.SSLContext":
        """Return the TLS context by which this program asks the nodes, with their own certificate."""
        import ssl  # costs a start 4 MB and some milliseconds, and most brokers are not secured

        context = ssl.create_default_context(cafile=self.home / "ca.pem")
        context.load_cert_chain(self.home / f"{settings.ITSELF}.pem")
        return context

    def server(self, node_data: Path, number: int, *, port: int, controller_port: int) -> str:
        """Return the lines of server.properties for a node (from 1), which override those of an open one."""
        return settings.doors(
            port=port,
            tls_port=self.tls_ports[number - 1],
            controller_port=controller_port,
            users=self.users,
            mechanisms=self.mechanisms,
            oauth=self.oauth,
        ) + self.locks(node_data)

    def locks(self, node_data: Path) -> str:
        """Return the lines for every role of a node: certificates, and who may do everything."""
        return settings.locks(os.path.relpath(self.home, node_data))

    def java_options(self) -> list[str]:
        """Return Java's options: Kafka takes keys from no address or file that they do not name (CVE-2025-27817)."""
        if self.oauth is None:
            return []
        allowed = "-Dorg.apache.kafka.sasl.oauthbearer.allowed"
        return [f"{allowed}.urls={self.oauth.keys}", f"{allowed}.files={self.oauth.keys.removeprefix('file://')}"]

    def _authority(self) -> "Authority":
        try:
            from wcsup.broker.certificates import Authority
        except ImportError as error:
            raise ConfigurationError(
                "certificates need the package cryptography: pip install 'wcsup[broker]', or leave --secure out"
            ) from error
        return Authority.at(self.home)


def _private(folder: Path) -> None:
    """Make a folder that is its owner's alone, whatever the umask."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)


def check_user(name: str) -> None:
    """Raise UsageError for an application whose name no user can have."""
    if name in {ADMIN, settings.ITSELF}:
        raise UsageError(f"--app-id {name} is the name of a user with all rights: choose another one")
    if len(name) > _LONGEST_NAME:
        raise UsageError(f"--app-id {name} is too long for a certificate: choose one of {_LONGEST_NAME} characters")
