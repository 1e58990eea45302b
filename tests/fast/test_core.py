"""Laws of the Rust core, checked through Python as the workers use it."""

import itertools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, cast

import confluent_kafka
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from totals import eight, listed, placed

from wcsup import _core
from wcsup._core import MAX_WORD_BYTES, Aggregator, Changelog, Combiner, Inbox, Records, State, Totals

Rule = Literal["ascii", "unicode"]
Words = dict[bytes, int]

LARGEST, SMALLEST = 2**63 - 1, -(2**63)

law = settings(deadline=None)

# Text that crosses every block and key size of the tokenizer, made of the bytes on both sides of each class.
lines = st.binary(max_size=80) | st.lists(
    st.sampled_from(
        [b"a", b"Z", b"_", b" ", b"@", b"[", b"`", b"{", b"^", b"z", b"A", b"\0", b"\x7f", b"\xc1", b"\xe1"]
    ),
    max_size=400,
).map(b"".join)
texts = lines | st.text(max_size=60).map(str.encode)
words = st.sampled_from([b"a", b"b", b"the", b"of", b"w" * 16, b"w" * 17, b"w" * 17 + b"x", b"w" * 16 + b"\0", b""])
keys = words | st.binary(max_size=40)
counts = st.integers(-3, 300) | st.integers(-(2**40), 2**40)
partitions = st.integers(0, 3)


def record(
    partition: int = 0, offset: int = 0, key: bytes | None = None, value: bytes | None = None
) -> tuple[int, int, bytes | None, bytes | None]:
    return partition, offset, key, value


def end(partition: int, offset: int) -> tuple[int, int]:
    return partition, offset


def reference_words(line: bytes) -> list[bytes]:
    return [word.lower() for word in re.split(rb"[^a-zA-Z_]+", line) if word]


def combined(combiner: Combiner) -> Words:
    records = listed(combiner.records())
    result = {key: int.from_bytes(value, "big", signed=True) for key, value in records}
    assert len(result) == len(records) == combiner.distinct
    return result


FORMS = ["plain", "packed", "mixed"]


def combine(batches: Iterable[Sequence[bytes | None]], rule: Rule = "ascii", n: int = 12) -> Combiner:
    combiner = Combiner(rule, n)
    combiner.own(0, 0)
    offset = 0
    for batch in batches:
        combiner.add(Inbox([record(offset=offset + i, value=line) for i, line in enumerate(batch)]))
        offset += len(batch)
    return combiner


def aggregate(records: Iterable[tuple[int, bytes, int]]) -> Aggregator:
    aggregator = Aggregator(12)
    batch = []
    for offset, (partition, key, count) in enumerate(records):
        aggregator.own(partition, 0)
        batch.append(record(partition=partition, offset=offset, key=key, value=eight(count)))
    aggregator.add(Inbox(batch))
    return aggregator


def aggregate_packed(values: Iterable[bytes]) -> Aggregator:
    aggregator = Aggregator(1)
    aggregator.own(0, 0)
    aggregator.add(Inbox([record(offset=n, key=b"\0", value=value) for n, value in enumerate(values)]))
    return aggregator


def totals_of(new: Words) -> Totals:
    changelog = Changelog()
    changelog.own(0, 0)
    changelog.add(Inbox([record(offset=i, key=key, value=eight(n)) for i, (key, n) in enumerate(new.items())]))
    return changelog.totals(0, None)


def pairs_of(totals: Totals) -> Words:
    pairs = totals.pairs()
    records = Records([(5, b"before", b"")])
    totals.append_to(records, 3)
    assert placed(records) == [(5, b"before", b""), *((3, *pair) for pair in pairs)]
    assert len(totals) == len(pairs)
    assert pairs == sorted(pairs)
    return {word: int.from_bytes(value, "big", signed=True) for word, value in pairs}


class TestTokenize:
    @law
    @given(lines)
    def test_ascii_equals_the_reference(self, line: bytes) -> None:
        assert _core.tokenize(line, "ascii") == reference_words(line)

    @pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129])
    def test_every_byte_at_every_block_edge(self, length: int) -> None:
        for byte in range(256):
            for line in (
                bytes([byte]) * length,
                b"a" * length + bytes([byte]) + b"B" * length,
                bytes([byte]) + b"z" * length,
                b"z" * length + bytes([byte]),
            ):
                assert _core.tokenize(line, "ascii") == reference_words(line), line

    def test_every_pair_of_bytes(self) -> None:
        for first in range(256):
            line = b" ".join(bytes([first, second]) for second in range(256))
            assert _core.tokenize(line, "ascii") == reference_words(line)

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            # UAX 29's own example
            ("The quick (“brown”) fox can’t jump 32.3 feet, right?",  # noqa: RUF001
             "the quick brown fox can’t jump 32.3 feet right"),  # noqa: RUF001
            ("Straße STRASSE ẞ", "strasse strasse ss"),
            ("ΣΊΣΥΦΟΣ Σίσυφος", "σίσυφοσ σίσυφοσ"),
            ("--- ... !? \u200d 🙂", ""),
            ("a_b __ _1_", "a_b _1_"),
            ("Привет, мир", "привет мир"),
            ("東京 タワー", "東 京 タワー"),
            ("\0a\0B\0", "a b"),
        ],
    )  # fmt: skip
    def test_unicode_examples(self, line: str, expected: str) -> None:
        assert _core.tokenize(line.encode(), "unicode") == expected.encode().split()

    def test_unicode_folds_every_letter_as_python_does(self) -> None:
        letters = [chr(c) for c in range(sys.maxunicode) if unicodedata.category(chr(c)) in ("Lu", "Ll", "Lt", "Lo")]
        folded = [b"".join(_core.tokenize(letter.encode(), "unicode")) for letter in letters]
        assert folded == [letter.casefold().encode() for letter in letters]

    @law
    @given(st.binary(max_size=40) | texts)
    def test_unicode_reads_what_is_not_utf8_as_replacement_characters(self, line: bytes) -> None:
        read = line.decode("utf-8", "replace").encode()
        assert _core.tokenize(line, "unicode") == _core.tokenize(read, "unicode")

    @law
    @given(st.text(st.sampled_from("abcXYZ059 \t-!?"), max_size=200))
    def test_unicode_equals_words_between_plain_separators(self, line: str) -> None:
        expected = [word.lower().encode() for word in re.split(r"[^a-zA-Z0-9]+", line) if word]
        assert _core.tokenize(line.encode(), "unicode") == expected

    def test_words_of_any_length(self) -> None:
        assert _core.tokenize(b"A" * 3_000_000, "ascii") == [b"a" * 3_000_000]
        assert _core.tokenize(b"A" * 3_000_000, "unicode") == [b"a" * 3_000_000]

    def test_unknown_rule(self) -> None:
        with pytest.raises(ValueError, match="latin"):
            _core.tokenize(b"", cast("Rule", "latin"))
        with pytest.raises(ValueError, match="latin"):
            Combiner(cast("Rule", "latin"), 1)


