"""A real broker whose doors are locked: users with passwords, ACLs, and TLS with good and bad certificates.

Its first listener is open, and who comes by it may do everything: that is how a test gives and takes rights. The others
are those that the commands under test are sent to.

    secured.allow(rights(config))                       # user `wcsup`, all that an application needs
    secured.take(Right("topic", config.topic("words"), "WRITE"))
    secured.client(Door.SCRAM, password="wrong")        # the lines of a --kafka-config file
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import brokers
import pytest
from application import wait_for
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from wcsup import broker as embedded
from wcsup.broker import ports, settings
from wcsup.broker.certificates import Authority
from wcsup.config import Config
from wcsup.kafka import clients
from wcsup.kafka.rights import Right, binding, give

USER, PASSWORD = "wcsup", "open-sesame-7"
HERE = ("127.0.0.1", "localhost")


class Door(StrEnum):
    """A listener of the broker."""

    SCRAM = "SCRAM"
    """Users with passwords, by SCRAM-SHA-256."""
    SHORT = "SHORT"
    """The same, and who has come in says the password again every few seconds."""
    PLAIN = "PLAIN"
    """Users with passwords that stand in the broker's properties."""
    TLS = "TLS"
    """Encrypted, with a certificate for 127.0.0.1."""
    EXPIRED = "EXPIRED"
    """Its certificate was good until yesterday."""
    ELSEWHERE = "ELSEWHERE"
    """Its certificate is another host's."""
    BOTH = "BOTH"
    """Encrypted, and users with passwords."""
    MUTUAL = "MUTUAL"
    """Encrypted, and clients have to show a certificate."""


_PROTOCOLS = {
    Door.SCRAM: "SASL_PLAINTEXT",
    Door.SHORT: "SASL_PLAINTEXT",
    Door.PLAIN: "SASL_PLAINTEXT",
    Door.BOTH: "SASL_SSL",
}
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'

# The last of equal keys counts in a properties file, so these lines override those of the embedded broker.
_MORE = """
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},{doors}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},{doors}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}
inter.broker.listener.name=PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.scram.scram-sha-256.sasl.jaas.config={scram}
listener.name.short.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.short.scram-sha-256.sasl.jaas.config={scram}
listener.name.short.scram-sha-256.connections.max.reauth.ms=3000
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config={plain}
listener.name.both.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.both.scram-sha-256.sasl.jaas.config={scram}
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={certificates}/here.pem
listener.name.both.ssl.keystore.type=PEM
listener.name.both.ssl.keystore.location={certificates}/here.pem
listener.name.mutual.ssl.keystore.type=PEM
listener.name.mutual.ssl.keystore.location={certificates}/here.pem
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={certificates}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={certificates}/expired.pem
listener.name.elsewhere.ssl.keystore.type=PEM
listener.name.elsewhere.ssl.keystore.location={certificates}/elsewhere.pem
# As Kafka has it.
group.min.session.timeout.ms=6000
# A test waits for these; in earnest nobody does.
transaction.abort.timed.out.transaction.cleanup.interval.ms=200
"""


