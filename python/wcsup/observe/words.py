"""The total of a word: from the store of the reducer that owns it, or else from the topic `counts`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from confluent_kafka import TopicPartition

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import UsageError, WcsupError
from wcsup.kafka import clients, topics
from wcsup.observe.totals import TotalsReader, fold, totals
from wcsup.pipeline.records import readable
from wcsup.process.times import utc
from wcsup.supervisor import request


@dataclass(frozen=True, slots=True)
class WordTotal:
    """The committed total of a word, and as of when."""

    word: str
    count: int
    """0 for a word that was never counted."""
    offset: int
    """The first offset of the word's partition of `counts` that the total does not have."""
    committed_at: str | None
    """When the owner last committed totals of that partition, as ISO 8601 in UTC; none where that is not known."""
    owner: str | None
    """The slot of this host whose reducer told it; none where the total was read from `counts`."""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `GET /counts/{word}` answers with."""
        return asdict(self)


def look_up(config: Config, words: Sequence[bytes]) -> list[WordTotal]:
    """Return the total of each word, in the order of the words, which are folded already.

    A reducer that a `wcsup run` of this state directory has tells it from its store. The partitions of `counts` are
    read for the rest: a partition of a million words takes a second.
    """
    told = _of_owners(config, words)
    left = sorted({word for word, found in zip(words, told, strict=True) if found is None})
    read = _of_topic(config, left) if left else {}
    return [found or read[word] for word, found in zip(words, told, strict=True)]


def look_up_text(config: Config, text: str) -> WordTotal:
    """Return the total of a word as a user writes it; raise `UsageError` where it is not one word."""
    key, parts = fold(config, text)
    if len(parts) != 1:
        counted_as = " and ".join(readable(part) for part in parts) or "no word"
        raise UsageError(f"{readable(key)} is not one word; lines have it counted as {counted_as}")
    return look_up(config, [key])[0]


def _of_owners(config: Config, words: Sequence[bytes]) -> list[WordTotal | None]:
    """Return what reducers of this host told; none for a word that none of them owns."""
    try:
        asked = {"command": "count", "words": [word.decode("latin-1") for word in words]}
        answers: list[dict[str, Any] | None] = request(config.state, asked)["totals"]
    except WcsupError:  # no run is here, or one of an older wcsup
        return [None] * len(words)
    return [None if one is None else _told(word, one) for word, one in zip(words, answers, strict=True)]


def _told(word: bytes, answer: Mapping[str, Any]) -> WordTotal:
    at = answer["committed_at"]
    return WordTotal(
        readable(word), answer["count"], answer["offset"], None if at is None else utc(at), answer["owner"]
    )


def _of_topic(config: Config, words: Sequence[bytes]) -> dict[bytes, WordTotal]:
    with closing(TotalsReader(config, "counts")) as reader:
        homes = {word: _core.partition(word, len(reader.partitions)) for word in words}
        partitions = sorted(set(homes.values()))
        ends = topics.stable_ends(clients.admin(config), [TopicPartition(reader.topic, p) for p in partitions])
        found = {word: total for word, total in totals(reader, partitions) if word in homes}
    return {
        word: WordTotal(readable(word), found.get(word, 0), ends[reader.topic, home], None, None)
        for word, home in homes.items()
    }
