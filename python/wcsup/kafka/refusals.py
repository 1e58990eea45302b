"""Messages for refusals of the brokers: what is refused, and what the user has to change."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaError, KafkaException

from wcsup.config import Config
from wcsup.errors import RefusedError
from wcsup.kafka import causes, clients, failures, rights
from wcsup.kafka.causes import Cause
from wcsup.kafka.failures import Failure
from wcsup.kafka.rights import Right


@dataclass(frozen=True, slots=True)
class About:
    """The objects of a request, as far as they are known."""

    topic: str | None = None
    group: str | None = None
    transactional_id: str | None = None
    rights: Sequence[Right] = ()
    """The rights that such requests need. Where a topic is refused, the missing ones of these are looked for."""


def of_role(config: Config, role: Literal["map", "reduce", "standby"]) -> About:
    """Return the objects of a worker's requests: its group, and the rights that it needs."""
    group = config.map_group if role == "map" else config.reduce_group
    return About(group=group, rights=rights.of_role(config, role))


@contextmanager
def told(config: Config, about: About) -> Iterator[None]:
    """Turn a refusal in the `with` block into a `RefusedError` that names what is refused."""
    try:
        yield
    except KafkaException as failed:
        error = failures.of(failed)
        if failures.meaning(error) is Failure.REFUSED:
            raise refused(config, error, about) from failed
        raise


def refused(config: Config, error: KafkaError, about: About) -> RefusedError:
    """Return the `RefusedError` for an error of Kafka."""
    code = failures.cause(error)
    say = _SAYS.get(code, _anything)
    return RefusedError(say(config, error, about), code, bounded=code != KafkaError.GROUP_ID_NOT_FOUND)


def lacking(config: Config, wanted: Sequence[Right]) -> RefusedError | None:
    """Return the error for the missing ones of the wanted rights to topics; none where no right is missing."""
    found = rights.lacking(clients.admin(config), wanted)
    return forbidden(config, found) if found else None


def forbidden(config: Config, found: Sequence[Right]) -> RefusedError:
    """Return the error for missing rights."""
    return RefusedError(_forbidden(config, found), KafkaError.TOPIC_AUTHORIZATION_FAILED)


def _forbidden(config: Config, found: Sequence[Right]) -> str:
    user = clients.user(config)
    address = clients.settings(config)["bootstrap.servers"]
    given = rights.commands(address, user or "NAME", found)
    return f"Kafka does not allow {f'user {user}' if user else 'this client'} to {rights.said(found)}: {given}"


def _topic(config: Config, error: KafkaError, about: About) -> str:
    try:
        found = rights.lacking(clients.admin(config), about.rights)
    except KafkaException:
        found = []
    if not found:
        found = [right for right in about.rights if right.name == about.topic]
    if found:
        return _forbidden(config, found)
    names = sorted({right.name for right in about.rights})
    of = f"; it is one of the topics {', '.join(names)}" if names else ""
    return _anything(config, error, about) + of


def _group(config: Config, error: KafkaError, about: About) -> str:
    if about.group is None:
        return _anything(config, error, about)
    return _forbidden(config, [Right("group", about.group, "READ")])


def _name(config: Config, error: KafkaError, about: About) -> str:
    if about.transactional_id is None:
        return _anything(config, error, about)
    return _forbidden(config, [rights.of_name(config, about.transactional_id)])


def _session(config: Config, _error: KafkaError, about: About) -> str:
    return (
        f"the brokers refuse group {about.group} a session of {config.session_timeout:g} s (--session-timeout): choose "
        "one between their group.min.session.timeout.ms and group.max.session.timeout.ms, which are 6 s and 30 minutes "
        "where nobody has set them"
    )


def _transaction(config: Config, _error: KafkaError, _about: About) -> str:
    return (
        f"the brokers refuse transactions of {config.transaction_timeout:g} s (--transaction-timeout): choose no more "
        "than their transaction.max.timeout.ms, which is 15 minutes where nobody has set it"
    )


def _protocol(config: Config, error: KafkaError, about: About) -> str:
    return (
        f"group {about.group} has members that share its partitions out in another way ({error.str()}): workers with "
        f"another --group-protocol than {config.group_protocol}, or another program. Stop them, or use another --app-id"
    )


def _moving(config: Config, _error: KafkaError, about: About) -> str:
    # Kafka lets members of the newer protocol into a classic group (group.consumer.migration.policy) unless assignments
    # have user data (KAFKA-18134). librdkafka's group leader copies that of the subscriptions into the assignments
    # (`rd_kafka_group_MemberState_consumer_write`), and cooperative-sticky has some as soon as a member joins again.
    return (
        f"group {about.group} still has workers with --group-protocol classic, and Kafka lets no other worker in. This "
        "worker goes on when they are gone: end them with wcsup drain --leave, host by host, and start them with "
        f"--group-protocol {config.group_protocol}"
    )


def _login(config: Config, error: KafkaError, _about: About) -> str:
    login = Cause(failures.cause(error), error.str(), time.monotonic())
    return str(causes.not_let_in(clients.settings(config), login))


def _full(_config: Config, error: KafkaError, about: About) -> str:
    return f"group {about.group} takes no more members ({error.str()}): see group.max.size of the brokers"


def _size(_config: Config, error: KafkaError, about: About) -> str:
    topic = about.topic or "of wcsup"
    return (
        f"topic {topic} takes no record that large ({error.str()}): raise its max.message.bytes, with "
        f"kafka-configs.sh --alter --topic {about.topic or 'TOPIC'} --add-config max.message.bytes=N"
    )


def _time(_config: Config, error: KafkaError, about: About) -> str:
    topic = about.topic or "TOPIC"
    return (
        f"Kafka refuses records with the time of this host's clock ({error.str()}): set the clock, or give the topic "
        f"that wcsup writes to Kafka's time: kafka-configs.sh --alter --topic {topic} --add-config "
        "message.timestamp.type=LogAppendTime"
    )


def _anything(_config: Config, error: KafkaError, about: About) -> str:
    things = (("topic", about.topic), ("group", about.group), ("transactional id", about.transactional_id))
    what = " and ".join(f"{kind} {name}" for kind, name in things if name)
    return f"Kafka refuses{f' {what}' if what else ''}: {error.str()} ({KafkaError(failures.cause(error)).name()})"


_SAYS: dict[int, Callable[[Config, KafkaError, About], str]] = {
    **dict.fromkeys(failures.OF_A_LOGIN, _login),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: _topic,
    KafkaError.GROUP_AUTHORIZATION_FAILED: _group,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _name,
    KafkaError.INVALID_SESSION_TIMEOUT: _session,
    KafkaError.INVALID_TRANSACTION_TIMEOUT: _transaction,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: _protocol,
    KafkaError.UNSUPPORTED_ASSIGNOR: _protocol,
    KafkaError.GROUP_ID_NOT_FOUND: _moving,
    KafkaError.GROUP_MAX_SIZE_REACHED: _full,
    KafkaError.MSG_SIZE_TOO_LARGE: _size,
    KafkaError.RECORD_LIST_TOO_LARGE: _size,
    KafkaError.INVALID_TIMESTAMP: _time,
}
