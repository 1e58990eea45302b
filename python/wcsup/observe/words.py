"""The total of a word: from the store of the reducer that owns it, or else from the topic `counts`."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any

from confluent_kafka import TopicPartition

from wcsup import _core
from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients, topics
from wcsup.observe.owners import Owner, ask, owners
from wcsup.observe.totals import TotalsReader, one_word, totals
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
    """The reducer that has the word: a slot of this host, or HOST/SLOT; none where no host tells of one."""
    behind: bool | None = False
    """Whether the owner is opening the word's store, and counts nothing more of it until then; none where there is no
    owner that tells it."""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `GET /counts/{word}` answers with."""
        return asdict(self)


def look_up(config: Config, words: Sequence[bytes]) -> list[WordTotal]:
    """Return the total of each word, in the order of the words, which are folded already.

    A reducer that a `wcsup run` of this state directory has tells it from its store, and one of another host by that
    host's `--http`, where this one can reach it. The partitions of `counts` are read for the rest: a partition of a
    million words takes a second.
    """
    told, opening = _of_own(config, words)
    left = sorted({word for word, found in zip(words, told, strict=True) if found is None})
    restoring = {word: slot for word, slot in zip(words, opening, strict=True) if slot is not None}
    read = _of_others(config, left, restoring) if left else {}
    return [found or read[word] for word, found in zip(words, told, strict=True)]


def look_up_text(config: Config, text: str) -> WordTotal:
    """Return the total of a word as a user writes it; raise `UsageError` where it is not one word."""
    return look_up(config, [one_word(config, text)])[0]


def look_up_here(config: Config, text: str) -> WordTotal | None:
    """Return the total of a word if a reducer of this host has it; raise `UsageError` where it is not one word."""
    return _of_own(config, [one_word(config, text)])[0][0]


def _of_own(config: Config, words: Sequence[bytes]) -> tuple[list[WordTotal | None], list[str | None]]:
    """Return what reducers of this host told, none for a word that none of them owns, and who is opening its store."""
    nobody: list[str | None] = [None] * len(words)
    try:
        asked = {"command": "count", "words": [word.decode("latin-1") for word in words]}
        reply = request(config.state, asked)
    except WcsupError:  # no run is here, or one of an older wcsup
        return [None] * len(words), nobody
    found = [None if one is None else _told(word, one) for word, one in zip(words, reply["totals"], strict=True)]
    return found, reply.get("restoring", nobody)


def _of_others(config: Config, words: Sequence[bytes], restoring: Mapping[bytes, str]) -> dict[bytes, WordTotal]:
    """Return the totals of words that no reducer here told; `restoring` has the slots here that open their stores."""
    with closing(TotalsReader(config, "counts")) as reader:
        homes = {word: _core.partition(word, len(reader.partitions)) for word in words}
        known = owners(config) if homes.keys() - restoring.keys() else {}
        of_word = {word: known[home] for word, home in homes.items() if word not in restoring and home in known}
        found = {word: one for word, owner in of_word.items() if (one := _asked(owner, word)) is not None}
        left = {word: home for word, home in homes.items() if word not in found}
        read = _of_topic(config, reader, left) if left else {}
    for word, total in read.items():
        if word in restoring:
            found[word] = replace(total, owner=restoring[word], behind=True)
        elif (owner := of_word.get(word)) is not None:
            found[word] = replace(total, owner=owner.name, behind=owner.restoring)
        else:
            found[word] = total
    return found


def _asked(owner: Owner, word: bytes) -> WordTotal | None:
    told = None if owner.restoring else ask(owner, word)
    if told is None:
        return None
    at = told.get("committed_at")
    return WordTotal(
        readable(word), told["count"], told["offset"], at if isinstance(at, str) else None, owner.name, behind=False
    )


def _told(word: bytes, answer: Mapping[str, Any]) -> WordTotal:
    at = answer["committed_at"]
    return WordTotal(
        readable(word), answer["count"], answer["offset"], None if at is None else utc(at), answer["owner"]
    )


def _of_topic(config: Config, reader: TotalsReader, homes: Mapping[bytes, int]) -> dict[bytes, WordTotal]:
    """Return the totals as `counts` has them, of words with their partitions."""
    partitions = sorted(set(homes.values()))
    ends = topics.stable_ends(clients.admin(config), [TopicPartition(reader.topic, p) for p in partitions])
    found = {word: total for word, total in totals(reader, partitions) if word in homes}
    return {
        word: WordTotal(readable(word), found.get(word, 0), ends[reader.topic, home], None, None, behind=None)
        for word, home in homes.items()
    }
