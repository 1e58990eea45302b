"""The settings of the embedded broker: its server.properties and its log4j2.properties.

The broker runs in its data directory and names its files relative to it, so no path has to be escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

NODE = 1
LOGS = "kafka"
"""Kafka's log.dirs under the data directory: topics, offsets, metadata."""
LOG_FILE = "broker.log"
"""The file of the broker's log4j2, in the data directory."""
ADMIN, ITSELF = "admin", "broker"
"""Users of a secured broker that may do everything: a person, and the nodes themselves."""


@dataclass(frozen=True, slots=True)
class OAuth:
    """Which tokens a secured broker takes (JWT, RFC 7519): Kafka checks each of these."""

    keys: str
    """URL of the keys that sign them (JWKS)."""
    issuer: str
    """Who has to have made them (`iss`)."""
    audience: str
    """Whom they have to be for (`aud`)."""


_SECURITY = "org.apache.kafka.common.security"

# The order follows a reader's questions: who, where, durability, application, size.
_SERVER = """\
# Written by wcsup at every start of the broker.
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}

# One node holds the only replica of everything.
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# wcsup creates its topics itself; a mistyped name is an error, not a new topic.
auto.create.topics.enable=false
# Few partitions of the internal topics are created in a moment; 8 spread more groups than one host has.
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
# A group's first members need not wait for more: they are rebalanced cooperatively when more come.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
# KIP-848 groups take their times from the broker alone; its defaults let a dead member keep its
# partitions for 45 s and move them one heartbeat of 5 s at a time.
group.consumer.session.timeout.ms=6000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=100
# A dead producer's transaction ends within a second of its time-out; readers wait for that.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000

# A stalled broker (a stopped process, a disk that hangs) must not lose its partitions: nobody else can have them.
broker.session.timeout.ms=60000
# After a kill the open segment of each partition is read through: 128 MB take a fraction of a second.
log.segment.bytes=134217728
# A laptop's broker, not a server's: fewer threads, no 128 MB buffer for compaction, no JMX.
num.network.threads=2
num.io.threads=4
background.threads=2
group.coordinator.threads=2
log.cleaner.dedupe.buffer.size=33554432
metric.reporters=
# An idle broker need not write (and fsync) an empty metadata record twice a second.
metadata.max.idle.interval.ms=5000
"""

_LOG4J = """\
# Written by wcsup at every start of the broker.
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={log}
appender.file.filePattern={log}.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %m (%c{{1}})%n
appender.file.policies.type=Policies
appender.file.policies.size.type=SizeBasedTriggeringPolicy
appender.file.policies.size.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=3
rootLogger.level=WARN
rootLogger.appenderRef.file.ref=file
# Asked for a coordinator again while its topic is being created, it warns that the topic exists already.
logger.internal.name=org.apache.kafka.server.DefaultAutoTopicCreationManager
logger.internal.level=ERROR
# While it starts, its transaction coordinator tries 20 times a second to reach the broker itself.
logger.itself.name=org.apache.kafka.clients.NetworkClient
logger.itself.level=ERROR
# A token that is refused is logged whole, and it may be good for another service.
logger.tokens.name={security}.oauthbearer.OAuthBearerValidatorCallbackHandler
logger.tokens.level=ERROR
logger.start.name=kafka.server.KafkaRaftServer
logger.start.level=INFO
logger.recovery.name=org.apache.kafka.storage.internals.log.LogManager
logger.recovery.level=INFO
"""


_MEMBER = """
# A node of three: every partition has three copies, and a commit is on two of them.
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
# Another node has a copy of what a stalled one leads: it takes over after the session, as on a real cluster.
broker.session.timeout.ms=9000
"""

_DOORS = """
# Clients come in with a password or a token, or with a certificate, as the nodes do.
listeners=SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{tls_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=SASL_SSL://127.0.0.1:{port},SSL://127.0.0.1:{tls_port}
inter.broker.listener.name=SSL
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.sasl.enabled.mechanisms={mechanisms}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={security}.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config={security}.plain.PlainLoginModule required {plain};
"""

_TOKENS = """\
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config={security}.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=\
{security}.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={keys}
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.issuer={issuer}
listener.name.sasl_ssl.oauthbearer.sasl.oauthbearer.expected.audience={audience}
"""

_LOCKS = """
# All connections are encrypted, and a certificate's common name is the name of its user.
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL
listener.name.controller.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={home}/{itself}.pem
ssl.truststore.type=PEM
ssl.truststore.location={home}/ca.pem
ssl.principal.mapping.rules=RULE:^CN=(.*)$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:{admin};User:{itself}
"""

_CONTROLLER = """\
# Written by wcsup for the recovery from a kill.
process.roles=controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=CONTROLLER://127.0.0.1:{controller_port}
listener.security.protocol.map=CONTROLLER:PLAINTEXT
log.dirs={logs}
"""


def server(*, port: int, controller_port: int, logs: str = LOGS) -> str:
    """Return server.properties of a KRaft node that is both broker and controller, on loopback only."""
    return _SERVER.format(node=NODE, port=port, controller_port=controller_port, logs=logs)


def member(node: int, voters: str) -> str:
    """Return what a node of a cluster is told beside `server`: of two equal keys the last one counts.

    `voters` are the controllers of all nodes.
    """
    return _MEMBER.format(node=node, voters=voters)


def controller(controller_port: int) -> str:
    """Return the properties of the same node as controller only."""
    return _CONTROLLER.format(node=NODE, controller_port=controller_port, logs=LOGS)


def doors(
    *,
    port: int,
    tls_port: int,
    controller_port: int,
    users: Mapping[str, str],
    mechanisms: Sequence[str],
    oauth: OAuth | None,
) -> str:
    """Return the listeners of a secured node, to be put behind `server`; `locks` are to follow.

    `port` is for passwords and tokens, `tls_port` for certificates. `users` are the passwords of PLAIN by user; those
    of SCRAM are in Kafka's metadata. `oauth` says which tokens OAUTHBEARER takes, if it is offered.
    """
    text = _DOORS.format(
        port=port,
        tls_port=tls_port,
        controller_port=controller_port,
        mechanisms=",".join(mechanisms),
        security=_SECURITY,
        plain=" ".join(f'user_{name}="{password}"' for name, password in users.items()),
    )
    return text + (_TOKENS.format(security=_SECURITY, **asdict(oauth)) if oauth else "")


def locks(home: str) -> str:
    """Return what broker and controller of a secured node need; `home` has the certificates."""
    return _LOCKS.format(home=home, admin=ADMIN, itself=ITSELF)


def log4j() -> str:
    """Return log4j2.properties: warnings, starts, stops and recoveries are logged, at most 40 MB in all."""
    return _LOG4J.format(log=LOG_FILE, security=_SECURITY)
