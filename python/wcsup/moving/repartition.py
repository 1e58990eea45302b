"""`wcsup repartition`: takes an application to topics with more partitions, while no worker runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import application, clients, groups, moving, topics
from wcsup.kafka.moving import Move
from wcsup.kafka.topics import MOVING
from wcsup.moving.cut import Cut, OnProgress
from wcsup.moving.mover import GROWN, Mover


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done."""

    distinct: int
    """How many words have totals."""
    total: int
    """The sum of the totals."""
    partitions: int
    """The number of partitions now."""
    seconds: float
    """How long workers were refused by this call."""


def repartition(
    config: Config, partitions: int, on_wait: Callable[[str], None], on_progress: OnProgress = lambda *_: None
) -> Moved | None:
    """Give the application's topics so many partitions, or go on with that; return none where they have them already.

    Kafka can only add partitions, and a word's total is in one of them, so the topics of words and totals are made
    anew (`wcsup.moving.mover`). With the application's present number a repartition is given up, if it was interrupted
    before all totals were copied. `on_wait` is told what is waited for.

    Raises `ConfigurationError` where workers run, for fewer partitions, and where another move is under way.
    """
    admin = clients.admin(config)
    found = application.owner(config, admin)
    if found is None:
        raise ConfigurationError("nothing was counted yet: wcsup run --partitions makes topics with any number")
    found.refuse_others(config)
    now, goal = replace(config, partitions=found.partitions), replace(config, partitions=partitions)
    move = moving.read(config, admin)
    _refuse(move, partitions)
    if move is None or not move.copied:
        _check(goal, found.partitions)
        groups.await_no_members(admin, config, on_wait)
    if partitions == found.partitions and not topics.found(config, [MOVING]):
        return None
    mover = Mover(goal, on_progress)
    began = time.monotonic()
    _refuse(mover.move, partitions)
    if mover.move is not None and mover.move.copied:
        move = mover.move
    elif partitions == found.partitions:
        mover.give_up()
        return None
    else:
        move = _copy(now, mover, Move(config.app_id, partitions, None, config.words), on_progress)
    mover.finish(move)
    return Moved(move.distinct, move.total, partitions, time.monotonic() - began)


def _refuse(move: Move | None, partitions: int) -> None:
    """Raise `ConfigurationError` where another move was interrupted, which has to go on first."""
    if move is not None and (move.backup is not None or (move.copied and move.partitions != partitions)):
        raise ConfigurationError(f"another move of application {move.app_id} was interrupted: run {move.again} again")


def _copy(now: Config, mover: Mover, move: Move, on_progress: OnProgress) -> Move:
    """Copy all totals from the topics of `now`; return the record of the move with what was copied.

    Where the totals can't be copied, the move is given up, so that workers can run and mend it.
    """
    move = mover.begin(move)
    admin = clients.admin(now)
    try:
        for group in (now.map_group, now.reduce_group):
            if groups.members(admin, group):  # it was started before it could know of the move
                raise ConfigurationError(f"workers of group {group} were started meanwhile: stop them first")
        cut = Cut(now, admin, on_progress)
        mover.copy(cut.totals())
    except ConfigurationError:
        mover.give_up()
        raise
    return mover.note(replace(move, words=cut.words, distinct=cut.distinct, total=cut.total, lines=cut.lines))


def _check(goal: Config, partitions: int) -> None:
    """Raise `ConfigurationError` where the topics can't get the wanted number of partitions."""
    listed = clients.admin(goal).list_topics(timeout=clients.REACH_SECONDS).topics
    have = {goal.topic(name): len(listed[goal.topic(name)].partitions) for name in GROWN if goal.topic(name) in listed}
    topic, most = max(have.items(), key=lambda pair: pair[1], default=("", 0))
    if goal.partitions < partitions or most > goal.partitions:
        what = f"topic {topic} has {most}" if most > goal.partitions else f"the application has {partitions}"
        raise ConfigurationError(
            f"{what} partitions, and Kafka takes none away: choose at least {max(most, partitions)}. For fewer, count "
            "all lines, then wcsup backup, and wcsup restore --partitions N with another --topic-prefix"
        )
