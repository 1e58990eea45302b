"""Reading totals from the topics `counts` and `top`; no worker has to run."""

import heapq
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, UsageError
from wcsup.kafka import clients, failures, moving, topics
from wcsup.kafka.reader import Notice, messages, reads_on
from wcsup.pipeline.records import readable

KEPT_WORDS = 100
"""How many of a partition's words are in the topic `top`; more are only in `counts`."""
_BATCH_RECORDS = 50_000
_WAIT_SECONDS = 0.2
_SILENT_TURNS = 150
"""After so many turns of waiting without a message, 30 s, the brokers count as gone."""

Total = tuple[str, int]
Batch = TypeVar("Batch", list[Message], _core.Inbox)


class TotalsReader:
    """Reads the committed records of whole partitions of a topic, up to their present ends."""

    def __init__(self, config: Config, name: str) -> None:
        """Find the topic.

        Raises `ConfigurationError` where nothing was counted yet, and while topics are made anew with the totals.
        """
        moving.refuse(config, clients.admin(config))
        self.topic = config.topic(name)
        self._config = config
        self._reader = clients.assigned_reader(config)
        self._consumer = self._reader.consumer
        listed = clients.unreachable(
            config, lambda: self._consumer.list_topics(self.topic, timeout=clients.REACH_SECONDS)
        )
        found = listed.topics[self.topic]
        if found.error is not None:
            self.close()
            if found.error.code() in failures.NO_SUCH_TOPIC:
                raise ConfigurationError(f"nothing was counted yet: topic {self.topic} does not exist; start wcsup run")
            raise ConfigurationError(f"topic {self.topic} can't be read: {found.error.str()}")
        self.partitions = sorted(found.partitions)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def read(self, partitions: Collection[int]) -> Iterator[list[Message]]:
        """Yield the messages of partitions from their start, until each has reported its end."""
        self._consumer.assign(self._from_start(partitions))
        yield from self._to_the_end(partitions, self._messages)

    def take(self, partitions: Collection[int]) -> Iterator[_core.Inbox]:
        """Yield an inbox with the next part of the same records, again and again."""
        wanted = self._from_start(partitions)
        self._reader.assign(wanted)
        try:
            yield from self._to_the_end(partitions, self._inbox)
        finally:
            self._reader.unassign(wanted)

    def follow(self) -> Iterator[list[Message]]:
        """Yield new messages after `read`, without end; an empty list where none came for a moment."""
        while True:
            came, notices = self._messages()
            _ended(notices)
            yield came

    def nonempty(self) -> list[int]:
        """Return the partitions that have had records."""
        wanted = [TopicPartition(self.topic, partition) for partition in self.partitions]
        ends = topics.ends(clients.admin(self._config), wanted)
        return [partition for partition in self.partitions if ends[self.topic, partition]]

    def _from_start(self, partitions: Collection[int]) -> list[TopicPartition]:
        return [TopicPartition(self.topic, p, OFFSET_BEGINNING) for p in partitions]

    def _to_the_end(
        self, partitions: Collection[int], turn: Callable[[], tuple[Batch, list[Notice]]]
    ) -> Iterator[Batch]:
        waiting = set(partitions)
        silent = 0
        while waiting:
            batch, notices = turn()
            silent = 0 if len(batch) else silent + 1
            if silent == _SILENT_TURNS:
                raise BrokerUnreachableError(f"{self.topic} can't be read to its end: the brokers fell silent")
            waiting -= _ended(notices)
            yield batch

    def _inbox(self) -> tuple[_core.Inbox, list[Notice]]:
        notices = self._reader.read(_WAIT_SECONDS)
        return self._reader.inbox, notices

    def _messages(self) -> tuple[list[Message], list[Notice]]:
        came = messages(self._consumer, _BATCH_RECORDS, _WAIT_SECONDS)
        return came, [(error, m.partition() or 0) for m in came if (error := m.error()) is not None]


def _ended(notices: list[Notice]) -> set[int]:
    """Return the partitions that have reported their end."""
    ended = set()
    for error, partition in notices:
        if error.code() == KafkaError._PARTITION_EOF:
            ended.add(partition)
        elif not reads_on(error):
            raise KafkaException(error)
    return ended


def totals(reader: TotalsReader, partitions: Collection[int]) -> Iterator[tuple[bytes, int]]:
    """Yield (word, total) of every word in partitions of `counts`."""
    changelog = _core.Changelog()
    for partition in partitions:
        changelog.own(partition, -1)
    for inbox in reader.take(partitions):
        changelog.add(inbox)
    for partition in partitions:
        for word, total in changelog.totals(partition, None).pairs():
            yield word, int.from_bytes(total, "big", signed=True)
        changelog.disown(partition)


def fold(config: Config, word: str) -> tuple[bytes, list[bytes]]:
    """Return the key under which a word is counted, and the words into which the application's rule splits it.

    A word on the command line may have any bytes: Python keeps bytes that are no text as surrogates.
    """
    raw = os.fsencode(word)
    parts = _core.tokenize(raw, config.words)
    return (parts[0] if len(parts) == 1 else raw.lower()), parts


def one_word(config: Config, text: str) -> bytes:
    """Return the key under which a word is counted; raise `UsageError` where the text is not one word."""
    key, parts = fold(config, text)
    if len(parts) != 1:
        raise UsageError(f"{readable(key)} is not one word; lines have it counted as {counted_as(parts)}")
    return key


def counted_as(parts: Sequence[bytes]) -> str:
    """Return for a reader what lines have a text counted as, whose words are `parts`."""
    return " and ".join(readable(part) for part in parts) or "no word"


def highest(pairs: Iterable[tuple[bytes, int]], limit: int) -> list[Total]:
    """Return (word, total), highest first, equal ones in the order of the words."""
    found = heapq.nsmallest(limit, pairs, key=lambda pair: (-pair[1], pair[0]))
    return [(readable(word), total) for word, total in found]


class Top:
    """The most frequent words of the application, kept up to date from the topic `top`."""

    def __init__(self, config: Config, limit: int) -> None:
        """Read the topic. With a limit above `KEPT_WORDS`, each call of `words` reads all of `counts`."""
        self._config = config
        self._limit = limit
        self._reader = TotalsReader(config, "counts" if limit > KEPT_WORDS else "top")
        self._words: dict[int, list[Total]] = {}
        if limit <= KEPT_WORDS:
            for messages in self._reader.read(self._reader.partitions):
                self._take(messages)
            self._take_unpublished()
        self._news = self._reader.follow()

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def refresh(self) -> None:
        """Read new messages, waiting a moment for them."""
        if self._limit <= KEPT_WORDS:
            self._take(next(self._news))

    def words(self) -> list[Total]:
        """Return (word, total), highest first, equal ones in the order of the words."""
        if self._limit > KEPT_WORDS:
            return highest(totals(self._reader, self._reader.partitions), self._limit)
        found = [pair for words in self._words.values() for pair in words]
        return heapq.nsmallest(self._limit, found, key=lambda pair: (-pair[1], pair[0]))

    def _take(self, messages: list[Message]) -> None:
        for message in messages:
            key, value = message.key(), message.value()
            if message.error() is None and key is not None:
                words = json.loads(value)["words"] if value else []
                self._words[int(key)] = [(word, total) for word, total in words]

    def _take_unpublished(self) -> None:
        """Read from `counts` the partitions that `top` lacks: their reducer was killed before it published any."""
        with closing(TotalsReader(self._config, "counts")) as reader:
            for partition in reader.nonempty():
                if partition not in self._words:
                    self._words[partition] = highest(totals(reader, [partition]), KEPT_WORDS)