class TestPartition:
    @pytest.mark.parametrize(
        ("key", "murmur2"),
        [  # Kafka's own UtilsTest.testMurmur2
            (b"21", -973932308),
            (b"foobar", -790332482),
            (b"a-little-bit-long-string", -985981536),
            (b"a-little-bit-longer-string", -1486304829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            (b"abc", 479470107),
        ],
    )
    def test_equals_java(self, key: bytes, murmur2: int) -> None:
        for n in (1, 2, 12, 1000, 2**31 - 1):
            assert _core.partition(key, n) == (murmur2 & 0x7FFFFFFF) % n

    @law
    @given(st.binary(max_size=300), st.integers(1, 2**31 - 1))
    def test_equals_librdkafka(self, key: bytes, n: int) -> None:
        assert _core.partition(key, n) == confluent_kafka.murmur2(key, n)

    @pytest.mark.parametrize("n", [0, -1, 2**31, 2**40])
    def test_refuses_what_is_no_number_of_partitions(self, n: int) -> None:
        with pytest.raises(ValueError, match=str(n)):
            _core.partition(b"", n)
        with pytest.raises(ValueError, match=str(n)):
            Combiner("ascii", n)


class TestCombiner:
    @law
    @given(st.lists(lines), st.randoms(use_true_random=False))
    def test_any_split_into_batches_gives_equal_counts(self, some: list[bytes], random: Any) -> None:
        expected = Counter(word for line in some for word in reference_words(line))
        cuts = sorted(random.randrange(len(some) + 1) for _ in range(3))
        batches = [some[a:b] for a, b in zip([0, *cuts], [*cuts, len(some)], strict=True)]
        for combiner in (combine(batches), combine([some])):
            assert combined(combiner) == expected
            assert combiner.words == expected.total()
            assert combiner.taken == len(some)
            assert combiner.bytes == sum(map(len, some))

    @law
    @given(st.lists(texts, max_size=8))
    def test_unicode_counts_the_words_of_tokenize(self, some: list[bytes]) -> None:
        expected = Counter(word for line in some for word in _core.tokenize(line, "unicode"))
        assert combined(combine([some], "unicode")) == expected

    @law
    @given(st.lists(texts, max_size=8), st.integers(1, 20), st.sampled_from(["ascii", "unicode"]))
    def test_records_are_in_their_partition_and_in_order(self, some: list[bytes], n: int, rule: Rule) -> None:
        found = [(partition, key) for partition, key, _ in placed(combine([some], rule, n).records())]
        assert found == sorted(found)
        assert all(confluent_kafka.murmur2(key, n) == partition for partition, key in found)

    @pytest.mark.parametrize("rule", ["ascii", "unicode"])
    def test_many_distinct_words_over_many_batches(self, rule: Rule) -> None:
        def name(number: int) -> bytes:  # some in line with the table's keys, some longer
            return b"w" + str(number).translate(str.maketrans("0123456789", "abcdefghij")).encode() * (1 + number % 4)

        combiner = Combiner(rule, 7)
        combiner.own(0, 0)
        offset = 0
        for size in (10, 50_000, 3, 0, 20_000):
            expected = Counter(name(number * number % size) for number in range(size))
            some = list(expected.elements())
            for start in range(0, len(some), 1000):
                combiner.add(Inbox([record(offset=offset, value=b" ".join(some[start : start + 1000]))]))
                offset += 1
            assert combined(combiner) == expected
            assert combiner.memory < 20_000_000
            combiner.clear()
            assert combined(combiner) == {}
            assert combiner.memory == 0, "a batch that is bounded by it must not be full before it begins"

    def test_null_lines_are_skipped_and_counted(self) -> None:
        combiner = Combiner("ascii", 1)
        combiner.own(0, 0)
        combiner.add(Inbox([record(offset=0), record(offset=1, value=b""), record(offset=2, value=b"a")]))
        assert (combiner.taken, combiner.null_lines, combiner.words, combiner.bytes) == (3, 1, 1, 1)
        assert combiner.offsets() == [(0, 3)]

    @pytest.mark.parametrize("rule", ["ascii", "unicode"])
    def test_a_line_with_a_word_that_is_too_long_is_rejected_whole(self, rule: Rule) -> None:
        combiner = Combiner(rule, 1)
        combiner.own(0, 0)
        longest, longer = b"X" * MAX_WORD_BYTES, b"X" * (MAX_WORD_BYTES + 1)
        messages = [
            record(offset=0, value=b"one two"),
            record(offset=1, value=b"one " + longer + b" two"),
            record(offset=2, value=b"one " + longest),
            record(offset=3, value=b"one"),
        ]
        combiner.add(Inbox(messages))
        assert combined(combiner) == {b"one": 3, b"two": 1, longest.lower(): 1}
        assert (combiner.taken, combiner.words) == (4, 5)
        [(*refused, reason)] = combiner.rejected()
        assert tuple(refused) == messages[1]
        assert "1000001" in reason
        assert combiner.offsets() == [(0, 4)]
        assert combiner.memory > 2 * MAX_WORD_BYTES, "the rejected line is held too"
        combiner.clear()
        assert combiner.rejected() == []

    def test_folding_can_make_a_word_too_long(self) -> None:
        line = "ΐ".encode() * (MAX_WORD_BYTES // 4)  # 2 bytes, folded 6
        combiner = combine([[line]], "unicode")
        assert len(combiner.rejected()) == 1
        assert combiner.words == 0

    def test_clear_keeps_what_is_owned_and_expected(self) -> None:
        combiner = Combiner("ascii", 1)
        combiner.own(0, 0)
        combiner.add(Inbox([record(offset=0, value=b"a")]))
        assert combiner.offsets() == [(0, 1)]
        combiner.clear()
        assert (combiner.taken, combiner.words, combiner.distinct, combiner.bytes) == (0, 0, 0, 0)
        assert combiner.offsets() == []
        combiner.add(Inbox([record(offset=0, value=b"a"), record(offset=1, value=b"b")]))
        assert combined(combiner) == {b"b": 1}
        assert combiner.offsets() == [(0, 2)]


def new_aggregator() -> Aggregator:
    return Aggregator(12)


Batch = Combiner | Aggregator | Changelog


def new_combiner() -> Combiner:
    return Combiner("ascii", 1)


@pytest.mark.parametrize("new", [new_combiner, new_aggregator, Changelog])
class TestOwnership:
    """One rule for all three: which messages a batch takes."""

    def test_takes_each_owned_message_once(self, new: Callable[[], Batch]) -> None:
        batch = new()
        batch.own(1, 5)
        some = [(1, 4), (1, 5), (1, 5), (0, 9), (1, 8), (1, 7), (2, 5)]
        batch.add(Inbox([record(partition=p, offset=o, key=b"k", value=eight(1)) for p, o in some]))
        assert batch.taken == 2
        batch.own(0, 9)
        batch.disown(1)
        batch.disown(77)
        batch.add(Inbox([record(partition=p, offset=o, key=b"k", value=eight(1)) for p, o in [(1, 9), (0, 9)]]))
        assert batch.taken == 3

    def test_minus_one_takes_whatever_comes_first(self, new: Callable[[], Batch]) -> None:
        batch = new()
        batch.own(0, -1)
        batch.add(Inbox([record(offset=o, key=b"k", value=eight(1)) for o in (40, 39, 41)]))
        assert batch.taken == 2

    def test_own_again_moves_back(self, new: Callable[[], Batch]) -> None:
        batch = new()
        batch.own(0, 3)
        message = record(offset=3, key=b"k", value=eight(1))
        batch.add(Inbox([message]))
        batch.own(0, 3)
        batch.add(Inbox([message]))
        assert batch.taken == 2

    @pytest.mark.parametrize(("partition", "offset"), [(-1, 0), (0, -2), (0, -1001)])
    def test_own_refuses_what_is_no_position(self, new: Callable[[], Batch], partition: int, offset: int) -> None:
        with pytest.raises(ValueError, match=str(offset)):
            new().own(partition, offset)


class TestInbox:
    """Without a consumer; `test_reader.py` has those with one."""

    @pytest.mark.parametrize("new", [new_combiner, new_aggregator, Changelog])
    def test_a_batch_empties_it(self, new: Callable[[], Batch]) -> None:
        batch, inbox = new(), Inbox(record(offset=offset, key=b"k", value=eight(1)) for offset in range(3))
        batch.own(0, 0)
        assert len(inbox) == 3
        batch.add(inbox)
        assert (batch.taken, len(inbox)) == (3, 0)
        batch.own(0, 0)
        batch.add(inbox)
        batch.add(Inbox())
        assert batch.taken == 3

    @pytest.mark.parametrize(
        "wrong",
        [
            *(1, (), (0,), (0, 0, b""), (0, 0, b"", b"", b""), ("0", 0), (0, None), (0, 2**63), (2**31, 0)),
            *((0, 0, "text", b""), (0, 0, b"", "text"), (0, 0, b"", 7)),
        ],
    )
    def test_refuses_what_is_no_record(self, wrong: object) -> None:
        with pytest.raises((TypeError, OverflowError)):
            Inbox(cast("Any", [record(), wrong]))

    def test_refuses_what_is_no_iterable(self) -> None:
        with pytest.raises(TypeError):
            Inbox(cast("Any", 1))

    def test_an_error_raised_by_the_iterable_comes_out(self) -> None:
        def records() -> Iterator[tuple[int, int]]:
            yield end(0, 0)
            raise LookupError("records")

        with pytest.raises(LookupError, match="records"):
            Inbox(records())

    @pytest.mark.parametrize("new", [new_combiner, new_aggregator, Changelog])
    def test_nothing_is_leaked_or_freed_early(self, new: Callable[[], Batch]) -> None:
        value, key = eight(12_345), b"some key"
        before = [sys.getrefcount(part) for part in (key, value)]
        for _ in range(100):
            batch = new()
            batch.own(0, 0)
            batch.add(Inbox([record(key=key, value=value)]))
        del batch
        assert [sys.getrefcount(part) for part in (key, value)] == before

    def test_without_a_consumer_there_is_nothing_to_take(self) -> None:
        inbox = Inbox()
        for call in (
            lambda: inbox.take(1, 1),
            lambda: inbox.wait(0),
            lambda: inbox.divert("t", 0),
            lambda: inbox.wake([("t", 0)]),
            inbox.since_heartbeat,
        ):
            with pytest.raises(RuntimeError, match="no consumer"):
                call()


@pytest.mark.parametrize("new", [new_combiner, new_aggregator])
class TestOffsets:
    def test_only_what_moved_is_reported(self, new: Callable[[], Combiner | Aggregator]) -> None:
        batch = new()
        for partition in (2, 0, 1):
            batch.own(partition, 10)
        assert batch.offsets() == []
        batch.add(Inbox([record(partition=2, offset=10, value=b"a"), record(partition=1, offset=9, value=b"a")]))
        assert batch.offsets() == [(2, 11)]
        batch.disown(2)
        assert batch.offsets() == []

    def test_an_end_moves_forward_only(self, new: Callable[[], Combiner | Aggregator]) -> None:
        batch = new()
        batch.own(0, 10)
        batch.own(1, -1)
        batch.add(Inbox([end(0, 10), end(5, 3)]))
        assert batch.offsets() == []
        batch.add(Inbox([end(0, 13), end(0, 12)]))
        assert batch.offsets() == [(0, 13)]
        batch.add(Inbox([end(1, 0)]))
        assert batch.offsets() == [(0, 13), (1, 0)]
        batch.clear()
        assert batch.offsets() == []
        batch.own(0, 2)
        assert batch.offsets() == [], "where a seek went to needs no commit"


class TestAggregator:
    @law
    @given(st.lists(st.tuples(partitions, keys, counts), max_size=40))
    def test_equals_adding_up(self, records: list[tuple[int, bytes, int]]) -> None:
        expected: dict[int, Words] = {}
        for partition, key, count in records:
            of = expected.setdefault(partition, {})
            of[key] = of.get(key, 0) + count
        aggregator = aggregate(records)
        assert aggregator.partitions() == sorted(expected)
        assert aggregator.distinct == sum(map(len, expected.values()))
        assert aggregator.counted == sum(count for _, _, count in records)
        assert aggregator.bytes == sum(len(key) for _, key, _ in records)
        for partition, of in expected.items():
            assert aggregator.words(partition) == sorted(of)
            totals = aggregator.totals(partition, [None] * len(of))
            assert pairs_of(totals) == of
            assert (totals.new_words, totals.added, totals.deleted()) == (len(of), sum(of.values()), [])
        assert aggregator.words(99) == []
        assert len(aggregator.totals(99, [])) == 0
        aggregator.clear()
        assert aggregator.partitions() == []
        assert (aggregator.taken, aggregator.distinct, aggregator.counted, aggregator.bytes) == (0, 0, 0, 0)

    @law
    @given(st.dictionaries(keys, counts, min_size=1), st.data())
    def test_adds_to_old_totals(self, batch: Words, data: st.DataObject) -> None:
        aggregator = aggregate((0, key, count) for key, count in batch.items())
        in_order = aggregator.words(0)
        old = {word: data.draw(st.none() | st.integers(-(2**31), 2**31 - 1)) for word in in_order}
        widths = {word: data.draw(st.sampled_from([4, 8])) for word in in_order}
        totals = aggregator.totals(
            0, [None if n is None else n.to_bytes(widths[word], "big", signed=True) for word, n in old.items()]
        )
        assert pairs_of(totals) == {word: (old[word] or 0) + count for word, count in batch.items()}
        assert totals.new_words == sum(n is None for n in old.values())
        assert totals.added == sum(batch.values())

    @law
    @given(st.lists(st.lists(lines, max_size=4), max_size=4), st.integers(1, 5))
    def test_combining_then_aggregating_equals_counting(self, batches: list[list[bytes]], n: int) -> None:
        found = [one for batch in batches for one in placed(combine([batch], n=n).records())]
        aggregator = aggregate((partition, key, int.from_bytes(value, "big")) for partition, key, value in found)
        counted = Counter[bytes]()
        for partition in aggregator.partitions():
            counted.update(pairs_of(aggregator.totals(partition, [None] * len(aggregator.words(partition)))))
        assert counted == Counter(word for batch in batches for line in batch for word in reference_words(line))

    def test_rejects_what_is_no_count(self) -> None:
        aggregator = Aggregator(1)
        aggregator.own(0, 0)
        messages = [
            record(offset=0, key=b"a", value=eight(2)),
            record(offset=1, value=eight(2)),
            record(offset=2, key=b"a", value=b""),
            record(offset=3, key=b"a", value=b"\0" * 9),
            record(offset=4, key=b"a", value=b"\0\0\0\1"),
            record(offset=5, key=b"a"),
            record(offset=6, key=b"", value=eight(-7)),
            record(offset=7, key=b"k" * (MAX_WORD_BYTES + 1), value=eight(1)),
        ]
        aggregator.add(Inbox(messages))
        assert [tuple(refused) for *refused, _ in aggregator.rejected()] == [*messages[1:5], messages[7]]
        reasons = [re.sub(r"\D+", " ", reason).strip() for *_, reason in aggregator.rejected()]
        assert reasons == ["", "0 8", "9 8", "4 8", "1000001 1000000"]
        assert pairs_of(aggregator.totals(0, [None, None])) == {b"": -7, b"a": 3}
        assert (aggregator.taken, aggregator.counted, aggregator.offsets()) == (8, -4, [(0, 8)])
        assert aggregator.memory > MAX_WORD_BYTES, "the rejected records are held too"
        aggregator.clear()
        assert aggregator.memory == 0

    def test_a_count_that_overflows_the_batch_is_rejected(self) -> None:
        some = [LARGEST, 1, -1, 1, SMALLEST, SMALLEST]
        aggregator = aggregate((0, b"w", count) for count in some)
        assert len(aggregator.rejected()) == 2
        assert pairs_of(aggregator.totals(0, [None])) == {b"w": -1 - 2**63 + 2**63}
        assert aggregator.counted == -1

    @pytest.mark.parametrize(("old", "count"), [(LARGEST, 1), (SMALLEST, -1), (1, LARGEST)])
    def test_a_total_that_overflows_is_refused(self, old: int, count: int) -> None:
        aggregator = aggregate([(0, b"word", count), (0, b"xylem", 3)])
        totals = aggregator.totals(0, [eight(old), None])
        assert totals.refused() == [(b"word", eight(count))]
        assert pairs_of(totals) == {b"xylem": 3}
        assert (totals.new_words, totals.added) == (1, 3)
        assert aggregator.totals(0, [None, None]).refused() == []

    @pytest.mark.parametrize("old", [[], [None, None], [b""], [b"\0" * 3], [b"\0" * 16]])
    def test_old_totals_must_fit(self, old: list[bytes | None]) -> None:
        with pytest.raises(ValueError, match=r"\d"):
            aggregate([(0, b"word", 1)]).totals(0, old)

    def test_old_totals_must_be_bytes(self) -> None:
        with pytest.raises(TypeError):
            aggregate([(0, b"word", 1)]).totals(0, cast("Any", [8]))

    def test_the_sums_of_sums_do_not_overflow(self) -> None:
        aggregator = aggregate([(0, b"a", LARGEST), (0, b"b", LARGEST), (1, b"a", LARGEST)])
        assert aggregator.counted == 3 * LARGEST
        assert aggregator.totals(0, [None, None]).added == 2 * LARGEST

    def test_what_it_returns_is_the_callers(self) -> None:
        aggregator = aggregate([(0, b"b", 1), (0, b"a", 1)])
        aggregator.words(0).clear()
        assert aggregator.words(0) == [b"a", b"b"]
        totals = aggregator.totals(0, [None, None])
        totals.pairs().clear()
        assert pairs_of(totals) == {b"a": 1, b"b": 1}

    @pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (2, 9), (3, 4), (9, None), (1, None)])
    def test_totals_are_given_in_parts(self, start: int, stop: int | None) -> None:
        totals = totals_of({b"a": 1, b"b": 2, b"c": 3})
        assert totals.pairs(start, stop) == totals.pairs()[start:stop]

    def test_words_follow_what_was_added_since(self) -> None:
        aggregator = aggregate([(0, b"b", 1)])
        assert aggregator.words(0) == [b"b"]
        aggregator.add(Inbox([record(offset=9, key=b"a", value=eight(1))]))
        assert aggregator.words(0) == [b"a", b"b"]
        aggregator.clear()
        assert aggregator.words(0) == []

    @law
    @given(
        st.lists(st.tuples(st.sampled_from(FORMS), st.integers(0, 200), st.lists(lines, max_size=4)), max_size=5),
        st.integers(1, 5),
        st.data(),
    )
    def test_records_of_any_form_equal_counting(
        self, batches: list[tuple[str, int, list[bytes]]], n: int, data: st.DataObject
    ) -> None:
        aggregator, offset = Aggregator(n), 0
        for partition in range(n):
            aggregator.own(partition, -1)
        for form, limit, batch in batches:
            combiner = combine([batch], n=n)
            if form == "mixed":
                homes = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
                made = combiner.mixed(homes, limit)
                assert {partition for partition, *_ in placed(made)} <= set(homes)
            else:
                made = combiner.packed(limit) if form == "packed" else combiner.records()
            for partition, key, value in placed(made):
                aggregator.add(Inbox([record(partition, offset, key, value)]))
                offset += 1
        assert listed(aggregator.forwarded(1000)) == []
        counted = Counter[bytes]()
        for partition in aggregator.partitions():
            found = pairs_of(aggregator.totals(partition, [None] * len(aggregator.words(partition))))
            assert all(confluent_kafka.murmur2(word, n) == partition for word in found)
            counted.update(found)
        expected = Counter(word for _, _, batch in batches for line in batch for word in reference_words(line))
        assert counted == expected
        assert aggregator.counted == expected.total()
        assert (aggregator.taken, aggregator.rejected()) == (offset, [])

    @law
    @given(st.lists(lines, max_size=6), st.sets(st.integers(0, 4)), st.integers(0, 200))
    def test_words_of_partitions_that_are_not_owned_are_forwarded(
        self, batch: list[bytes], owned: set[int], limit: int
    ) -> None:
        [*made] = placed(combine([batch], n=5).mixed([1] * 5, 50))
        first, others = Aggregator(5), Aggregator(5)
        for partition in {1, *owned}:
            first.own(partition, 7)
        first.add(Inbox([record(partition, n + 7, key, value) for n, (partition, key, value) in enumerate(made)]))
        assert dict(first.offsets()) == ({p: len(made) + 7 if p == 1 else 7 for p in {1, *owned}} if made else {})
        for n, (partition, key, value) in enumerate(placed(first.forwarded(limit))):
            assert value.startswith(b"WCSUP\0\0\1")
            assert partition not in {1, *owned}
            others.own(partition, -1)
            others.add(Inbox([record(partition, n, key, value)]))
        counted = Counter[bytes]()
        for aggregator in (first, others):
            of_this = Counter[bytes]()
            for partition in aggregator.partitions():
                of_this.update(pairs_of(aggregator.totals(partition, [None] * len(aggregator.words(partition)))))
            assert aggregator.counted == of_this.total()
            assert not counted.keys() & of_this.keys()
            counted.update(of_this)
        assert counted == Counter(word for line in batch for word in reference_words(line))

    @pytest.mark.parametrize("homes", [[], [0], [0, 1, 2], [0, 2], [0, -1], [0, 1 << 40]])
    def test_each_partition_has_one_home(self, homes: list[int]) -> None:
        with pytest.raises((ValueError, OverflowError)):
            combine([[b"a"]], n=2).mixed(homes, 1000)

    def test_mixed_records_have_their_format(self) -> None:
        combiner = combine([[b"to be or not to be " * 100]], n=4)
        assert placed(combiner.mixed([3] * 4, 1000)) == [
            (3, b"\0", b"WCSUP\0\0\2\2be\xc8\1\3not\x64\2or\x64\2to\xc8\1")
        ]

    def test_packed_records_have_their_format(self) -> None:
        [(key, value)] = listed(combine([[b"to be or not to be " * 100]], n=1).packed(1000))
        assert key == b"\0"
        assert value == b"WCSUP\0\0\1\2be\xc8\1\3not\x64\2or\x64\2to\xc8\1"

    @pytest.mark.parametrize("limit", [0, 20, 100, 5000])
    def test_packed_records_have_no_more_bytes_than_the_limit_or_one_word(self, limit: int) -> None:
        line = b" ".join(bytes([97 + n % 26]) * (n // 26 + 1) for n in range(2000))
        combiner = combine([[line]], n=1)
        records = listed(combiner.packed(limit))
        assert aggregate_packed(value for _, value in records).distinct == 2000
        sizes = [len(value) for _, value in records]
        assert len(records) == 2000 or max(sizes) <= limit
        assert len(records) <= 2 * sum(sizes) / max(limit, 1) + 1, "they are not split without need"

    def test_the_word_that_is_the_key_of_packed_records_is_counted(self) -> None:
        aggregator = aggregate_packed([b"WCSUP\0\0\1\1\0\7"])
        aggregator.add(Inbox([record(offset=1, key=b"\0", value=b"WCSUP\0\0\1"), record(offset=2, key=b"\0")]))
        assert pairs_of(aggregator.totals(0, [None])) == {b"\0": 8 + int.from_bytes(b"WCSUP\0\0\1", "big", signed=True)}

    @law
    @given(st.lists(st.binary(max_size=5), min_size=1), st.data())
    def test_damaged_packed_words_are_rejected_whole_or_are_words(self, some: list[bytes], data: st.DataObject) -> None:
        line = b" ".join(word.hex().encode().translate(bytes.maketrans(b"0123456789", b"ghijklmnop")) for word in some)
        [(_, packed)] = listed(combine([[line + b" a"]], n=1).packed(1 << 20))
        value = bytearray(packed)
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(value) - 1))
            value[place] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(9, len(value)))
        aggregator = aggregate_packed([bytes(value[:cut])])
        assert aggregator.taken == 1
        assert (aggregator.distinct == 0) == bool(aggregator.rejected())
        if not aggregator.rejected():
            assert aggregator.words(0) == sorted(set(aggregator.words(0)))

    @law
    @given(st.binary(max_size=60))
    def test_anything_behind_the_magic_is_taken_or_rejected(self, rest: bytes) -> None:
        aggregator = aggregate_packed([b"WCSUP\0\0\1" + rest])
        assert aggregator.taken == 1
        assert aggregator.offsets() == [(0, 1)]
        assert bool(aggregator.rejected()) == (aggregator.distinct == 0)

    def test_says_what_is_wrong_with_packed_words(self) -> None:
        magic = b"WCSUP\0\0\1"
        values = [magic + b"\1a", magic + b"\1b\1\1a\1", b"WCSUP\0\0\3\1a\1", b"WCSUP\0\1\1\1a\1"]
        reasons = [reason for *_, reason in aggregate_packed(values).rejected()]
        assert reasons == [
            "the packed words are malformed at byte 8",
            "the packed words are malformed at byte 11",
            "the words are packed in a form of version 3",
            "the value has 11 bytes, not 8",
        ]
        aggregator = Aggregator(1)
        aggregator.own(0, 0)
        aggregator.add(Inbox([record(key=b"a", value=magic + b"\1a\1")]))
        assert len(aggregator.rejected()) == 1, "only the one key may have packed words"


