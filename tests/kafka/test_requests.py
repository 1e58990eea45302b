"""Requests of one's own to a real broker that wants to know who asks: TLS, SASL, rights."""

import base64
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from cluster import Node
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from confluent_kafka.cimpl import NewTopic

from wcsup.broker import jars, java, ports, readiness, settings
from wcsup.broker.process import Kafka
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka.hanging import OFFSETS, Examination, Hanging
from wcsup.kafka.outcomes import STATES
from wcsup.kafka.requests import Brokers, Layout, Open

USER, PASSWORD = "ann", 'correct, horse="battery"'
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
TOPIC = "words"

_MORE = """
listeners={listeners},CONTROLLER://127.0.0.1:{control}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{map}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
ssl.keystore.type=PKCS12
ssl.keystore.location=keys.p12
ssl.keystore.password=changeit
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
_LOGIN = """
listener.name.{name}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.{name}.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class Guarded:
    """A node with a listener for each protocol; its user has no rights at all."""

    def __init__(self, home: Path) -> None:
        used: list[int] = []
        while len(used) <= len(PROTOCOLS):
            used += {ports.find_free()} - set(used)
        control, self.ports = used.pop(), dict(zip(PROTOCOLS, used, strict=True))
        escaped = PASSWORD.replace('"', '\\\\"')
        text = settings.server(port=self.ports["PLAINTEXT"], controller_port=control) + _MORE.format(
            listeners=",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()),
            map=",".join(f"{name}:{name}" for name in PROTOCOLS),
            control=control,
        )
        for name in ("sasl_plaintext", "sasl_ssl"):
            text += _LOGIN.format(name=name, user=USER, password=escaped)
        kafka = Kafka(home / "node", java.find(), jars.fetch(quiet=True))
        self.node = Node(kafka, 1, self.ports["PLAINTEXT"], text)
        self.certificate = home / "certificate.pem"
        keytool, keys = Path(kafka.java.program).with_name("keytool"), kafka.data / "keys.p12"
        common: list[str | Path] = ["-alias", "node", "-keystore", keys, "-storepass", "changeit"]
        commands: list[list[str | Path]] = [
            ["-genkeypair", "-keyalg", "EC", "-dname", "CN=node", "-ext", "san=ip:127.0.0.1", "-storetype", "PKCS12"],
            ["-exportcert", "-rfc", "-file", self.certificate],
        ]
        for command in commands:
            subprocess.run([keytool, *command, *common], check=True, capture_output=True)

    def create(self) -> None:
        identity = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        making = self.node.format(identity)
        _, said = making.communicate()
        assert making.returncode == 0, said
        self.node.start()
        running = partial(getattr, self.node, "runs")
        assert readiness.await_ready(self.node.port, deadline=time.monotonic() + 120, running=running)
        admin = AdminClient({"bootstrap.servers": self.node.address})
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result()
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            user = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([user])[USER].result()


Settings = Callable[..., Config]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    try:
        made.create()
        yield made
    finally:
        made.node.kill()


@pytest.fixture
def client(guarded: Guarded, tmp_path: Path) -> Settings:
    """Makes a configuration for a listener, with changes to the settings of librdkafka."""

    numbers = count()

    def make(protocol: str, mechanism: str = "PLAIN", **changes: str) -> Config:
        given = {"security.protocol": protocol.lower()}
        if protocol.endswith("SSL"):
            given["ssl.ca.location"] = str(guarded.certificate)
        if protocol.startswith("SASL"):
            given |= {"sasl.mechanism": mechanism, "sasl.username": USER, "sasl.password": PASSWORD}
        given |= changes
        file = tmp_path / f"client-{next(numbers)}.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in given.items()))
        return Config(bootstrap_servers=f"127.0.0.1:{guarded.ports[protocol]}", kafka_config=file)

    return make


def ask(config: Config) -> Layout:
    with closing(Brokers(config)) as brokers:
        return brokers.layout([TOPIC, OFFSETS, STATES])


@pytest.mark.parametrize(
    ("protocol", "mechanism"),
    [("PLAINTEXT", "PLAIN"), ("SSL", "PLAIN")]
    + [(protocol, mechanism) for protocol in ("SASL_PLAINTEXT", "SASL_SSL") for mechanism in MECHANISMS],
)
def test_a_broker_is_asked_as_librdkafka_asks_it(
    client: Settings, guarded: Guarded, protocol: str, mechanism: str
) -> None:
    config = client(protocol, mechanism)
    with closing(Brokers(config)) as brokers:
        layout = brokers.layout([TOPIC])
        assert layout.brokers == {1: ("127.0.0.1", guarded.ports[protocol])}
        assert brokers.names(layout, [7]) == {}, "over the connection to the node"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_told(client: Settings, mechanism: str) -> None:
    with pytest.raises(KafkaException, match="_AUTHENTICATION"):
        ask(client("SASL_PLAINTEXT", mechanism, **{"sasl.password": "wrong"}))


def test_who_the_broker_is_is_looked_at(client: Settings, guarded: Guarded) -> None:
    with pytest.raises(KafkaException, match="certificate"):
        ask(client("SSL", **{"ssl.ca.location": ""}))
    named = replace(
        client("SSL"), bootstrap_servers=f"localhost:{guarded.ports['SSL']}"
    )  # which it is not certified as
    with pytest.raises(KafkaException, match="certificate"):
        ask(named)
    unchecked = client("SSL", **{"ssl.endpoint.identification.algorithm": "none"})
    assert ask(replace(named, kafka_config=unchecked.kafka_config)).brokers


def test_a_user_without_rights_sees_nothing_and_is_told_which_it_takes(client: Settings, guarded: Guarded) -> None:
    config = client("SASL_PLAINTEXT")
    with closing(Examination(config)) as examination:
        assert examination.find() == []
        with pytest.raises(KafkaException, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
            examination.decided("wcsup-9bfd4b46-map-0")
    with closing(Examination(config)) as examination:
        examination.find()
        one = Hanging("wcsup-9bfd4b46-map-0", Open(TOPIC, 0, 0, 7, 0, 0), None, commit=True, replaced=True)
        node = 1, ("127.0.0.1", guarded.ports["SASL_PLAINTEXT"])
        examination._layout = Layout(dict([node]), {(TOPIC, 0): node[0]})
        with pytest.raises(ConfigurationError, match="ALTER on the cluster"):
            examination.end([one])


def test_what_topics_take_on_disks_is_told_to_those_who_may_know(client: Settings) -> None:
    with closing(Brokers(client("PLAINTEXT"))) as brokers:
        found = brokers.sizes([TOPIC, STATES])
    assert found is not None and found[TOPIC] == 0
    with closing(Brokers(client("SASL_PLAINTEXT"))) as brokers:
        assert brokers.sizes([TOPIC, STATES]) is None
