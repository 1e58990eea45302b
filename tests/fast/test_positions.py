"""Where a partition goes on: what the group says, what is recorded, and what is refused."""

import json
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from wcsup.config import Config
from wcsup.errors import ConfigurationError
from wcsup.kafka import positions
from wcsup.kafka.application import Application
from wcsup.kafka.positions import APPLICATION, Position, Recorded, Start
from wcsup.kafka.topics import Identity
from wcsup.pipeline.offsets import Offsets

CONFIG = Config(bootstrap_servers="nowhere:1", app_id="books")
NOW = Position("ascii", "words-id", "counts-id")
BEFORE = json.dumps({"words": "ascii", "input": "words-id", "counts": "counts-id"})
"""Metadata as it was before there were positions."""


def group(offset: int, metadata: str = "") -> TopicPartition:
    return TopicPartition("words", 3, offset, metadata)


def judged(found: TopicPartition, said: Position | None) -> Start:
    return positions.judge(CONFIG, "words", NOW, found, said)


@pytest.mark.parametrize(
    ("found", "said", "start"),
    [
        (group(7, NOW.text(7)), None, Start(7)),
        (group(7, NOW.text(7)), NOW.at(9), Start(7)),  # its own offset needs no second look
        (group(-1001), NOW.at(9), Start(9, owed=True)),
        (group(-1001), None, Start(0)),
        (group(9), NOW.at(9), Start(9, owed=True)),  # set to where it was
        (group(9, "from a tool"), NOW.at(9), Start(9, owed=True)),
        (group(7, BEFORE), None, Start(7, owed=True)),
        (group(7, BEFORE), NOW.at(5), Start(7, owed=True)),  # a worker from before went on beside newer ones
        (group(7, replace(NOW, input="earlier").text(7)), None, Start(0)),
        (group(-1001), replace(NOW, input="earlier").at(7), Start(0)),
    ],
)
def test_where_a_partition_goes_on(found: TopicPartition, said: Position | None, start: Start) -> None:
    assert judged(found, said) == start