class TestChangelog:
    @law
    @given(st.lists(st.tuples(partitions, keys, st.none() | counts), max_size=40), st.data())
    def test_equals_a_dict(self, records: list[tuple[int, bytes, int | None]], data: st.DataObject) -> None:
        changelog = Changelog()
        expected: dict[int, dict[bytes, int | None]] = {partition: {} for partition in range(4)}
        for partition in expected:
            changelog.own(partition, -1)
        batch = []
        for offset, (partition, key, total) in enumerate(records):
            expected[partition][key] = total
            value = None if total is None else eight(total)
            batch.append(record(partition=partition, offset=offset, key=key, value=value))
        cut = data.draw(st.integers(0, len(batch)))
        changelog.add(Inbox(batch[:cut]))
        changelog.add(Inbox(batch[cut:]))
        for partition, last in expected.items():
            assert changelog.words(partition) == sorted(last)
            old = {word: data.draw(st.none() | counts) for word in sorted(last)}
            totals = changelog.totals(partition, [None if n is None else eight(n) for n in old.values()])
            store = {word: n for word, n in old.items() if n is not None}
            restored = {word: n for word, n in last.items() if n is not None}
            assert pairs_of(totals) == restored
            assert totals.deleted() == [word for word in sorted(last) if last[word] is None and word in store]
            assert totals.new_words == len(restored) - len(store)
            assert totals.added == sum(restored.values()) - sum(store.values())
            assert changelog.words(partition) == []
        assert (changelog.taken, changelog.malformed) == (len(records), 0)

    def test_pairs_come_in_parts(self) -> None:
        totals = totals_of({b"a": 1, b"b": 2, b"c": 3})
        pairs = totals.pairs()
        assert [totals.pairs(*part) for part in ((0, 2), (2, 4), (1,), (3, 9), (2, 1))] == [
            *(pairs[:2], pairs[2:], pairs[1:], [], [])
        ]

    @law
    @given(st.lists(st.tuples(keys, st.none() | counts), max_size=40))
    def test_an_empty_store_needs_no_old_totals(self, records: list[tuple[bytes, int | None]]) -> None:
        changelog = Changelog()
        changelog.own(0, 0)
        changelog.add(
            Inbox([record(offset=i, key=k, value=n if n is None else eight(n)) for i, (k, n) in enumerate(records)])
        )
        totals = changelog.totals(0, None)
        assert pairs_of(totals) == {key: total for key, total in dict(records).items() if total is not None}
        assert totals.deleted() == []

    def test_reads_totals_of_an_older_word_count_and_passes_over_the_rest(self) -> None:
        changelog = Changelog()
        changelog.own(0, 0)
        values = [b"\0\0\1\0", b"\xff\xff\xff\xff", b"", b"\0" * 7, eight(3)]
        changelog.add(Inbox([record(offset=i, key=b"%d" % i, value=value) for i, value in enumerate(values)]))
        changelog.add(Inbox([record(offset=5, value=eight(3))]))
        assert pairs_of(changelog.totals(0, None)) == {b"0": 256, b"1": -1, b"4": 3}
        assert (changelog.taken, changelog.malformed) == (6, 3)

    def test_the_next_offset_is_past_control_records_once_the_end_was_reported(self) -> None:
        changelog = Changelog()
        changelog.own(3, 100)
        assert changelog.next_offset(3) == 100
        changelog.add(Inbox([record(partition=3, offset=104, key=b"a", value=eight(1))]))
        assert changelog.next_offset(3) == 105
        changelog.add(Inbox([end(3, 106)]))
        assert changelog.next_offset(3) == 106
        assert len(changelog.totals(3, None)) == 1
        assert changelog.next_offset(3) == 106
        changelog.disown(3)
        with pytest.raises(ValueError, match="3"):
            changelog.next_offset(3)

    def test_disown_forgets_what_was_read(self) -> None:
        changelog = Changelog()
        changelog.own(0, 0)
        changelog.own(1, 0)
        changelog.add(Inbox([record(partition=p, offset=0, key=b"a", value=eight(1)) for p in (0, 1)]))
        changelog.disown(0)
        assert (changelog.words(0), changelog.words(1)) == ([], [b"a"])

    def test_totals_that_fail_are_not_forgotten(self) -> None:
        changelog = Changelog()
        changelog.own(0, 0)
        changelog.add(Inbox([record(key=b"a", value=eight(1))]))
        for old in ([], [b"123"], [None, None]):
            with pytest.raises(ValueError, match=r"\d"):
                changelog.totals(0, cast("Any", old))
        assert changelog.words(0) == [b"a"]
        assert pairs_of(changelog.totals(0, [eight(1)])) == {b"a": 1}
        with pytest.raises(ValueError, match="1"):
            changelog.totals(0, [None])


