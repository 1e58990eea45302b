"""The two consumer groups: their sessions, what they have committed, who is in them, and their end."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients, failures
from wcsup.kafka.failures import Failure
from wcsup.kafka.refusals import About, forbidden, told
from wcsup.kafka.rights import Right
from wcsup.kafka.topics import patiently

log = logging.getLogger("wcsup.groups")

_GRACE_SECONDS = 3.0

SESSION = "consumer.session.timeout.ms"
"""The setting of a group of KIP-848 for how long its members may be silent."""
_HEARTBEAT = "consumer.heartbeat.interval.ms"


def set_sessions(admin: AdminClient, config: Config) -> None:
    """Have both groups keep sessions of `--session-timeout`, where they are to be groups of KIP-848.

    Members of such a group can't ask for a session: it is a setting of the group, within bounds that the brokers have.
    Where the brokers refuse it, counting goes on with the sessions that they have, and a warning says what to change.
    Brokers have a lower bound for heartbeats, too (5 s by default); where it is above ours the heartbeat is left alone.
    """
    session = {SESSION: str(round(config.session_timeout * 1000))}
    heartbeat = {_HEARTBEAT: str(round(clients.heartbeat_seconds(config) * 1000))}
    for group in (config.map_group, config.reduce_group):
        try:
            if _configure(admin, group, session | heartbeat) is not None:
                refused = _configure(admin, group, session)
                if refused is not None:
                    log.warning("%s", _unchanged(config, group, refused))
        except KafkaException as failed:
            log.warning("the session of group %s can't be set: %s", group, failures.of(failed).str())


def sessions(admin: AdminClient, config: Config) -> dict[str, int]:
    """Return the milliseconds that the members of each group of KIP-848 may be silent, where this user may see it."""
    found = {}
    for group in (config.map_group, config.reduce_group):
        resource = ConfigResource(ResourceType.GROUP, group)
        asked = admin.describe_configs([resource], request_timeout=clients.REACH_SECONDS)
        with suppress(KafkaException):
            entry = asked[resource].result().get(SESSION)
            if entry is not None and entry.value is not None:
                found[group] = int(entry.value)
    return found


def _configure(admin: AdminClient, group: str, entries: dict[str, str]) -> KafkaError | None:
    """Change settings of a group; return the error where the brokers refuse to."""
    changes = [ConfigEntry(key, v, incremental_operation=AlterConfigOpType.SET) for key, v in entries.items()]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=changes)
    asked = admin.incremental_alter_configs([resource], request_timeout=clients.REACH_SECONDS)
    try:
        asked[resource].result()
    except KafkaException as failed:
        error = failures.of(failed)
        if failures.meaning(error) is not Failure.REFUSED:
            raise
        return error
    return None


def _unchanged(config: Config, group: str, refused: KafkaError) -> str:
    if refused.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        why = str(forbidden(config, [Right("group", group, "ALTER_CONFIGS")]))
    else:
        why = (
            f"{refused.str().rstrip('.')}: choose a --session-timeout within, or change "
            "group.consumer.min.session.timeout.ms in server.properties of the brokers"
        )
    return (
        f"a dead worker's partitions of group {group} rest for as long as the brokers say (their "
        f"group.consumer.session.timeout.ms is 45 s by default), not for {config.session_timeout:g} s: {why}"
    )


def offsets(config: Config, group: str, topic: str, partitions: int) -> list[TopicPartition]:
    """Return the offset that a group has for each partition, with its metadata; negative where it has none.

    Offsets of pending transactions are not included.
    """
    wanted = [TopicPartition(topic, p) for p in range(partitions)]

    def ask() -> list[TopicPartition]:
        found = clients.offsets_reader(config, group).committed(wanted, clients.REACH_SECONDS)
        for partition in found:
            if partition.error is not None:
                raise KafkaException(partition.error)
        return found

    with told(config, About(topic, group, rights=[Right("topic", topic, "READ")])):
        return patiently(ask)


def committed(config: Config, group: str, topic: str, partitions: int) -> dict[int, int]:
    """Return the offset that a group has, by partition; negative where it has none."""
    return {one.partition: one.offset for one in offsets(config, group, topic, partitions)}


def members(admin: AdminClient, group: str) -> int:
    """Return how many members a consumer group has; none where the group does not exist."""
    try:
        return len(admin.describe_consumer_groups([group])[group].result().members)
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.GROUP_ID_NOT_FOUND:
            return 0
        raise KafkaException(KafkaError(cause.code(), f"group {group}: {cause.str()}")) from error


def others(admin: AdminClient, group: str, client: str, member: str) -> list[str]:
    """Return the ids of a group's members, `member` left out, whose client id is `client`."""
    found = admin.describe_consumer_groups([group], request_timeout=clients.REACH_SECONDS)[group].result().members
    return [one.member_id for one in found if one.client_id == client and one.member_id != member]


def await_no_members(
    admin: AdminClient,
    config: Config,
    on_wait: Callable[[str], None],
    otherwise: str = "with wcsup drain --leave --wait",
) -> None:
    """Wait until the application's groups have no members: the broker keeps those of ended workers for their session.

    Waits for two session time-outs, since the first member's end may start a rebalance, which waits for the other
    members; `on_wait` is told so. Raises `ConfigurationError` where there are members then: `otherwise` is what to do.
    """
    deadline = time.monotonic() + 2 * config.session_timeout + _GRACE_SECONDS
    said = False
    for group in (config.map_group, config.reduce_group):
        while count := members(admin, group):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"{count} workers of group {group} run, here or elsewhere: stop them first, {otherwise}"
                )
            if not said:
                on_wait(f"waiting for the sessions of workers that ended, some {config.session_timeout:.0f} s")
                said = True
            time.sleep(0.1)


def lacking(admin: AdminClient, config: Config) -> list[Right]:
    """Return the rights that this user lacks to delete the application's groups (KIP-430).

    A group that does not exist lacks none, unless not even that may be known.
    """
    wanted = [config.map_group, config.reduce_group]
    answers = admin.describe_consumer_groups(
        wanted, include_authorized_operations=True, request_timeout=clients.REACH_SECONDS
    )
    found = []
    for group in wanted:
        try:
            operations = answers[group].result().authorized_operations
        except KafkaException as failed:
            code = failures.of(failed).code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                continue
            if code != KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise
            operations = []
        if operations is not None and "DELETE" not in {operation.name for operation in operations}:
            found.append(Right("group", group, "DELETE"))
    return found


def delete(admin: AdminClient, config: Config) -> list[str]:
    """Delete the application's consumer groups; return the names of those that were there.

    Raises `ConfigurationError` for a group that has members.
    """
    gone = []
    for group, future in admin.delete_consumer_groups([config.map_group, config.reduce_group]).items():
        try:
            future.result()
            gone.append(group)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.NON_EMPTY_GROUP:
                raise ConfigurationError(f"group {group} has members: stop its workers first") from error
            if code == KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise forbidden(config, [Right("group", group, "DELETE")]) from error
            if code != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return gone