@pytest.mark.parametrize(
    ("found", "said", "why"),
    [
        (group(5), NOW.at(9), "partition 3, was set to 5 by somebody else, and it is counted up to offset 9"),
        (group(12), NOW.at(9), "was set to 12 by somebody else, and it is counted up to offset 9"),
        (group(5), None, "was set to 5 by somebody else, and nothing of it was counted"),
        (group(5, NOW.text(9)), NOW.at(9), "was set to 5"),  # metadata that was left in place
        (group(7, replace(NOW, counts="earlier").text(7)), None, "counts was deleted and made again"),
        (group(-1001), replace(NOW, counts="earlier").at(7), "counts was deleted and made again"),
        (group(7, replace(NOW, words="unicode").text(7)), None, "counts unicode words and was started with"),
        (group(-1001), replace(NOW, words="unicode").at(7), "counts unicode words and was started with"),
    ],
)
def test_what_is_refused(found: TopicPartition, said: Position | None, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        judged(found, said)


@given(st.sampled_from(["ascii", "unicode"]), st.text(), st.none() | st.text(), st.integers(0, 1 << 62))
def test_a_position_is_read_as_it_was_written(words: str, input_id: str, counts: str | None, offset: int) -> None:
    position = Position(words, input_id, counts)
    assert Position.read(position.text(offset)) == position.at(offset)


@pytest.mark.parametrize("text", ["", "7", "null", "[]", "{}", '{"words": "ascii"}', '{"words": 1, "what": 2}', "{"])
def test_what_others_wrote_is_no_position(text: str) -> None:
    assert Position.read(text) is None


def test_the_highest_position_of_the_same_topic_counts() -> None:
    """Workers write to different partitions of the topic, and a partition has the last record of each."""
    said = Recorded()
    earlier = replace(NOW, input="earlier")
    for place, position, offset in [(0, earlier, 90), (0, NOW, 5), (1, NOW, 9), (2, NOW, 7), (3, earlier, 80)]:
        said.take(place, b"words-3", position.text(offset).encode())
    said.take(0, b"lines-3", Position("ascii", "lines-id").text(50).encode())
    said.take(1, b"words-3", None)
    assert not said.complete
    said.take(0, APPLICATION, b"{}")

    assert said.of("words", 3, "words-id") == NOW.at(9)
    assert said.offset("words", 3, "words-id") == 9
    assert said.of("words", 2, "words-id") is None
    later = said.of("words", 3, "another")
    assert later is not None and later.input != "another"
    assert said.offset("words", 3, "another") == 0
    assert said.complete


def test_a_lower_one_counts_where_it_was_written_to_every_partition() -> None:
    said = Recorded()
    for place, offset in [(0, 5), (1, 9), (0, 3), (1, 3)]:
        said.take(place, b"words-3", NOW.text(offset).encode())
    assert said.offset("words", 3, "words-id") == 3


class Committed:
    """A consumer's answer to which offsets its group has."""

    def __init__(self, *found: TopicPartition) -> None:
        self.found = list(found)

    def committed(self, _partitions: list[TopicPartition], _seconds: float) -> list[TopicPartition]:
        return self.found


@pytest.fixture
def offsets(monkeypatch: pytest.MonkeyPatch) -> Offsets:
    """Those of a reducer, of topics that begin at 0 and never had a record."""
    for name in ("starts", "ends"):
        monkeypatch.setattr(f"wcsup.kafka.topics.{name}", lambda _, all_: {(p.topic, p.partition): 0 for p in all_})
    ids = {name: f"{name}-id" for name in ("lines", "words", "counts")}
    return Offsets(CONFIG, None, "words", Identity("cluster", ids))  # type: ignore[arg-type]


def opened(offsets: Offsets, *found: TopicPartition) -> dict[int, int]:
    starts = offsets.find(Committed(*found), [one.partition for one in found])  # type: ignore[arg-type]
    assert starts is not None
    for partition, offset in starts.items():
        offsets.open(partition, offset)
    return starts


def written(offsets: Offsets, due: list[tuple[int, int]]) -> list[tuple[int, bytes, int]]:
    records = offsets.records(due, {2, 5})
    entries = [records[place] for place in range(len(records))]
    return [(place, key, json.loads(value)["offset"]) for place, key, value in entries]


def test_a_commit_writes_what_moved(offsets: Offsets) -> None:
    assert opened(offsets, TopicPartition("words", 2, 7, NOW.text(7)), TopicPartition("words", 5, -1001)) == {
        2: 7,
        5: 0,
    }
    assert not offsets.owed

    due = offsets.due([(5, 4)])

    assert [(one.partition, one.offset, one.metadata) for one in offsets.of_group(due)] == [(5, 4, NOW.text(4))]
    assert written(offsets, due) == [(2, b"words-5", 4)]
    offsets.committed(due)
    assert offsets.counted == {2: 7, 5: 4}


def test_a_commit_without_input_sends_the_offsets_again_and_records_nothing(offsets: Offsets) -> None:
    opened(offsets, TopicPartition("words", 2, 7, NOW.text(7)))
    due = offsets.due([])
    assert [(one.partition, one.offset) for one in offsets.of_group(due)] == [(2, 7)]
    assert written(offsets, due) == []


def test_what_is_owed_is_committed_without_input_and_once(offsets: Offsets) -> None:
    opened(offsets, TopicPartition("words", 2, 7, BEFORE), TopicPartition("words", 5, 8, NOW.text(8)))
    assert offsets.owed
    assert offsets.due([]) == [(2, 7)]
    due = offsets.due([(2, 9)])
    assert due == [(2, 9)]
    assert written(offsets, offsets.due([])) == [(2, b"words-2", 7)]
    offsets.committed(due)
    assert offsets.counted == {2: 9, 5: 8}
    assert written(offsets, offsets.due([])) == []


def test_what_is_owed_goes_with_its_partition(offsets: Offsets) -> None:
    opened(offsets, TopicPartition("words", 2, 7, BEFORE))
    offsets.drop(2)
    assert offsets.due([]) == []
    opened(offsets, TopicPartition("words", 2, 7, BEFORE))
    opened(offsets, TopicPartition("words", 2, 7, NOW.text(7)))
    assert not offsets.owed, "it is opened anew, and somebody has committed it"


def test_topics_are_one_applications() -> None:
    mine = Application.of(CONFIG)
    assert Application.read(mine.entry[1]) == mine
    mine.refuse_changes(CONFIG)
    with pytest.raises(ConfigurationError, match="belong to application books, and this is films"):
        mine.refuse_others(replace(CONFIG, app_id="films"))
    with pytest.raises(ConfigurationError, match="counts in 12 partitions and was started with --partitions 24"):
        mine.refuse_changes(replace(CONFIG, partitions=24))
    newer = json.dumps({"format": 2, "app_id": "books", "more": True}).encode()
    with pytest.raises(ConfigurationError, match="another version of wcsup"):
        Application.read(newer)