any_word = st.binary(max_size=3) | st.text("\0a", max_size=4).map(str.encode)


class StateMachine:
    """A partition's state beside its store, as a reducer has the two, and what is true of both."""

    def __init__(self, stored: Words) -> None:
        self.state = State(3, empty=not stored)
        self.stored, self.all = dict(stored), dict(stored)

    def take(self, batch: Aggregator | Changelog) -> Totals:
        missing = batch.words(0, self.state)
        found = [eight(self.stored[word]) if word in self.stored else None for word in missing]
        totals = batch.totals(0, found, self.state)
        self.state.take(totals)
        for word in totals.deleted():
            del self.all[word]
        self.all |= pairs_of(totals)
        return totals

    def write(self) -> None:
        totals = self.state.behind()
        assert self.state.unwritten == len(totals) + len(totals.deleted())
        for word in totals.deleted():
            self.stored.pop(word, None)
        self.stored |= pairs_of(totals)
        self.state.written()
        assert self.stored == self.all

    def scan(self, words: int) -> None:
        frontier = self.state.frontier
        if frontier is None:
            return
        left = sorted((word, eight(total)) for word, total in self.stored.items() if word >= frontier)
        assert self.state.scan(left[:words], 1 << 20) or not self.state.has_room
        if words >= len(left) and self.state.has_room:
            self.state.complete()


