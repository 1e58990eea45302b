"""The analyses of `wcsup verify --history` on made-up histories: logs of partitions without a Kafka."""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wcsup import _core
from wcsup.audit.analyses import Gathered, Record, judge
from wcsup.audit.history import HistoryReport
from wcsup.audit.transactions import Kind, PartitionLog
from wcsup.config import Config
from wcsup.kafka import positions
from wcsup.kafka.batches import RecordBatch, batches
from wcsup.kafka.hanging import OFFSETS
from wcsup.kafka.outcomes import Step
from wcsup.kafka.positions import Position
from wcsup.kafka.requests import Place

EMPTY, ONGOING, PREPARE_COMMIT, PREPARE_ABORT, COMPLETE_COMMIT, COMPLETE_ABORT = range(6)
CONFIG = Config(app_id="books", topic_prefix="x.", partitions=2)
IDS = {"lines": "id-l", "words": "id-w", "counts": "id-c", "positions": "id-p"}
COMPACTED = {"counts", "positions", OFFSETS}
PLACE = "x.words", 0
WORDS = [bytes([letter]) for letter in b"abcdefghij"]


def topic(name: str) -> str:
    return name if name == OFFSETS else CONFIG.topic(name)


class Kafka:
    """Logs, offsets and coordinators, as far as a history is made of them."""

    def __init__(self) -> None:
        self.kept: dict[Place, list[tuple[RecordBatch, bytes | None, bytes | None]]] = defaultdict(list)
        for name in ("lines", "words", "counts", "positions", "dead-letters"):
            for partition in range(CONFIG.partitions):
                self.kept[topic(name), partition] = []
        self.kept[OFFSETS, 0] = []
        self.starts: dict[Place, int] = {}
        self.steps: dict[str, list[Step]] = {}
        self.resting: set[str] = set()
        self._sequences: dict[tuple[Place, int, int], int] = defaultdict(int)

    def end(self, place: Place) -> int:
        kept = self.kept[place]
        return kept[-1][0].last + 1 if kept else 0

    def append(self, place: Place, key: bytes | None, value: bytes | None, producer: int = -1, epoch: int = -1) -> None:
        at, who = self.end(place), (place, producer, epoch)
        sequence = -1 if producer < 0 else 0 if place[0] == OFFSETS else self._sequences[who]
        self._sequences[who] += 1
        self.kept[place].append((RecordBatch(at, at, 1, producer, epoch, sequence, producer >= 0), key, value))

    def mark(self, place: Place, producer: int, epoch: int, *, commit: bool) -> None:
        at = self.end(place)
        self.kept[place].append(
            (RecordBatch(at, at, 1, producer, epoch, -1, transactional=True, commit=commit), None, None)
        )

    def step(self, name: str, producer: int, epoch: int, state: int, places: set[Place] = frozenset()) -> None:  # type: ignore[assignment]
        self.steps.setdefault(name, []).append(Step(name, producer, epoch, state, frozenset(places), 0))

    def trim(self, place: Place, start: int) -> None:
        self.starts[place] = start
        self.kept[place] = [one for one in self.kept[place] if one[0].offset >= start]

    def compact(self, place: Place, *offsets: int) -> None:
        """Take batches away, as compaction does."""
        self.kept[place] = [one for one in self.kept[place] if one[0].offset not in offsets]

    def found(self) -> Gathered:
        logs: dict[Place, PartitionLog] = {}
        for place, kept in self.kept.items():
            name = place[0].removeprefix(CONFIG.topic_prefix)
            log = PartitionLog(place, self.starts.get(place, 0), compacted=name in COMPACTED, sequenced=name != OFFSETS)
            for batch, _, _ in kept:
                log.take(batch)
            logs[place] = log
        ends = {place: self.end(place) for place in self.kept}
        rests = dict.fromkeys(self.resting or self.steps, ends)
        return Gathered(CONFIG, IDS, logs, self.steps, rests, self._contents, self._starts)

    def _contents(self, name: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[Record]:
        for partition, (start, end) in spans.items():
            for batch, key, value in self.kept[name, partition]:
                if not batch.marker and start <= batch.offset < end:
                    yield partition, batch.offset, key, value

    def _starts(self, name: str) -> Mapping[int, int]:
        return {p: self.starts.get((topic(name), p), 0) for p in range(CONFIG.partitions)}


class Worker:
    """Commits as a worker does, but for what it is told to do otherwise."""

    def __init__(self, kafka: Kafka, name: str, producer: int) -> None:
        self.name, self.producer, self.epoch = f"books-0badf00d-{name}", producer, 0
        self._kafka = kafka
        self._places: set[Place] = set()
        kafka.step(self.name, producer, 0, EMPTY)

    def send(self, name: str, key: bytes, value: bytes | None, partition: int | None = None) -> None:
        place = topic(name), _core.partition(key, CONFIG.partitions) if partition is None else partition
        self._places.add(place)
        self._kafka.append(place, key, value, self.producer, self.epoch)

    def word(self, word: bytes, count: int) -> None:
        self.send("words", word, struct.pack(">q", count))

    def total(self, word: bytes, total: int) -> None:
        self.send("counts", word, struct.pack(">q", total))

    def move(self, stage: str, partition: int, offset: int, position: int | None = None) -> None:
        counts = IDS["counts"] if stage == "words" else None
        said = Position("ascii", IDS[stage], counts)
        text = said.text(offset if position is None else position)
        self.send("positions", positions.key(stage, partition), text.encode(), 0)
        self.commit_offset(stage, partition, offset, said.text(offset).encode())

    def commit_offset(self, stage: str, partition: int, offset: int, metadata: bytes) -> None:
        self._places.add((OFFSETS, 0))
        key, value = offset_record(stage, partition, offset, metadata)
        self._kafka.append((OFFSETS, 0), key, value, self.producer, self.epoch)

    def end(self, *, commit: bool = True, unmarked: set[Place] = frozenset(), marked: bool | None = None) -> None:  # type: ignore[assignment]
        """End the transaction; `unmarked` partitions get no marker, and `marked` is what the others' say."""
        prepare, complete = (PREPARE_COMMIT, COMPLETE_COMMIT) if commit else (PREPARE_ABORT, COMPLETE_ABORT)
        self._kafka.step(self.name, self.producer, self.epoch, prepare, self._places)
        for place in sorted(self._places - unmarked):
            self._kafka.mark(place, self.producer, self.epoch, commit=commit if marked is None else marked)
        self._kafka.step(self.name, self.producer, self.epoch, complete)
        self._places = set()

    def renew(self) -> None:
        """Begin another epoch."""
        self.epoch += 1
        self._kafka.step(self.name, self.producer, self.epoch, EMPTY)


def offset_record(stage: str, partition: int, offset: int, metadata: bytes) -> tuple[bytes, bytes]:
    """Return key and value of a group's offset (version 3)."""
    group, name = positions.group(CONFIG, stage).encode(), topic(stage).encode()
    key = struct.pack(">hh", 1, len(group)) + group + struct.pack(">h", len(name)) + name + struct.pack(">i", partition)
    return key, struct.pack(">hqih", 3, offset, -1, len(metadata)) + metadata + struct.pack(">q", 0)


class Application:
    """A mapper and a reducer of partition 0 of everything; the words are of that partition."""

    def __init__(self) -> None:
        self.kafka = Kafka()
        self.mapper, self.reducer = Worker(self.kafka, "map-0", 1), Worker(self.kafka, "reduce-0", 2)
        self.word = next(word for word in WORDS if _core.partition(word, CONFIG.partitions) == 0)
        self.total = 0

    def map(self, count: int, *, commit: bool = True, lines: int = 1) -> None:
        """Count a new line with the word so often."""
        for _ in range(lines):
            self.kafka.append((topic("lines"), 0), None, b" ".join([self.word] * count))
        self.mapper.word(self.word, count * lines)
        self.mapper.move("lines", 0, self.kafka.end((topic("lines"), 0)))
        self.mapper.end(commit=commit)

    def reduce(self, count: int) -> None:
        """Count the new words, which are so many."""
        self.total += count
        self.reducer.total(self.word, self.total)
        self.reducer.move("words", 0, self.kafka.end((topic("words"), 0)))
        self.reducer.end()

    def judge(self) -> HistoryReport:
        return judge(self.kafka.found())


@pytest.fixture
def books() -> Application:
    return Application()


def kinds(history: HistoryReport) -> list[Kind]:
    return [one.kind for one in history.anomalies]


class TestBatches:
    """Headers are read from a broker's answer."""

    HEAD = struct.Struct(">iIhiqqqhii")

    def batch(self, offset: int, attributes: int, records: bytes, count: int = 1, form: int = 2) -> bytes:
        head = struct.pack(">ibIhiqqqhii", 0, form, 0, attributes, count - 1, 0, 0, 7, 3, 20, count)
        return struct.pack(">qi", offset, len(head) + len(records)) + head + records

    def test_of_records_and_of_markers(self) -> None:
        marker = b"\x10\0\0\0\x08" + struct.pack(">hh", 0, 1)
        data = self.batch(5, 0x10, b"compressed", 4) + self.batch(9, 0x30, marker)

        assert list(batches(data)) == [
            RecordBatch(5, 8, 4, 7, 3, 20, transactional=True),
            RecordBatch(9, 9, 1, 7, 3, 20, transactional=True, commit=True),
        ]

    def test_an_abort_and_another_control_record_are_told_apart(self) -> None:
        kinds = [struct.pack(">hh", 0, kind) for kind in (0, 2)]
        found = [next(batches(self.batch(0, 0x20, b"\x10\0\0\0\x08" + key))) for key in kinds]

        assert [one.commit for one in found] == [False, None]

    def test_what_is_cut_off_or_of_an_old_format_is_left_out(self) -> None:
        whole = self.batch(0, 0, b"")

        assert len(list(batches(whole + self.batch(1, 0, b"x")[:-1]))) == 1
        assert len(list(batches(whole + b"\0" * 20))) == 1
        assert [one.offset for one in batches(self.batch(0, 0, b"x", form=1) + self.batch(4, 0, b""))] == [4]


class TestLog:
    """What is wrong with one partition by itself."""

    def log(self, *taken: RecordBatch, compacted: bool = False, start: int = 0) -> PartitionLog:
        log = PartitionLog(PLACE, start, compacted=compacted)
        for batch in taken:
            log.take(batch)
        return log

    def of(self, offset: int, sequence: int, *, epoch: int = 0, count: int = 1) -> RecordBatch:
        return RecordBatch(offset, offset + count - 1, count, 7, epoch, sequence)

    def test_sequence_numbers_in_order_are_right_and_begin_again_at_the_highest(self) -> None:
        log = self.log(
            *(self.of(0, 0, count=3), self.of(3, 3), self.of(4, 0, epoch=1)), self.of(5, (1 << 31) - 1, epoch=2)
        )
        log.take(self.of(6, 0, epoch=2))

        assert log.anomalies == []

    def test_a_sequence_number_that_comes_again_is_a_duplicate_also_after_compaction(self) -> None:
        for compacted in (False, True):
            [one] = self.log(self.of(0, 0, count=2), self.of(2, 1), compacted=compacted).anomalies
            assert (one.kind, one.producer, one.epoch, one.offset) == ("duplicate", 7, 0, 2)

    def test_a_missing_sequence_number_is_a_lost_write_but_where_compaction_takes_some(self) -> None:
        taken = self.of(0, 0), self.of(1, 3)

        [one] = self.log(*taken).anomalies

        assert (one.kind, one.offset) == ("lost-write", 1) and "where 1 was to be" in one.what
        assert self.log(*taken, compacted=True).anomalies == []

    def test_a_log_that_begins_in_the_middle_is_right(self) -> None:
        assert self.log(self.of(8, 55), start=8).anomalies == []

    def test_offsets_that_are_not_there_are_a_lost_write(self) -> None:
        [one] = self.log(self.of(0, 0), self.of(4, 1)).anomalies

        assert one.kind == "lost-write" and one.what.startswith("offsets 1 to 3 of")

    def test_offsets_that_are_not_there_any_more_after_compaction_are_none(self) -> None:
        log = self.log(self.of(0, 0), self.of(4, 1), compacted=True)
        assert log.whole_from == 4

        log.reach(7)

        assert (log.whole_from, log.end, log.anomalies) == (7, 7, [])

    def test_what_is_deleted_while_the_log_is_read_is_no_anomaly(self) -> None:
        log = self.log(self.of(0, 0), self.of(1, 1))

        log.skip(7)
        log.take(self.of(7, 5))

        assert log.anomalies == [] and log.whole_from == 7

    def test_an_epoch_that_falls_is_a_fenced_producer_that_still_wrote(self) -> None:
        [one] = self.log(self.of(0, 0, epoch=4), self.of(1, 0, epoch=3)).anomalies

        assert (one.kind, one.epoch) == ("nonmonotonic-send", 3)


class TestHealthy:
    """Nothing is found where nothing is wrong."""

    @given(st.lists(st.tuples(st.sampled_from(["map", "abort", "reduce", "renew"]), st.integers(1, 3)), max_size=20))
    def test_of_any_order_of_commits_aborts_and_new_epochs(self, steps: list[tuple[str, int]]) -> None:
        books, waiting, uncounted = Application(), 0, 0
        for what, count in steps:
            if what == "map":
                waiting += count + uncounted
                books.kafka.append((topic("lines"), 0), None, b" ".join([books.word] * count))
                books.mapper.word(books.word, count + uncounted)
                books.mapper.move("lines", 0, books.kafka.end((topic("lines"), 0)))
                books.mapper.end()
                uncounted = 0
            elif what == "abort":
                books.map(count, commit=False)
                uncounted += count
            elif what == "reduce" and waiting:
                books.reduce(waiting)
                waiting = 0
            elif what == "renew":
                books.mapper.renew()
                books.reducer.renew()

        history = books.judge()

        assert history.holds, history.text(9)
        commits = sum(step.state == PREPARE_COMMIT for of in books.kafka.steps.values() for step in of)
        assert history.judged == commits and not history.unjudged

    def test_words_that_a_reducer_passes_on_count_as_sent(self, books: Application) -> None:
        books.map(3)
        books.reducer.word(books.word, 3)
        books.reducer.move("words", 0, 2)
        books.reducer.end()

        assert books.judge().holds

    def test_offsets_that_are_sent_twice_in_a_transaction_count_once(self, books: Application) -> None:
        books.map(3)
        books.reducer.total(books.word, 3)
        for _ in range(2):
            books.reducer.move("words", 0, 2)
        books.reducer.end()

        assert books.judge().holds

    def test_a_question_that_a_late_commit_ends_commits_nothing(self, books: Application) -> None:
        books.map(3)
        books.kafka.step(books.reducer.name, 2, 0, PREPARE_COMMIT, {(OFFSETS, 0)})
        books.kafka.mark((OFFSETS, 0), 2, 0, commit=True)
        books.kafka.step(books.reducer.name, 2, 0, COMPLETE_COMMIT)
        books.reduce(3)

        assert books.judge().holds

    def test_a_transaction_that_a_successor_aborts_has_its_epoch(self, books: Application) -> None:
        books.map(3)
        books.reducer.total(books.word, 3)
        places = {(topic("counts"), 0)}
        books.kafka.step(books.reducer.name, 2, 1, PREPARE_ABORT, places)
        books.kafka.mark((topic("counts"), 0), 2, 1, commit=False)
        books.kafka.step(books.reducer.name, 2, 1, COMPLETE_ABORT)

        assert books.judge().holds


class TestWrong:
    """Each anomaly is found, and the transaction named."""

    def one(self, books: Application) -> tuple[Kind, str | None, str]:
        [found] = books.judge().anomalies
        return found.kind, found.transactional_id, found.what

    def test_readers_see_an_aborted_transaction(self, books: Application) -> None:
        books.map(1)
        books.reducer.total(books.word, 1)
        books.reducer.end(commit=False, marked=True)

        kind, name, what = self.one(books)

        assert (kind, name) == ("aborted-read", books.reducer.name)
        assert "was aborted, and a marker at offset 1 says commit: readers see offset 0 of x.counts" in what

    def test_readers_do_not_see_a_committed_one(self, books: Application) -> None:
        books.map(1)
        books.mapper.end(commit=True)
        books.reducer.total(books.word, 1)
        books.reducer.end(marked=False)

        assert self.one(books)[:2] == ("lost-write", books.reducer.name)

    def test_a_commit_of_a_record_that_is_not_there(self, books: Application) -> None:
        books.map(1)
        places = {(topic("counts"), 0), (OFFSETS, 0)}
        books.kafka.step(books.reducer.name, 2, 0, PREPARE_COMMIT, places)
        for place in places:
            books.kafka.mark(place, 2, 0, commit=True)
        books.kafka.step(books.reducer.name, 2, 0, COMPLETE_COMMIT)

        assert kinds(books.judge()) == ["lost-write", "lost-write"]

    def test_a_contradiction_is_found_behind_deleted_words(self, books: Application) -> None:
        for _ in range(3):
            books.map(1)
        books.kafka.trim((topic("words"), 0), 3)
        books.mapper.word(books.word, 1)
        books.mapper.end(commit=False, marked=True)

        assert self.one(books)[:2] == ("aborted-read", books.mapper.name)

    def test_a_reducer_counted_aborted_words(self, books: Application) -> None:
        books.map(2)
        books.map(5, commit=False)
        books.reduce(7)

        kind, name, what = self.one(books)

        assert (kind, name) == ("aborted-read", books.reducer.name) and "wrote 7 words where it read 2" in what

    @pytest.mark.parametrize(
        ("counted", "kind", "said"),
        [
            (2, "lost-write", "the record at offset 2 of words, partition 0, is missing"),
            (8, "duplicate", "the record at offset 2 of words, partition 0, is in it twice"),
            (7, "duplicate", "the record at offset 0 of words, partition 0, is in it twice"),
            (4, "lost-write", "wrote 4 words where it read 5"),
            (6, "duplicate", "wrote 6 words where it read 5"),
        ],
    )
    def test_a_reducer_counted_wrongly(self, books: Application, counted: int, kind: Kind, said: str) -> None:
        books.map(2)
        books.map(3)
        books.reduce(counted)

        assert self.one(books)[:2] == (kind, books.reducer.name)
        assert said in self.one(books)[2]

    def test_a_reducer_counted_other_words(self, books: Application) -> None:
        books.map(2)
        books.reducer.total(books.word + b"x", 2)
        books.reducer.move("words", 0, 2)
        books.reducer.end()

        assert self.one(books)[0] == "lost-write" and "they are others" in self.one(books)[2]

    def test_a_mapper_counted_a_line_twice(self, books: Application) -> None:
        books.kafka.append((topic("lines"), 0), None, books.word)
        books.mapper.word(books.word, 2)
        books.mapper.move("lines", 0, 1)
        books.mapper.end()

        assert self.one(books)[:2] == ("duplicate", books.mapper.name)

    def test_somebody_counted_without_reading_anything(self, books: Application) -> None:
        stranger = Worker(books.kafka, "x", 9)
        stranger.total(books.word, 4)
        stranger.end()

        assert self.one(books)[:2] == ("duplicate", stranger.name)

    def test_a_total_falls_and_one_repeats(self, books: Application) -> None:
        books.map(2)
        books.reduce(2)
        for total in (2, 1):
            books.reducer.total(books.word, total)
            books.reducer.end()

        assert kinds(books.judge()).count("nonmonotonic-send") == 2

    def test_offsets_that_differ_from_positions_or_go_back_or_too_far(self, books: Application) -> None:
        wrong: list[tuple[int, int | None, Kind]] = [
            (2, 1, "inconsistent-offsets"),
            (9, None, "inconsistent-offsets"),
            (1, None, "nonmonotonic-poll"),
        ]
        for offset, position, kind in wrong:
            books = Application()
            books.map(2)
            books.reduce(2)
            books.reducer.move("words", 0, offset, position)
            books.reducer.end()
            assert kinds(books.judge()) == [kind]

    def test_an_offset_whose_metadata_is_not_of_the_same_commit(self, books: Application) -> None:
        books.map(2)
        books.reducer.total(books.word, 2)
        books.reducer.commit_offset("words", 0, 2, b"")
        books.reducer.end()

        assert self.one(books)[0] == "inconsistent-offsets"

    def test_an_offset_that_somebody_set(self, books: Application) -> None:
        books.map(2)
        books.reduce(2)
        books.kafka.append((OFFSETS, 0), *offset_record("words", 0, 0, b""))

        kind, name, what = self.one(books)

        assert (kind, name) == ("inconsistent-offsets", None) and "was set from 2 to 0 without a transaction" in what

    def test_an_offset_that_was_set_to_what_it_is_is_none(self, books: Application) -> None:
        books.map(2)
        books.reduce(2)
        books.kafka.append((OFFSETS, 0), *offset_record("words", 0, 2, b""))

        assert books.judge().holds

    def test_records_without_a_marker_are_open_for_good_where_their_name_rests(self, books: Application) -> None:
        books.map(1)
        books.reducer.total(books.word, 1)
        books.reducer.move("words", 0, 2)
        books.reducer.end(unmarked={(topic("counts"), 0)})

        assert self.one(books)[:2] == ("open-transaction", books.reducer.name)

    def test_and_go_on_where_it_does_not(self, books: Application) -> None:
        books.map(1)
        books.reducer.total(books.word, 1)
        books.kafka.resting = {books.mapper.name}

        history = books.judge()

        assert not history.anomalies and history.going_on == 1
        assert history.undecided == [
            f"{books.reducer.name} always had a transaction under way: its last ones are not known"
        ]

    def test_two_reducers_that_write_in_turns_are_a_write_cycle(self, books: Application) -> None:
        other = Worker(books.kafka, "reduce-1", 3)
        there = next(word for word in WORDS if _core.partition(word, 2) == 1)
        for worker, word in ((books.reducer, books.word), (other, books.word), (other, there), (books.reducer, there)):
            worker.total(word, 1 if worker is books.reducer else 2)
        books.reducer.end()
        other.end()

        assert "write-cycle" in kinds(books.judge())


class TestNotSeen:
    """What is deleted is not judged, and the result says so."""

    def test_deleted_words(self, books: Application) -> None:
        books.map(2)
        books.reduce(99)
        books.map(3)
        books.kafka.trim((topic("words"), 0), 2)
        books.reduce(3)

        history = books.judge()

        assert history.holds and history.judged == 1
        assert history.unjudged == {  # whether a transaction begins before the first record that is there is not known
            "what they wrote to words is deleted, or can't be told from others' records": 2,
            "the words that they read are deleted": 1,
        }
        assert history.topics["words"].missing == 2
        assert "words 2 of 4 offsets (the rest is deleted behind what is counted)" in "\n".join(history.text(9))

    def test_words_that_are_deleted_while_they_are_read(self, books: Application) -> None:
        books.map(2)
        books.reduce(99)
        found = books.kafka.found()

        history = judge(replace(found, starts=lambda _: {0: 5, 1: 0}))

        assert history.holds and history.judged == 0

    def test_deleted_lines(self, books: Application) -> None:
        books.map(2, lines=2)
        books.kafka.trim((topic("lines"), 0), 1)

        assert books.judge().unjudged == {"the lines that they read are deleted": 1}

    def test_totals_that_compaction_took(self, books: Application) -> None:
        for count in (2, 3, 4):
            books.map(count)
            books.reduce(count)
        books.kafka.compact((topic("counts"), 0), 0, 1, 2)

        history = books.judge()

        assert history.holds, history.text(9)
        assert history.unjudged["compaction took the totals that they changed"] == 1

    def test_totals_that_compaction_takes_while_they_are_read(self, books: Application) -> None:
        for count in (2, 3, 4):
            books.map(count)
            books.reduce(count)
        found = books.kafka.found()
        books.kafka.compact((topic("counts"), 0), 2)

        history = judge(found)

        assert history.holds, history.text(9)
        assert history.judged == 4 and sum(history.unjudged.values()) == 2

    def test_offsets_that_compaction_takes_while_they_are_read(self, books: Application) -> None:
        for count in (2, 3, 4):
            books.map(count)
        found = books.kafka.found()
        books.kafka.compact((OFFSETS, 0), 2)

        history = judge(found)

        assert history.holds, history.text(9)
        assert history.judged == 1 and sum(history.unjudged.values()) == 2

    def test_a_difference_by_dead_letters(self, books: Application) -> None:
        books.kafka.append((topic("lines"), 0), None, b"what is rejected")
        books.mapper.send("dead-letters", b"", b"", 0)
        books.mapper.move("lines", 0, 1)
        books.mapper.end()

        [why] = books.judge().unjudged
        assert "dead letters" in why

    def test_the_oldest_offset(self, books: Application) -> None:
        books.map(2)
        books.map(3)
        books.kafka.compact((OFFSETS, 0), 0)

        history = books.judge()

        assert history.holds and history.judged == 0

    def test_an_earlier_topic_of_the_name(self, books: Application) -> None:
        books.kafka.append((OFFSETS, 0), *offset_record("lines", 0, 99, Position("ascii", "gone").text(99).encode()))
        books.map(2)

        assert books.judge().holds

    def test_a_commit_of_top_words_alone(self, books: Application) -> None:
        books.map(2)
        books.reduce(2)
        books.reducer.move("words", 0, 2)
        books.reducer.end()

        history = books.judge()

        assert history.holds and history.judged == 2
        assert history.unjudged == {"they read nothing, and wrote no words or totals": 1}

    def test_producers_that_nobody_knows(self, books: Application) -> None:
        books.map(2)
        del books.kafka.steps[books.mapper.name]

        history = judge(replace(books.kafka.found(), unknown_producers=1))

        assert not history.judged and "no transaction is there to be looked at" in history.text(9)[0]
        assert any("no coordinator knows now" in line for line in history.text(9))

    def test_a_move_of_the_application(self, books: Application) -> None:
        mover = Worker(books.kafka, "x", 9)
        books.kafka.steps["books-moving"] = [replace(s, name="books-moving") for s in books.kafka.steps.pop(mover.name)]
        mover.name = "books-moving"
        mover.total(books.word, 5)
        mover.end()

        assert books.judge().holds


def test_the_text_shows_as_many_anomalies_as_asked_for(books: Application) -> None:
    books.map(2)
    for counted in (3, 3, 3):
        books.reduce(counted)

    text = books.judge().text(2)

    assert text[0].startswith("history: WRONG: 3 duplicate, in 4 transactions, of which 4 commits")
    assert sum(line.startswith("  duplicate: ") for line in text) == 2
    assert "  and 1 more (--most 3 shows all)" in text
