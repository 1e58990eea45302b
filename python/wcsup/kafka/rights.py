"""The rights (ACLs) that a user needs on a cluster with an authorizer, which are missing, and how to give them."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from wcsup.config import Config
from wcsup.kafka import failures

_ANSWER_SECONDS = 5.0

_MAP = {"lines": "READ", "words": "WRITE", "dead-letters": "WRITE", "positions": "READ WRITE"}
_REDUCE = {
    "words": "READ WRITE",
    "counts": "READ WRITE",
    "top": "WRITE",
    "dead-letters": "WRITE",
    "positions": "READ WRITE",
}
_STANDBY = {"counts": "READ"}
_CHECKED = "DESCRIBE_CONFIGS"
"""The right to each topic that the check at a start needs."""
_FEED = {"lines": f"WRITE {_CHECKED}", "positions": "READ"}
_MOVE = {
    "lines": "READ ALTER",
    "words": "READ DELETE",
    "counts": "READ WRITE DELETE",
    "top": "DELETE",
    "dead-letters": "ALTER",
    "positions": "READ WRITE DELETE",
    "moving": "READ WRITE DELETE",
}
_NAMES = {
    "READ": "Read",
    "WRITE": "Write",
    "CREATE": "Create",
    "ALTER": "Alter",
    "DELETE": "Delete",
    "DESCRIBE": "Describe",
    "DESCRIBE_CONFIGS": "DescribeConfigs",
    "ALTER_CONFIGS": "AlterConfigs",
}
"""Operations as kafka-acls.sh spells them."""


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """An operation on a resource."""

    kind: str
    """The kind of resource, as kafka-acls.sh names it: `topic`, `group`, `transactional-id`, or `cluster`."""
    name: str
    operation: str
    prefix: bool = False
    """Whether the right is for all names that begin with `name`."""


def of_role(config: Config, role: Literal["map", "reduce", "standby"]) -> list[Right]:
    """Return a worker's rights to topics."""
    return _of_topics(config, {"map": _MAP, "reduce": _REDUCE, "standby": _STANDBY}[role])


def of_run(config: Config) -> list[Right]:
    """Return the rights to topics of `wcsup run` and its workers."""
    return sorted({*of_role(config, "map"), *of_role(config, "reduce")})


def of_feed(config: Config) -> list[Right]:
    """Return the rights for writing lines."""
    return _of_topics(config, _FEED)


def checked(config: Config, names: Iterable[str]) -> list[Right]:
    """Return the rights for the check of topics at a start; `names` are plain names."""
    return [Right("topic", config.topic(name), _CHECKED) for name in names]


def to_make(config: Config, names: Iterable[str]) -> list[Right]:
    """Return the rights for making topics: with a topic prefix, one right is enough for all of them."""
    if config.topic_prefix:
        return [Right("topic", config.topic_prefix, "CREATE", prefix=True)]
    return [Right("topic", config.topic(name), "CREATE") for name in names]


def to_delete(config: Config) -> list[Right]:
    """Return the rights for deleting the application: its topics, whose owner is read first, and its groups."""
    return [
        *(Right("topic", config.topic(name), "DELETE") for name in [*(_MAP | _REDUCE), "moving"]),
        Right("topic", config.hosts_topic, "DELETE"),
        Right("topic", config.topic("positions"), "READ"),
        *(Right("group", group, "DELETE") for group in (config.map_group, config.reduce_group)),
    ]


def to_move(config: Config) -> list[Right]:
    """Return the rights to topics for making the application's topics anew, with its totals."""
    return [*_of_topics(config, _MOVE), *checked(config, list(_MAP | _REDUCE))]


def by_purpose(config: Config) -> dict[str, list[Right]]:
    """Return the least that each purpose needs, in the order in which an application comes to it.

    `run` and its workers need what is listed for them alone; for what else somebody does, the rights are to be added.
    """
    names = list(_MAP | _REDUCE)
    groups = [Right("group", group, "READ") for group in (config.map_group, config.reduce_group)]
    name = of_name(config, f"{config.app_id}-")
    trim = Right("topic", config.topic("words"), "DELETE")
    see = Right("topic", config.topic("moving"), "DESCRIBE")
    topics = [config.topic(one) for one in names]
    sessions = [Right("group", one.name, "ALTER_CONFIGS") for one in groups]
    newer = {"wcsup run, to set the sessions (--session-timeout) of its groups": sessions}
    return {
        "wcsup run and its workers": [*of_run(config), *checked(config, names), trim, see, *groups, name],
        "a first start, which makes the topics": to_make(config, names),
        **(newer if config.group_protocol == "consumer" else {}),
        "wcsup gen and run --input, which write lines": of_feed(config),
        "wcsup top, count, status, verify and backup, which read": [
            *(Right("topic", one, "READ") for one in topics),
            see,
            *(Right("group", one.name, "DESCRIBE") for one in groups),
        ],
        "wcsup verify --history, which also reads what coordinators wrote down": [
            *(Right("topic", one, "READ") for one in ("__consumer_offsets", "__transaction_state")),
            Right("transactional-id", f"{config.app_id}-", "DESCRIBE", prefix=True),
        ],
        "wcsup status --all, for which each run tells of itself": [
            Right("topic", config.hosts_topic, operation) for operation in ("CREATE", "READ", "WRITE")
        ],
        "wcsup repartition and restore, which make topics anew": [
            *to_move(config),
            *to_make(config, [*names, "moving"]),
            *groups,
            name,
        ],
        "wcsup del": to_delete(config),
    }