class TestState:
    @law
    @given(st.dictionaries(any_word, counts, max_size=30), st.data())
    def test_equals_a_dict_however_batches_writes_and_scans_come(self, stored: Words, data: st.DataObject) -> None:
        machine = StateMachine(stored)
        for step in data.draw(st.lists(st.sampled_from(["batch", "log", "write", "scan", "limit"]), max_size=12)):
            before = dict(machine.all)
            if step == "batch":
                words = data.draw(st.dictionaries(any_word, st.integers(-(2**40), 2**40), max_size=20))
                totals = machine.take(aggregate((0, word, count) for word, count in words.items()))
                expected = {word: before.get(word, 0) + count for word, count in words.items()}
                fits = {word: total for word, total in expected.items() if -(2**63) <= total < 2**63}
                assert pairs_of(totals) == fits
                assert totals.new_words == len(fits.keys() - before.keys())
            elif step == "log":
                records = data.draw(st.dictionaries(any_word, st.none() | counts, max_size=20))
                changelog = Changelog()
                changelog.own(0, 0)
                changelog.add(
                    Inbox(
                        record(offset=n, key=word, value=None if total is None else eight(total))
                        for n, (word, total) in enumerate(records.items())
                    )
                )
                totals = machine.take(changelog)
                assert totals.deleted() == sorted(w for w, total in records.items() if total is None and w in before)
                assert totals.added == sum(machine.all.values()) - sum(before.values())
            elif step == "write":
                machine.write()
            elif step == "scan":
                machine.scan(data.draw(st.integers(0, 20)))
            else:
                machine.state.limit(data.draw(st.integers(0, 400)))
        machine.write()
        machine.state.limit(1 << 30)
        machine.scan(1000)
        assert machine.state.resident == len(machine.all)

    def test_many_words_take_few_bytes(self) -> None:
        machine = StateMachine({})
        for start in range(0, 200_000, 20_000):
            machine.take(aggregate((0, b"%d" % number, 1) for number in range(start, start + 25_000)))
            machine.write()
        assert machine.state.memory < 205_000 * 12
        aggregator = aggregate((0, b"%d" % number, 1) for number in range(-5, 300_000, 777))
        twice = {number for start in range(20_000, 200_000, 20_000) for number in range(start, start + 5000)}
        before = {b"%d" % number: 1 + (number in twice) for number in range(205_000)}
        assert aggregator.words(0, machine.state) == []
        totals = aggregator.totals(0, [], machine.state)
        assert pairs_of(totals) == {word: before.get(word, 0) + 1 for word in aggregator.words(0)}

    @pytest.mark.parametrize(("limit", "size"), [(1 << 30, 1000), (1000, 1 << 30)])
    def test_a_scan_is_bounded(self, limit: int, size: int) -> None:
        state = State(3, empty=False)
        state.limit(limit)
        endless = ((b"%09d" % number, eight(1)) for number in itertools.count())
        assert not state.scan(endless, size)
        assert 70 < state.resident < 100
        assert state.has_room == (limit > size)
        assert state.frontier == b"%09d\0" % (state.resident - 1)

    @pytest.mark.parametrize(
        "entries", [[(b"b", eight(1)), (b"b", eight(1))], [(b"b", eight(1)), (b"a", eight(1))], [(b"a", b"123")]]
    )
    def test_a_scan_that_fails_leaves_the_state(self, entries: list[tuple[bytes, bytes]]) -> None:
        state = State(3, empty=False)
        assert state.scan([(b"a", b"\0\0\1\0")], 1000)
        with pytest.raises(ValueError, match=r"order|bytes"):
            state.scan([(b"ab", eight(1)), *entries], 1000)
        assert (state.frontier, state.resident) == (b"a\0", 1)
        assert pairs_of(aggregate([(0, b"a", 1)]).totals(0, [], state)) == {b"a": 257}

    def test_without_all_that_it_misses_there_are_no_totals(self) -> None:
        state, batch = State(3, empty=False), aggregate([(0, b"a", 1)])
        assert batch.words(0, state) == [b"a"]
        with pytest.raises(ValueError, match="0 old totals for 1 words"):
            batch.totals(0, [], state)
        state.complete()
        assert batch.words(0, state) == []
        with pytest.raises(ValueError, match="1 old totals for 0 words"):
            batch.totals(0, [None], state)