class SecuredBroker:
    """The broker, its users and their rights."""

    def __init__(self, home: Path) -> None:
        self._data = home / "broker"
        self._certificates = home / "certificates"
        self._ports: dict[Door, int] = {}
        while len(self._ports) < len(Door):
            port = ports.find_free()
            if port not in self._ports.values():
                self._ports[list(Door)[len(self._ports)]] = port
        self._running: embedded.Broker | None = None

    def start(self) -> None:
        self._certificates.mkdir()
        make_certificates(self._certificates)
        with mock.patch.object(settings, "server", self._locked(settings.server)):
            self._running = embedded.start(self._data, quiet=True)
        self.set_password(USER, PASSWORD)

    def end(self) -> None:
        if self._running is not None:
            brokers.kill(self._running.pid)

    def _locked(self, server: Callable[..., str]) -> Callable[..., str]:
        def patched(*, port: int, controller_port: int, **more: str) -> str:
            text = server(port=port, controller_port=controller_port, **more)
            return text + _MORE.format(
                port=port,
                controller_port=controller_port,
                doors=",".join(f"{door}://{self.address(door)}" for door in Door),
                protocols=",".join(f"{door}:{_PROTOCOLS.get(door, 'SSL')}" for door in Door),
                scram=_SCRAM,
                plain=_PLAIN,
                certificates=self._certificates,
            )

        return patched

    def address(self, door: Door | None = None) -> str:
        """The address of a door, or of the open listener."""
        if door is None:
            assert self._running is not None
            return self._running.bootstrap
        return f"127.0.0.1:{self._ports[door]}"

    @cached_property
    def admin(self) -> AdminClient:
        return clients.admin(Config(bootstrap_servers=self.address()))

    def client(
        self, door: Door, *, user: str = USER, password: str = PASSWORD, ca: str = "ca", certificate: str = ""
    ) -> dict[str, str]:
        """Return the librdkafka settings with which a client comes in at a door, with or without a certificate."""
        protocol = _PROTOCOLS.get(door, "SSL")
        found = {"security.protocol": protocol}
        if "SASL" in protocol:
            mechanism = "PLAIN" if door is Door.PLAIN else "SCRAM-SHA-256"
            found |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
        if "SSL" in protocol:
            found["ssl.ca.location"] = str(self._certificates / f"{ca}.pem")
        if certificate:
            own = str(self._certificates / f"{certificate}.pem")
            found |= {"ssl.certificate.location": own, "ssl.key.location": own}
        return found

    def set_password(self, user: str, password: str) -> None:
        """Make a user of SCRAM, or give it another password; return when the broker takes it."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        self.admin.alter_user_scram_credentials([change])[user].result()
        settings = self.client(Door.SCRAM, user=user, password=password)
        probe = AdminClient({"bootstrap.servers": self.address(Door.SCRAM), **settings, "log_level": 0})

        def taken() -> bool:
            return bool(probe.list_topics(timeout=5).brokers)

        wait_for("the password is taken", taken)

    def allow(self, rights: Iterable[Right], user: str = USER) -> None:
        """Give a user rights; return when the broker knows of them."""
        wanted = list(rights)
        give(self.admin, user, wanted)
        bindings = {binding(user, right) for right in wanted}
        wait_for("the rights are there", lambda: bindings <= acls(self.admin))

    def allow_everything(self, user: str) -> None:
        """Give a user all rights to everything."""
        self.allow([Right(kind, "*", "ALL") for kind in ("topic", "group", "transactional-id")], user)

    def take(self, *rights: Right, user: str = USER) -> None:
        """Take rights away; return when the broker knows of it."""
        gone = {binding(user, right) for right in rights}
        for future in self.admin.delete_acls([_only(one) for one in gone]).values():
            future.result()
        wait_for("the rights are gone", lambda: not gone & acls(self.admin))


def acls(admin: AdminClient) -> set[AclBinding]:
    """All rights that somebody has."""
    anything: Any = AclBindingFilter  # whose stub knows nothing of "any"
    patterns = ResourcePatternType.ANY
    everything = anything(ResourceType.ANY, None, patterns, None, None, AclOperation.ANY, AclPermissionType.ANY)
    return set(admin.describe_acls(everything).result())


def _only(one: AclBinding) -> AclBindingFilter:
    """Return the filter that finds one ACL."""
    return AclBindingFilter(
        one.restype,
        one.name,
        one.resource_pattern_type,
        one.principal,
        one.host,
        one.operation,
        one.permission_type,
    )


def make_certificates(home: Path) -> None:
    """Make two authorities, and certificates of brokers and clients by them."""
    here, stranger = Authority.at(home), Authority.at(home, "stranger")
    here.issue(home / "here.pem", "here", HERE)
    here.issue(home / "expired.pem", "expired", HERE, days=-1)
    here.issue(home / "elsewhere.pem", "elsewhere", ["kafka.elsewhere.test"])
    here.issue(home / "client.pem", USER)
    here.issue(home / "client-expired.pem", USER, days=-1)
    stranger.issue(home / "client-stranger.pem", USER)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """The broker that all tests of a process share; started by the first that asks."""
    running = SecuredBroker(tmp_path_factory.mktemp("secured"))
    try:
        running.start()
        yield running
    finally:
        running.end()
