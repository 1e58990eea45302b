"""The users of a secured broker, in Kafka itself: their passwords (SCRAM, KIP-554) and their rights (ACLs)."""

import time
from dataclasses import replace

from confluent_kafka import KafkaException
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)

from wcsup.broker.security import ADMIN, Security
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError
from wcsup.kafka import clients, rights
from wcsup.kafka.connection import Connection

_ITERATIONS = 4096
"""Of the password's hash, as Kafka's own tools have it."""
_SECONDS = 30.0
_PAUSE = 0.05


def admit(security: Security, config: Config) -> None:
    """Give passwords to the application's user and to the administrator, and the user all of its application's rights.

    The rights are those of `wcsup doctor --acls`. `config` has the address of all nodes, and the clients' files are
    there. Returns when each node lets the user in. Raises `KafkaException` where the nodes refuse, and
    `BrokerUnreachableError` where a node has not heard of the user after half a minute.
    """
    by_certificate = security.client_file(ADMIN, certificate=True)
    asked = Config(bootstrap_servers=security.tls_bootstrap, kafka_config=by_certificate)
    admin = clients.admin(asked)
    listed = rights.by_purpose(config).values()
    rights.give(admin, config.app_id, {right for needed in listed for right in needed})
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
    changes: list[UserScramCredentialAlteration] = [
        UserScramCredentialUpsertion(name, info, security.users[name].encode()) for name in (ADMIN, config.app_id)
    ]
    for future in admin.alter_user_scram_credentials(changes).values():
        future.result()
    _await_login(replace(config, kafka_config=security.client_file(config.app_id)))


def _await_login(config: Config) -> None:
    """Wait until each node lets the user in. A node that knows the password knows the rights, which came first."""
    given = clients.settings(config)
    deadline = time.monotonic() + _SECONDS
    for address in str(given["bootstrap.servers"]).split(","):
        host, _, port = address.rpartition(":")
        while True:
            try:
                Connection(host, int(port), given).close()
                break
            except KafkaException as failed:
                if time.monotonic() > deadline:
                    raise BrokerUnreachableError(
                        f"the embedded Kafka at {address} does not let user {config.app_id} in after {_SECONDS:.0f} s: "
                        f"{failed.args[0].str()}"
                    ) from failed
                time.sleep(_PAUSE)
