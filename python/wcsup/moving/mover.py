"""The move of an application to new topics, by way of the topic `moving`.

1. Make the topic `moving`. While it exists, workers are refused.
2. Copy all totals to it, by their new partitions, and then record that it has all of them, and which lines they count.
3. Compare the copy with that record.
4. Delete `words`, `counts`, `top` and `positions`, and make them anew with the new number of partitions. `lines` and
   `dead-letters` only get more partitions.
5. Write the totals to `counts`.
6. In one transaction: record the application, the positions, and the groups' offsets.
7. Delete the topic `moving`.

A move that is interrupted up to step 2 begins again, or is given up: the application's topics are as they were. Later
it goes on with step 3: all that steps 4 to 6 made is made again. Any host can go on, since the topic `moving` has what
is needed.

Of two processes the later one works, and the earlier one, even if it stood still meanwhile, changes nothing any more.
All records are written in transactions of one `transactional.id`, by which the later process fences the earlier one.
Kafka can't fence who deletes topics. So a process deletes topics by their ids, and only those that were there before it
fenced its predecessor, or that it has made and written to itself.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from confluent_kafka import KafkaException, TopicPartition

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import ConfigurationError, FencedError, RetryError
from wcsup.kafka import clients, failures, groups, moving, positions, refusals, rights, topics
from wcsup.kafka.application import Application
from wcsup.kafka.failures import Failure
from wcsup.kafka.moving import Move
from wcsup.kafka.refusals import About
from wcsup.kafka.topics import MOVING
from wcsup.kafka.writer import Writer
from wcsup.moving.cut import OnProgress, Pair, fold
from wcsup.process.crash import point

_REMADE = ("words", "counts", "top", "positions")
GROWN = ("lines", "dead-letters")
"""Topics that stay, and get partitions added."""
_TRANSACTION_RECORDS = 300_000
_GIVEN = 10_000
"""How many records the producer is given at a time."""
_QUEUED = 100_000
"""With more records in the producer's queue, no more are given to it."""
_QUEUE_SECONDS = 0.02
_SETTLE_SECONDS = 5.0
"""How long records are waited for before the call that commits: it waits, too, but polls every 10 ms."""
_CALL_SECONDS = 60.0
"""How long a call of the transaction may take."""


