"""`wcsup restore`: makes an application of a backup, in a cluster that does not have it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import application, clients, groups, moving, topics
from wcsup.kafka.moving import Move
from wcsup.moving.backup import Backup
from wcsup.moving.cut import OnProgress
from wcsup.moving.mover import GROWN, Mover


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done."""

    partitions: int
    """The number of partitions that the topics have."""
    resumes: bool
    """Whether `lines` is the topic that the backup's totals count: counting goes on where it stopped then."""
    waiting: int
    """How many lines are there that are not counted."""
    seconds: float
    """How long it took."""


def restore(
    config: Config,
    backup: Backup,
    *,
    instead: bool,
    on_wait: Callable[[str], None],
    on_progress: OnProgress = lambda *_: None,
) -> Restored:
    """Make topics with the totals of a backup, or go on with that. The backup is read and checked before.

    Lines are counted from the backup's offsets if `lines` is the topic that the backup is of, and from its start
    otherwise. With `instead` the totals of an application that exists are replaced.

    Raises `ConfigurationError` for a damaged backup, where there is an application, and where workers run.
    """
    began = time.monotonic()
    manifest, admin = backup.manifest, clients.admin(config)
    move = moving.read(config, admin)
    _refuse(move, config, manifest.sha256)
    if move is not None:
        config = replace(config, partitions=move.partitions)
    if move is None or not move.copied:
        backup.check(on_progress)
        if move is None:
            _check(config, admin, instead=instead)
        groups.await_no_members(admin, config, on_wait)
    mover = Mover(config, on_progress)
    _refuse(mover.move, config, manifest.sha256)
    if mover.move is not None and mover.move.copied:
        move = mover.move
    else:
        move = Move(
            config.app_id,
            config.partitions,
            backup=manifest.sha256,
            words=manifest.words,
            distinct=manifest.distinct,
            total=manifest.total,
            lines=manifest.lines,
        )
        move = mover.begin(move)
        mover.copy(backup.totals())
        move = mover.note(move)
    mover.finish(move)
    return _restored(config, admin, move, began)


def _refuse(move: Move | None, config: Config, backup: str) -> None:
    """Raise `ConfigurationError` where another move was interrupted, which has to go on first."""
    if move is not None and (move.app_id, move.backup) != (config.app_id, backup):
        raise ConfigurationError(f"another move of application {move.app_id} was interrupted: run {move.again} again")


def _check(config: Config, admin: AdminClient, *, instead: bool) -> None:
    """Raise `ConfigurationError` where there is an application already, or topics that do not fit."""
    found = application.owner(config, admin)
    if found is not None:
        found.refuse_others(config)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    filled = [
        name
        for name in ("words", "counts", "positions")
        if (topic := config.topic(name)) in listed
        and any(topics.ends(admin, [TopicPartition(topic, p) for p in listed[topic].partitions]).values())
    ]
    if (found is not None or filled) and not instead:
        what = f"application {config.app_id} exists" if found else f"topic {config.topic(filled[0])} has records"
        raise ConfigurationError(
            f"{what}: restore into another cluster or with another --topic-prefix, clear this one with wcsup del, or "
            "have its totals replaced with --instead"
        )
    for name in GROWN:
        topic = config.topic(name)
        if topic in listed and (count := len(listed[topic].partitions)) != config.partitions:
            raise ConfigurationError(
                f"topic {topic} has {count} partitions: restore with --partitions {count}, or delete the topic"
            )


def _restored(config: Config, admin: AdminClient, move: Move, began: float) -> Restored:
    topic_id = topics.identity(admin, config).topics["lines"]
    wanted = [TopicPartition(config.topic("lines"), partition) for partition in range(config.partitions)]
    starts, ends = topics.starts(admin, wanted), topics.ends(admin, wanted)
    waiting = sum(
        max(0, end - max(starts[topic, partition], move.lines.at(partition, topic_id)))
        for (topic, partition), end in ends.items()
    )
    resumes = topic_id == move.lines.topic_id
    return Restored(config.partitions, resumes, waiting, time.monotonic() - began)
