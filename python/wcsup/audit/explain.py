"""`wcsup explain`: the last commits that changed a word's total, and the records of `words` that each of them counted.

`counts` is compacted, so an older total may be gone; `words` is deleted behind what is counted, so that only the last
half minute of it is there. What is gone is left out.

No record says which commit counted it. But each commit counts the next records of each partition, and adds their
counts: so the kept records, in their order, fall into runs, one for each of the last commits, and each run adds up to
the change that its commit made. What is left behind the last run is not counted yet, as the offsets tell. Where that
can be done in several ways, or in none, the records of the commits are not told.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import Message

from wcsup import _core
from wcsup.audit.pending import entries
from wcsup.audit.reading import TopicReader
from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients, moving, topics
from wcsup.kafka.peek import line_time
from wcsup.pipeline.records import readable
from wcsup.process.times import utc


@dataclass(frozen=True, slots=True)
class Given:
    """What one record of `words` says of the word."""

    partition: int
    """The partition of `words`; a small batch of a mapper has its words in the partition of another word."""
    offset: int
    count: int
    written_at: str
    """When the mapper committed it, as ISO 8601 in UTC."""
    line_time: str | None
    """The time of the oldest line of that commit; none where an older wcsup wrote the record."""


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that changed the total."""

    offset: int
    """Of the total's record in `counts`."""
    committed_at: str
    """As ISO 8601 in UTC."""
    total: int
    change: int | None
    """By how much it changed the total; none where the total before is gone from `counts`."""
    records: tuple[Given, ...] | None
    """What it counted; none where that is gone from `words`, or can't be told."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a word's total."""

    word: str
    partition: int
    """The word's partition of `counts`."""
    total: int
    changes: list[Change]
    """The last ones, oldest first."""
    waiting: list[Given]
    """Records that no total has yet."""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return asdict(self)


def explain(config: Config, word: bytes, most: int) -> Explanation:
    """Return the last `most` commits that changed the total of a word, which is folded already.

    Raises `ConfigurationError` where nothing was counted yet, and `HeldBackError` where an open transaction holds
    readers back.
    """
    admin = clients.admin(config)
    moving.refuse(config, admin)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    missing = [topic for topic in map(config.topic, ("words", "counts", "positions")) if topic not in listed]
    if missing:
        raise ConfigurationError(f"nothing was counted yet: topic {missing[0]} does not exist; start wcsup run")
    config = replace(config, partitions=len(listed[config.topic("words")].partitions))
    topic_id = topics.identity(admin, config).topics["words"]
    home = _core.partition(word, config.partitions)
    with closing(TopicReader(config, admin)) as reader:
        # The offsets before and after are bounds on how many of the records are counted in the totals that are read.
        before = reader.progress("words", topic_id).next
        given = _given(reader, word, reader.starts("words"), reader.ends("words"))
        totals = _totals(reader, word, home)
        after = reader.progress("words", topic_id).next
    waiting = range(_uncounted(given, after), _uncounted(given, before) + 1)
    changes, left = matched(totals, given, waiting)
    total = totals[-1][2] if totals else 0
    return Explanation(readable(word), home, total, changes[-most:], left)


def _totals(reader: TopicReader, word: bytes, home: int) -> list[tuple[int, str, int]]:
    """Return offset, time and value of each total of a word that `counts` still has."""
    end = reader.ends("counts")[home]
    start = reader.starts("counts")[home]
    return [
        (message.offset() or 0, _time(message), int.from_bytes(value, "big", signed=True))
        for messages in reader.read("counts", {home: (start, end)})
        for message in messages
        if message.key() == word and (value := message.value()) is not None
    ]


def _given(reader: TopicReader, word: bytes, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Given]:
    """Return what the records that `words` still has say of a word, in the order in which they were written."""
    found = [
        (message.timestamp()[1], Given(message.partition() or 0, message.offset() or 0, count, _time(message), made))
        for messages in reader.read("words", {p: (starts[p], end) for p, end in ends.items()})
        for message in messages
        for one, count in entries(message.key(), message.value())
        if one == word
        for made in (_line_time(message),)
    ]
    return [given for _, given in sorted(found, key=lambda item: (item[0], item[1].partition, item[1].offset))]


def _time(message: Message) -> str:
    return utc(message.timestamp()[1] / 1000)


def _line_time(message: Message) -> str | None:
    made = line_time("words", message)
    return None if made is None else utc(made)


def _uncounted(given: Sequence[Given], nexts: Mapping[int, int]) -> int:
    return sum(one.offset >= nexts[one.partition] for one in given)


def matched(
    totals: Sequence[tuple[int, str, int]], given: Sequence[Given], waiting: range
) -> tuple[list[Change], list[Given]]:
    """Return the changes of a total with the records that they counted, and the records that are not counted yet.

    `totals` are offsets, times and values in the order of `counts`, `given` the kept records in their order, and
    `waiting` how many of the last of them may not be counted.
    """
    before: list[int | None] = [None, *(total for _, _, total in totals)][: len(totals)]
    steps = [None if old is None else total - old for (_, _, total), old in zip(totals, before, strict=True)]
    fitting = [(left, runs) for left in waiting if (runs := _runs(steps, given[: len(given) - left])) is not None]
    unknown: list[tuple[Given, ...] | None] = [None] * len(steps)
    left, runs = fitting[0] if len(fitting) == 1 else (waiting.start, unknown)
    changes = [
        Change(offset, at, total, step, records)
        for (offset, at, total), step, records in zip(totals, steps, runs, strict=True)
    ]
    return changes, list(given[len(given) - left :])


def _runs(steps: Sequence[int | None], given: Sequence[Given]) -> list[tuple[Given, ...] | None] | None:
    """Return the run of records of each change, none for those whose records are gone; none where they do not fit."""
    runs: list[tuple[Given, ...] | None] = [None] * len(steps)
    end = len(given)
    for place in reversed(range(len(steps))):
        if end == 0:
            break
        step, start, added = steps[place], end, 0
        if step is None:
            return runs  # what stands before the oldest total kept can't be told apart
        while start and added < step:
            start -= 1
            added += given[start].count
        if added != step:
            return None
        runs[place], end = tuple(given[start:end]), start
    return runs