def of_name(config: Config, transactional_id: str) -> Right:
    """Return the right to a transactional id, for all ids that the application has."""
    prefix = f"{config.app_id}-"
    prefixed = transactional_id.startswith(prefix)
    return Right("transactional-id", prefix if prefixed else transactional_id, "WRITE", prefixed)


def _of_topics(config: Config, needed: dict[str, str]) -> list[Right]:
    return [
        Right("topic", config.topic(name), operation)
        for name, operations in needed.items()
        for operation in operations.split()
    ]


def binding(user: str, right: Right) -> AclBinding:
    """Return the ACL that gives a user a right, from any host."""
    kind = ResourceType[right.kind.upper().replace("-", "_")]
    pattern = ResourcePatternType.PREFIXED if right.prefix else ResourcePatternType.LITERAL
    operation, allow = AclOperation[right.operation], AclPermissionType.ALLOW
    return AclBinding(kind, right.name, pattern, f"User:{user}", "*", operation, allow)


def give(admin: AdminClient, user: str, wanted: Iterable[Right]) -> None:
    """Give a user rights; those that it has stay. Raises `KafkaException` where the brokers refuse."""
    for future in admin.create_acls([binding(user, right) for right in wanted]).values():
        future.result()


def lacking(admin: AdminClient, wanted: Iterable[Right]) -> list[Right]:
    """Return the wanted rights to topics that the user does not have (KIP-430).

    For a topic that does not exist no right is missing, unless the user may not even know that. Raises `KafkaException`
    where the brokers do not answer.
    """
    topics = [right for right in wanted if right.kind == "topic" and not right.prefix]
    if not topics:
        return []
    names = sorted({right.name for right in topics})
    answers = admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=_ANSWER_SECONDS
    )
    given = {name: _operations(answer) for name, answer in answers.items()}
    return [right for right in topics if (there := given[right.name]) is not None and right.operation not in there]


def _operations(answer: Any) -> set[str] | None:
    """Return the allowed operations on a topic; none where they are not known."""
    try:
        operations = answer.result().authorized_operations
    except KafkaException as failed:
        error = failures.of(failed)
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return set()
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    return None if operations is None else {operation.name for operation in operations}


def said(rights: Sequence[Right]) -> str:
    """Return the rights in words, such as `WRITE topic a and READ group b`."""
    by_thing: dict[tuple[str, str], list[str]] = defaultdict(list)
    for right in rights:
        name = f"{right.name}*" if right.prefix else right.name
        by_thing[right.kind, name].append(right.operation)
    things = ((f"{kind} {name}".rstrip(), operations) for (kind, name), operations in by_thing.items())
    return " and ".join(f"{', '.join(operations)} {thing}" for thing, operations in things)


def commands(address: str, user: str, rights: Sequence[Right]) -> str:
    """Return the commands that give a user rights, one for all topics that lack the same, with `; ` in between."""
    return "; ".join(command_lines(address, user, rights))


def command_lines(address: str, user: str, rights: Sequence[Right]) -> list[str]:
    """Return the commands that give a user rights, one for all topics that lack the same."""
    by_name: dict[tuple[str, str, bool], list[str]] = defaultdict(list)
    for right in rights:
        by_name[right.kind, right.name, right.prefix].append(right.operation)
    alike: dict[tuple[str, bool, tuple[str, ...]], list[str]] = defaultdict(list)
    for (kind, name, prefix), operations in by_name.items():
        alike[kind, prefix, tuple(operations)].append(name)
    return [
        " ".join(
            [
                f"kafka-acls.sh --bootstrap-server {address} --add --allow-principal User:{user}",
                *(f"--operation {_NAMES.get(operation, operation)}" for operation in operations),
                *(f"--{kind} {name}".rstrip() for name in names),
                *(["--resource-pattern-type prefixed"] if prefix else []),
            ]
        )
        for (kind, prefix, operations), names in alike.items()
    ]