class TestTop:
    @law
    @given(
        st.integers(0, 6),
        st.lists(st.dictionaries(st.binary(max_size=2) | st.sampled_from([b"x" * 257]), st.integers(1, 9)), max_size=8),
    )
    def test_equals_sorting_while_totals_rise(self, size: int, batches: list[Words]) -> None:
        top, store = State(size, empty=True), Counter[bytes]()
        for batch in batches:
            store.update(batch)
            before, totals = top.top(), totals_of({word: store[word] for word in batch})
            merged = top.top(totals=totals)
            assert top.top() == before, "the list that another was made of stays"
            changed = top.take(totals)
            ranked = sorted(store.items(), key=lambda item: (-item[1], item[0]))
            expected = [(word, total) for word, total in ranked if len(word) <= 256][:size]
            assert top.top() == merged == expected
            assert top.top(2) == expected[:2]
            assert changed or expected == before

    def test_takes_up_a_list(self) -> None:
        top = State(2, [(b"a", 1), (b"c", 3), (b"b", 3), (b"x" * 257, 9)], empty=True)
        assert top.top() == [(b"b", 3), (b"c", 3)]
        assert not top.take(totals_of({b"a": 2, b"c": 3, b"d": 3}))
        assert top.take(totals_of({b"c": 4}))
        assert top.top() == [(b"c", 4), (b"b", 3)]

    def test_deleted_words_leave_it(self) -> None:
        top = State(3, [(b"a", 1), (b"b", 2)], empty=True)
        changelog = Changelog()
        changelog.own(0, 0)
        changelog.add(
            Inbox([record(key=b"b", offset=0), record(key=b"c", offset=1, value=eight(7)), record(key=b"d", offset=2)])
        )
        assert top.take(changelog.totals(0, [eight(2), None, None]))
        assert top.top() == [(b"c", 7), (b"a", 1)]

    def test_a_total_that_fell_is_shown_as_it_is(self) -> None:
        top = State(3, [(b"a", 5), (b"b", 4), (b"c", 3)], empty=True)
        assert top.take(aggregate([(0, b"a", -4)]).totals(0, [eight(5)]))
        assert top.top() == [(b"b", 4), (b"c", 3), (b"a", 1)]

    def test_refuses_what_is_no_size(self) -> None:
        with pytest.raises((OverflowError, ValueError)):
            State(-1, empty=True)


def test_words_that_are_passed_on_keep_the_time_of_their_oldest_line() -> None:
    combiner = _core.Combiner("ascii", 4)
    combiner.own(0, 0)
    combiner.add(_core.Inbox([(0, 0, None, b"a b c d e f", 9), (0, 1, None, b"g", 5)]))
    mixed = combiner.mixed([0] * 4, 1 << 16)
    [(_, key, value)] = [mixed[place] for place in range(len(mixed))]
    aggregator = _core.Aggregator(4)
    aggregator.own(0, 0)
    aggregator.add(_core.Inbox([(0, 0, key, value, mixed.line_time)]))
    forwarded = aggregator.forwarded(1 << 16)
    assert len(forwarded) == 3, "a record for each of the other partitions"
    assert (mixed.line_time, forwarded.line_time, aggregator.line_times()) == (5, 5, [(5, 7)])
    aggregator.clear()
    assert aggregator.line_times() == []