class Mover:
    """Moves the application of a configuration to topics with the configuration's number of partitions."""

    def __init__(self, config: Config, on_progress: OnProgress = lambda *_: None) -> None:
        """Fence an earlier process that moves the same application.

        Raises `ConfigurationError` where the user lacks rights.
        """
        self._config, self._on_progress = config, on_progress
        self._admin = clients.admin(config)
        needed = rights.to_move(config)
        if (refused := refusals.lacking(config, needed)) is not None:
            raise refused
        name = f"{config.app_id}-moving"
        self._about = About(transactional_id=name, rights=needed)
        self._own = topics.found(config, (*_REMADE, MOVING))
        """Topics that this process may delete, by full name."""
        self._writer: Writer = clients.transactional_producer(config, name)
        with self._told():
            self._writer.init_transactions(_CALL_SECONDS)
        self.move = moving.read(config, self._admin)
        """The record of the move that was interrupted; none where none was."""

    def begin(self, move: Move) -> Move:
        """Make step 1: the topic is there and empty, but for the record of this move.

        Returns the record with the settings of the topics that are made anew.
        """
        move = replace(move, settings=topics.own_settings(self._admin, self._config, _REMADE))
        self.give_up()
        wanted = rights.to_make(self._config, [MOVING])
        topics.make(self._admin, self._config, MOVING, self._config.partitions + 1, wanted)
        # If the record is written, no later process has begun before this: then the topic is this process's own.
        self._own |= topics.found(self._config, [MOVING])
        self._note(move)
        point("moving-made")
        return move

    def give_up(self) -> None:
        """Delete the topic `moving`: after step 2 the totals may be nowhere else."""
        self._remove([MOVING])

    def copy(self, lists: Iterable[list[Pair]]) -> None:
        """Make the first half of step 2."""
        count = self._config.partitions
        placed = (
            _core.Records([(_core.partition(word, count), word, total) for word, total in pairs]) for pairs in lists
        )
        self._write(MOVING, placed)
        point("moving-copied")

    def note(self, move: Move) -> Move:
        """Make the second half of step 2: from now on the move only goes on.

        `move` says what the copy has. Returns the record as it was written.
        """
        move = replace(move, copied=True)
        self._note(move)
        point("moving-noted")
        return move

    def finish(self, move: Move) -> None:
        """Make the steps from 3 on; `move` is what `note` recorded, by this process or an earlier one."""
        self._compare(move)
        point("moving-compared")
        self._remove(_REMADE)
        point("moving-removed")
        topics.grow(self._config, GROWN)
        topics.ensure(self._config, needed=rights.to_move(self._config), own=move.settings)
        point("moving-remade")
        self._write("counts", self._filling())
        point("moving-filled")
        self._settle(move)
        point("moving-settled")
        self._remove([MOVING])

    def _compare(self, move: Move) -> None:
        distinct = total = 0
        for _, totals in self._copied("comparing the copy"):
            distinct += len(totals)
            total += totals.added
        if (distinct, total) != (move.distinct, move.total):
            raise ConfigurationError(
                f"topic {self._config.topic(MOVING)} has {distinct} words, {total} in total, and was given "
                f"{move.distinct} and {move.total}: somebody else wrote to it, or deleted records"
            )

    def _copied(self, what: str) -> Iterator[tuple[int, _core.Totals]]:
        """Yield the totals of each partition of the topic `moving`."""
        config = self._config
        wanted = [TopicPartition(config.topic(MOVING), partition) for partition in range(config.partitions)]
        ends = topics.ends(self._admin, wanted)
        with closing(clients.assigned_reader(config)) as reader:
            for partition in range(config.partitions):
                self._on_progress(what, partition, config.partitions)
                changelog = _core.Changelog()
                changelog.own(partition, 0)
                spans = {partition: (0, ends[config.topic(MOVING), partition])}
                fold(config, reader, MOVING, spans, batch=changelog, reached=changelog.next_offset)
                yield partition, changelog.totals(partition, None)

    def _filling(self) -> Iterator[_core.Records]:
        """Yield the records of `counts`, partition by partition."""
        for partition, totals in self._copied("writing counts"):
            records = _core.Records()
            totals.append_to(records, partition)
            yield records

    def _settle(self, move: Move) -> None:
        """Make step 6: workers find the positions, and group offsets that are like their own."""
        config = self._config
        for group in (config.map_group, config.reduce_group):
            if groups.members(self._admin, group):
                raise ConfigurationError(f"workers of group {group} run: stop them, and run {move.again} again")
        identity = topics.identity(self._admin, config)
        records = [(0, *Application(config.app_id, config.partitions).entry)]
        offsets: dict[str, list[TopicPartition]] = {}
        for stage in positions.STAGES:
            now = replace(positions.now(config, identity, stage), words=move.words)
            for partition in range(config.partitions):
                offset = move.lines.at(partition, identity.topics["lines"]) if stage == "lines" else 0
                text = now.text(offset)
                records.append((0, positions.key(stage, partition), text.encode()))
                one = TopicPartition(config.topic(stage), partition, offset, text)
                offsets.setdefault(positions.group(config, stage), []).append(one)
        with self._transaction():
            self._give("positions", _core.Records(records), 0, len(records))
            for group, found in offsets.items():
                metadata = clients.offsets_reader(config, group).consumer_group_metadata()
                self._writer.send_offsets_to_transaction(found, metadata, _CALL_SECONDS)

    def _note(self, move: Move) -> None:
        with self._transaction():
            self._give(MOVING, _core.Records([move.entry]), 0, 1)

    def _write(self, name: str, batches: Iterable[_core.Records]) -> None:
        """Write records in transactions of bounded size and duration."""
        given, ends = 0, 0.0
        with self._told():
            for records in batches:
                for start in range(0, len(records), _GIVEN):
                    if not given:
                        self._writer.begin_transaction()
                        ends = time.monotonic() + self._config.transaction_timeout / 4
                    stop = min(start + _GIVEN, len(records))
                    self._give(name, records, start, stop)
                    given += stop - start
                    if given >= _TRANSACTION_RECORDS or time.monotonic() > ends:
                        self._commit()
                        given = 0
            if given:
                self._commit()

    def _give(self, name: str, records: _core.Records, start: int, stop: int) -> None:
        """Give records to the producer, and wait while its queue is full."""
        while start < stop:
            taken = self._writer.write(self._config.topic(name), records, start, stop)
            start += taken
            if not taken or len(self._writer) > _QUEUED:
                self._writer.poll(0)
                self._writer.settle(_QUEUE_SECONDS, len(self._writer) // 2)

    def _commit(self) -> None:
        self._writer.settle(_SETTLE_SECONDS)
        self._writer.commit_transaction(_CALL_SECONDS)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is written in the `with` block, in one transaction."""
        with self._told():
            self._writer.begin_transaction()
            yield
            self._commit()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn an error of the producer into one that says what to do."""
        try:
            yield
        except KafkaException as failed:
            error = failures.of(failed)
            found = failures.classify(error)
            if found is Failure.REFUSED:
                raise refusals.refused(self._config, error, self._about) from failed
            if found is Failure.FENCED:
                raise FencedError("another process has begun to move this application since, and goes on") from failed
            raise RetryError(f"the brokers did not take it ({error.str()}): run the command again") from failed

    def _remove(self, names: Iterable[str]) -> None:
        wanted = [self._config.topic(name) for name in names]
        with refusals.told(self._config, self._about):
            topics.remove(self._config, {name: self._own.pop(name) for name in wanted if name in self._own})
