"""`wcsup verify --history`: the analyses of Jepsen's Kafka workload, made of what Kafka still has of the application.

Jepsen (`jepsen.tests.kafka`) records what each client sent and polled, and looks for orders of these that must not be.
Here nobody recorded anything. The history is the logs of the topics, of the groups' offsets (`__consumer_offsets`) and
of the coordinators' decisions (`__transaction_state`), and the application is a black box. What a worker polled between
two commits lies between the offsets of the two; what it sent is what its transaction wrote. Each commit has to send the
fold of what it polled: this one rule finds what Jepsen finds by values that are unique.

| kind | in Jepsen's workload | here |
|---|---|---|
| `aborted-read` | G1a: a value is polled whose writer failed | 1, 2 |
| `lost-write` | a value below the highest offset polled never is | 1, 2, 3 |
| `duplicate` | a value at two offsets | 2, 3 |
| `inconsistent-offsets` | two values at one offset | 4 |
| `nonmonotonic-poll` | polls go back | a group's offset falls |
| `nonmonotonic-send` | sends go back | a word's total does not rise; a producer's epoch falls |
| `write-cycle` | G0 | a cycle in the order of commits, by totals and by offsets |
| `open-transaction` | | records of a transaction that is over have no marker |

1. A marker says something else than its coordinator decided, or the coordinator decided nothing.
2. A commit did not send the fold of what it polled: it counted records of aborted transactions, left something out, or
   has something more.
3. A producer's sequence number comes again, or one is missing.
4. A group's offset differs from the position of the same commit, is behind the end of its topic, or was set by others.

Kafka allows G0, and mappers write to `words` in any order. But only one reducer at a time may write the totals and the
offsets of a partition: among these a cycle is an error.

Jepsen's analysis of Bufstream 0.1.0 (2024) describes how late requests cause aborted reads, lost writes and torn
transactions on any Kafka. Here they are markers that contradict the coordinator.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from wcsup.audit.history import HistoryReport, TopicSeen
from wcsup.audit.pending import entries
from wcsup.audit.recount import words
from wcsup.audit.transactions import Anomaly, Decided, Kind, OneTransaction, Part, PartitionLog, told
from wcsup.config import Config, WordRule
from wcsup.kafka import positions
from wcsup.kafka.encoding import Answer
from wcsup.kafka.hanging import OFFSETS
from wcsup.kafka.outcomes import Step
from wcsup.kafka.positions import Position
from wcsup.kafka.requests import Place
from wcsup.pipeline.records import readable

Record = tuple[int, int, bytes | None, bytes | None]
"""Partition, offset, key and value."""
Contents = Callable[[str, Mapping[int, tuple[int, int]]], Iterator[Record]]
"""Returns the records of a topic, committed or not, between two offsets of each partition, in their order."""


@dataclass(slots=True)
class Gathered:
    """The history as it was read."""

    config: Config
    ids: Mapping[str, str]
    """Topic ids by plain name."""
    logs: Mapping[Place, PartitionLog]
    steps: Mapping[str, list[Step]]
    """By `transactional.id`, what its coordinator wrote down."""
    rests: Mapping[str, Mapping[Place, int]]
    """By `transactional.id`, each partition's end at a moment of rest, as in `Decided`."""
    contents: Contents
    starts: Callable[[str], Mapping[int, int]]
    """Returns where the partitions of a topic, given by its plain name, start now: counted records are deleted."""
    unknown_producers: int = 0
    """Producers of `words` and `counts` whose names are not known."""


@dataclass(frozen=True, slots=True)
class _Offset:
    """A group's offset as it was committed."""

    input: tuple[str, int]
    """The plain name of the topic, and the partition."""
    next: int
    position: Position | None
    place: Place
    """The partition of `__consumer_offsets`."""
    at: int
    part: Part | None
    """The transaction's part there; none where somebody committed it without a transaction."""


@dataclass(slots=True)
class Fold:
    """How often each word is in something, as two numbers: they are equal where the words and counts are.

    The second number is a sum of the words' hashes. Two folds that differ are equal in it once in 2^64 (SipHash, keyed
    anew in each process), and it takes no memory for the words.
    """

    words: int = 0
    mix: int = 0

    def add(self, word: bytes, count: int) -> None:
        """Add a word."""
        self.words += count
        self.mix += count * hash(word)

    def join(self, other: "Fold") -> None:
        """Add another fold."""
        self.words += other.words
        self.mix += other.mix

    def minus(self, other: "Fold") -> tuple[int, int]:
        """Return the difference."""
        return self.words - other.words, self.mix - other.mix

    @property
    def pair(self) -> tuple[int, int]:
        """Both numbers."""
        return self.words, self.mix


@dataclass(slots=True, eq=False)
class _Commit:
    """A committed transaction, with what it polled and what it sent."""

    one: OneTransaction
    moved: dict[tuple[str, int], int] = field(default_factory=dict)
    """The next offsets that it committed, by topic and partition."""
    polled: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """The same with the offsets before, where they are known."""
    unknown: str | None = None
    """Why it can't be compared."""
    doubtful: str | None = None
    """Why a difference says nothing."""
    read: Fold = field(default_factory=Fold)
    aborted: Fold = field(default_factory=Fold)
    """The records of aborted transactions among what it polled."""
    wrote: Fold = field(default_factory=Fold)
    single: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """Partition and offset of a record that it polled, by the record's fold."""

    @property
    def idle(self) -> bool:
        """Whether it read and wrote nothing, such as one that only publishes top words."""
        return not any((*self.wrote.pair, *self.read.pair)) and all(a == b for a, b in self.polled.values())

    @property
    def who(self) -> str:
        return told(self.one.name, self.one.decision.producer, self.one.decision.epoch)


def _folded(counts: Iterable[tuple[bytes, int]]) -> Fold:
    fold = Fold()
    for word, count in counts:
        fold.add(word, count)
    return fold


class _Cursor:
    """Goes through a partition's records and batches side by side.

    Between the reading of the two, records may have been deleted or compacted: then what the log had is missing.
    """

    def __init__(self, log: PartitionLog, start: int, torn: dict[Place, int]) -> None:
        """`torn` takes the offset of the last record of a place that the log had, and that is missing."""
        self._log, self._torn, self._due = log, torn, start
        self._batches = log.written()
        self._first, self._last, self._part = next(self._batches, self._behind)

    @property
    def _behind(self) -> tuple[int, int, Part | None]:
        return self._log.end, 1 << 63, None

    def reach(self, at: int) -> Part | None:
        """Go on to the record at an offset; return whose it is. Records between this one and the last are missing."""
        while self._last < at:
            self._miss(self._last)
            self._first, self._last, self._part = next(self._batches, self._behind)
        self._miss(at - 1)
        self._due = at + 1
        return self._part if self._first <= at else None

    def _miss(self, last: int) -> None:
        """Take note that the batch's records up to `last` are missing, as far as they are due."""
        if max(self._due, self._first, self._log.whole_from) <= last:
            self._torn[self._log.place] = last
            if self._part is not None:
                self._part.whole = False


def judge(found: Gathered) -> HistoryReport:
    """Make all analyses of a history."""
    return _Analysis(found).run()


class _Analysis:
    """The analyses, in the order of the module's table where one does not need another one."""

    def __init__(self, found: Gathered) -> None:
        self._found, self._config, self._logs = found, found.config, found.logs
        self._history = HistoryReport()
        self._decided = [Decided(name, steps, found.rests.get(name)) for name, steps in found.steps.items()]
        self._commits: dict[OneTransaction, _Commit] = {}
        self._before: dict[OneTransaction, set[OneTransaction]] = defaultdict(set)
        """For each commit, those that have to be before it."""
        self._torn: dict[Place, int] = {}
        """Up to which offset records of a partition disappeared while it was read."""
        self._rule: WordRule = found.config.words

    def run(self) -> HistoryReport:
        history = self._history
        for log in self._logs.values():
            for decided in self._decided:
                decided.join(log)
        for decided in self._decided:
            history.transactions += len(decided.transactions)
            history.anomalies += decided.anomalies
            if decided.name not in self._found.rests:
                history.undecided.append(
                    f"{decided.name} always had a transaction under way: its last ones are not known"
                )
            for one in decided.transactions:
                if one.decision.commit:
                    self._commits[one] = _Commit(one)
        self._look_at_logs()
        self._follow_offsets()
        self._compare_positions()
        self._weigh()
        self._order()
        return history

    def _look_at_logs(self) -> None:
        names = {producer: decided.name for decided in self._decided for producer in decided.producers}
        open_producers: set[int] = set()
        by_topic: dict[str, TopicSeen] = {}
        for (topic, _), log in self._logs.items():
            self._history.anomalies += [_named(one, names) for one in log.anomalies]
            open_producers |= {part.producer for part in log.open()}
            seen = by_topic.setdefault(self._plain(topic), TopicSeen(0, 0, 0, 0))
            seen.offsets += log.end
            seen.missing += log.end - log.records - sum(part.marker is not None for part in log.parts)
            seen.records += log.records
            seen.plain += log.plain
        self._history.topics = by_topic
        self._history.unknown_producers = self._found.unknown_producers
        hanging = {one.producer for one in self._history.anomalies if one.kind == "open-transaction"}
        self._history.going_on = len(open_producers - hanging)

    def _plain(self, topic: str) -> str:
        return topic.removeprefix(self._config.topic_prefix)

    # The groups' offsets

    def _follow_offsets(self) -> None:
        """Follow each input partition's offsets through the commits: they rise, and are what workers committed."""
        last: dict[tuple[str, int], tuple[int, int]] = {}
        writer: dict[tuple[str, int], OneTransaction] = {}
        complete = {place for place, log in self._logs.items() if place[0] == OFFSETS and log.complete}
        for one in self._offsets():
            if one.part is not None and not one.part.commit:
                continue
            before, at = last.get(one.input, (0 if one.place in complete else None, -1))
            last[one.input] = one.next, one.at
            self._check_offset(one, before)
            commit = self._commit(one.part)
            if commit is None:
                writer.pop(one.input, None)
                continue
            commit.moved[one.input] = one.next
            if before is None or at < self._torn.get(one.place, -1):
                commit.unknown = "what they read begins before the oldest offset that __consumer_offsets has"
            else:
                # librdkafka sends offsets again where a coordinator's answer is late: the transaction has them twice.
                first, _ = commit.polled.get(one.input, (before, one.next))
                commit.polled[one.input] = first, one.next
            if one.position is not None and one.input[0] == "lines":
                self._rule = "unicode" if one.position.words == "unicode" else "ascii"
            former = writer.get(one.input)
            if former is not None and former is not commit.one:
                self._before[commit.one].add(former)
            writer[one.input] = commit.one

    def _check_offset(self, one: _Offset, before: int | None) -> None:
        stage, partition = one.input
        at = f"{self._config.topic(stage)}, partition {partition}"
        who = self._writer(one.part)
        if one.part is None and before is not None and before != one.next:
            what = f"the offset of {at} was set from {before} to {one.next} without a transaction"
            self._report("inconsistent-offsets", what, one.place, one.at, None)
        elif before is not None and one.next < before:
            what = f"{who} moved the offset of {at} back from {before} to {one.next}"
            self._report("nonmonotonic-poll", what, one.place, one.at, one.part)
        end = self._logs[self._config.topic(stage), partition].end
        if one.next > end:
            what = f"{who} committed offset {one.next} of {at}, which ends at {end}"
            self._report("inconsistent-offsets", what, one.place, one.at, one.part)
        if one.part is not None and (one.position is None or one.position.offset not in {None, one.next}):
            said = "no position" if one.position is None else f"position {one.position.offset}"
            what = f"{who} committed offset {one.next} of {at} with {said}"
            self._report("inconsistent-offsets", what, one.place, one.at, one.part)

    def _offsets(self) -> Iterator[_Offset]:
        """Yield the offsets of both groups, in the order of `__consumer_offsets`."""
        names = {self._config.topic(stage): stage for stage in positions.STAGES}
        groups = {positions.group(self._config, stage): stage for stage in positions.STAGES}
        for place, at, key, value, part in self._records(OFFSETS):
            read = _committed_offset(key, value)
            if read is None:
                continue
            group, topic, partition, offset, metadata = read
            stage = names.get(topic)
            if stage is None or groups.get(group) != stage or (topic, partition) not in self._logs:
                continue
            position = Position.read(metadata)
            if position is None or position.input == self._found.ids[stage]:  # else of a topic that is gone
                yield _Offset((stage, partition), offset, position, place, at, part)

    def _compare_positions(self) -> None:
        """Compare the recorded positions of each transaction with the offsets of its group."""
        recorded: dict[_Commit, dict[tuple[str, int], int]] = defaultdict(dict)
        parts: dict[_Commit, Part] = {}
        keys = {positions.key(s, p): (s, p) for s in positions.STAGES for p in range(self._config.partitions)}
        for _, _, key, value, part in self._records(self._config.topic("positions")):
            read, where, commit = Position.read(value or b""), keys.get(key or b""), self._commit(part)
            if part is None or commit is None or where is None or read is None:
                continue
            if read.input == self._found.ids[where[0]]:
                recorded[commit][where] = read.offset or 0
                parts[commit] = part
        for commit, said in recorded.items():
            part = parts[commit]
            of_group = [one for place, one in commit.one.parts.items() if place[0] == OFFSETS]
            if not all(one.whole for one in (part, *of_group)) or not of_group:
                continue
            for where in sorted(said.keys() | commit.moved.keys()):
                offset, (before, _) = commit.moved.get(where), commit.polled.get(where, (None, None))
                position = said.get(where, before)  # a position that did not change is not written
                if position is not None and position != offset:
                    at = f"{self._config.topic(where[0])}, partition {where[1]}"
                    what = f"{commit.who} has position {position} of {at}, and offset {offset} for its group"
                    self._report("inconsistent-offsets", what, part.place, part.first, part)

    # What commits polled and sent

    def _weigh(self) -> None:
        """Compare what each commit sent with the fold of what it polled."""
        for commit in self._commits.values():
            commit.unknown = commit.unknown or self._unknown(commit.one)
            letters = self._config.topic("dead-letters")
            if any(place[0] == letters for place in commit.one.decision.places):
                commit.doubtful = "they wrote dead letters, so that they wrote less than they read"
        self._leave_out_deleted({stage: self._starts(stage) for stage in positions.STAGES})
        self._read_words()
        self._read_totals()
        self._read_lines()
        self._leave_out_deleted({stage: self._found.starts(stage) for stage in positions.STAGES})
        for commit in self._commits.values():
            difference = commit.wrote.minus(commit.read)
            if commit.unknown is None and commit.idle:
                commit.unknown = "they read nothing, and wrote no words or totals"
            why = commit.unknown or self._unknown(commit.one) or (commit.doubtful if any(difference) else None)
            if why is not None:
                self._history.unjudged[why] = self._history.unjudged.get(why, 0) + 1
                continue
            self._history.judged += 1
            if any(difference):
                self._report_difference(commit, difference)

    def _unknown(self, one: OneTransaction) -> str | None:
        """Return why it can't be known what a transaction wrote; none where it can."""
        if one.name == f"{self._config.app_id}-moving":
            return "they made the application's topics anew (wcsup restore, wcsup repartition)"
        looked_at = {self._config.topic(name) for name in ("words", "counts")} | {OFFSETS}
        for place in one.decision.places:
            if place[0] in looked_at and place in self._logs:
                part = one.parts.get(place)
                if part is None or not part.whole:
                    return (
                        f"what they wrote to {self._plain(place[0])} is deleted, or can't be told from others' records"
                    )
        return None

    def _starts(self, stage: str) -> dict[int, int]:
        """Return where the partitions of a topic started when their logs were read."""
        topic = self._config.topic(stage)
        return {place[1]: log.start for place, log in self._logs.items() if place[0] == topic}

    def _leave_out_deleted(self, starts: Mapping[str, Mapping[int, int]]) -> None:
        """Leave out commits of which something that they read or wrote is deleted."""
        internal = self._config.topic("words")
        for commit in self._commits.values():
            for (stage, partition), (before, end) in commit.polled.items():
                if before < end and before < starts[stage][partition]:
                    commit.unknown = commit.unknown or f"the {stage} that they read are deleted"
            for (topic, partition), part in commit.one.parts.items():
                if topic == internal and (part.first or 0) < starts["words"][partition]:
                    commit.unknown = commit.unknown or "the words that they wrote are deleted"

    def _polled(self, stage: str) -> dict[int, deque[tuple[int, int, _Commit]]]:
        """Return by partition, in order, what commits that can be compared polled of a topic: the offset, the next."""
        polled: dict[int, list[tuple[int, int, _Commit]]] = defaultdict(list)
        for commit in self._commits.values():
            for (name, partition), (before, end) in commit.polled.items():
                if name == stage and before < end and commit.unknown is None:
                    polled[partition].append((before, end, commit))
        return defaultdict(deque, {p: deque(sorted(some, key=lambda one: one[:2])) for p, some in polled.items()})

    def _read_words(self) -> None:
        topic = self._config.topic("words")
        polled = self._polled("words")
        under_way: dict[int, list[tuple[int, int, _Commit]]] = defaultdict(list)
        for place, at, key, value, part in self._records(topic):
            fold = _folded(entries(key, value))
            committed = part is None or part.commit
            if (writer := self._commit(part)) is not None:
                writer.wrote.join(fold)
            ranges, now = polled[place[1]], under_way[place[1]]
            while ranges and ranges[0][0] <= at:
                now.append(ranges.popleft())
            now[:] = [one for one in now if at < one[1]]
            for _, _, commit in now:
                (commit.read if committed else commit.aborted).join(fold)
                commit.single[fold.pair] = place[1], at

    def _read_totals(self) -> None:
        """Follow each word's totals: they rise, and the rise belongs to the commit that wrote the total."""
        topic = self._config.topic("counts")
        totals: dict[Place, dict[bytes, tuple[int, int]]] = defaultdict(dict)
        for place, at, key, value, part in self._records(topic):
            if part is not None and not part.commit:
                continue
            if key is None:
                continue
            last = totals[place]
            if value is None or len(value) not in {4, 8}:
                last.pop(key, None)
                continue
            total = int.from_bytes(value, "big", signed=True)
            before, written_at = last.get(key, (None, -1))
            last[key] = total, at
            commit = self._commit(part)
            if before is not None and total <= before:
                what = f"{self._writer(part)} wrote total {total} of {_word(key)} after {before}"
                self._report("nonmonotonic-send", what, place, at, part)
            if commit is not None:
                gone = before is None and not self._logs[place].complete
                if gone or written_at < self._torn.get(place, -1):
                    commit.doubtful = "compaction took the totals that they changed"
                commit.wrote.add(key, total - (before or 0))

    def _read_lines(self) -> None:
        topic = self._config.topic("lines")
        polled = self._polled("lines")
        wanted = {p: (min(one[0] for one in some), max(one[1] for one in some)) for p, some in polled.items()}
        for place, at, _, value, part in self._records(topic, wanted):
            ranges = polled[place[1]]
            while ranges and ranges[0][1] <= at:
                ranges.popleft()
            if value is None or (part is not None and not part.commit):
                continue
            fold = None
            for before, end, commit in ranges:
                if before > at:
                    break
                if at < end:
                    fold = fold or _folded(Counter(words(value, self._rule)).items())
                    commit.read.join(fold)

    def _report_difference(self, commit: _Commit, difference: tuple[int, int]) -> None:
        count, mix = difference
        sent = f"{commit.who} wrote {commit.wrote.words:,} words where it read {commit.read.words:,}"
        kind: Kind = "lost-write" if count < 0 else "duplicate"
        if difference == commit.aborted.pair:
            kind, sent = "aborted-read", f"{sent}: it counted the records of aborted transactions among these"
        elif (missed := commit.single.get((-count, -mix))) is not None:
            sent = f"{sent}: the record at offset {missed[1]} of words, partition {missed[0]}, is missing"
        elif (twice := commit.single.get(difference)) is not None:
            sent = f"{sent}: the record at offset {twice[1]} of words, partition {twice[0]}, is in it twice"
        elif not count:
            kind, sent = "lost-write", f"{sent}, and they are others"
        part = min(commit.one.parts.values(), key=self._weight)
        self._report(kind, sent, part.place, part.first, part)

    def _weight(self, part: Part) -> tuple[int, Place]:
        """Sort the parts of a transaction by how well they tell where to look."""
        order = [self._config.topic("counts"), self._config.topic("words"), OFFSETS]
        return (order.index(part.place[0]) if part.place[0] in order else len(order)), part.place

    # Order

    def _order(self) -> None:
        """Look for a cycle in the order in which commits wrote totals and offsets."""
        counts = self._config.topic("counts")
        for place, log in self._logs.items():
            if place[0] == counts:
                wrote = [commit.one for _, _, part in log.written() if (commit := self._commit(part)) is not None]
                for former, later in pairwise(wrote):
                    if former is not later:
                        self._before[later].add(former)
        try:
            TopologicalSorter(self._before).prepare()
        except CycleError as error:
            cycle: list[OneTransaction] = error.args[1]
            names = " before ".join(self._commits[one].who for one in cycle)
            part = min(cycle[0].parts.values(), key=self._weight)
            what = f"the order in which partitions have these is a circle: {names}"
            self._report("write-cycle", what, part.place, part.first, part)

    # Common

    def _records(
        self, topic: str, wanted: Mapping[int, tuple[int, int]] | None = None
    ) -> Iterator[tuple[Place, int, bytes | None, bytes | None, Part | None]]:
        """Yield place, offset, key, value and transaction of the records of a topic, in each partition's order."""
        logs = {place[1]: log for place, log in self._logs.items() if place[0] == topic}
        spans = {p: (log.start, log.end) for p, log in logs.items()} if wanted is None else wanted
        cursors = {p: _Cursor(logs[p], start, self._torn) for p, (start, _) in spans.items()}
        for partition, at, key, value in self._found.contents(topic, spans):
            if at >= logs[partition].start:
                yield logs[partition].place, at, key, value, cursors[partition].reach(at)
        for partition, (_, end) in spans.items():
            cursors[partition].reach(end)

    def _commit(self, part: Part | None) -> _Commit | None:
        """Return the commit that a part is of; none where it is of none, or not known."""
        return None if part is None or part.transaction is None else self._commits.get(part.transaction)

    def _writer(self, part: Part | None) -> str:
        if part is None:
            return "a program without a transaction"
        return told(part.transaction.name if part.transaction is not None else None, part.producer, part.epoch)

    def _report(self, kind: Kind, what: str, place: Place, offset: int | None, part: Part | None) -> None:
        name = part.transaction.name if part is not None and part.transaction is not None else None
        producer, epoch = (None, None) if part is None else (part.producer, part.epoch)
        self._history.anomalies.append(Anomaly(kind, what, *place, offset, name, producer, epoch))


def _named(one: Anomaly, names: Mapping[int, str]) -> Anomaly:
    """Return an anomaly of a log with the name of its producer, where that is known."""
    name = names.get(one.producer) if one.producer is not None else None
    return replace(one, transactional_id=name, what=f"{name}: {one.what}") if name else one


def _committed_offset(key: bytes | None, value: bytes | None) -> tuple[str, str, int, int, str] | None:
    """Read a record of `__consumer_offsets` (`OffsetCommitKey`, `OffsetCommitValue` of Kafka); none for another one.

    Returns group, topic, partition, offset and metadata.
    """
    if key is None or value is None:
        return None
    answer = Answer(key)
    if answer.number("h") > _LAST_OFFSET_KEY:
        return None
    group, topic, partition = answer.string(), answer.string(), answer.number("i")
    answer = Answer(value)
    version, offset = answer.number("h"), answer.number("q")
    if version >= _WITH_LEADER_EPOCH:
        answer.take("i")
    metadata = answer.compact_string() if version >= _FLEXIBLE else answer.string()
    return group, topic, partition, offset, metadata.rstrip("\0")  # librdkafka sends the end of a C string, too


_LAST_OFFSET_KEY = 1
"""The last version of the key that means a group's offset; later ones are of groups and members."""
_WITH_LEADER_EPOCH, _FLEXIBLE = 3, 4


def _word(word: bytes) -> str:
    return repr(readable(word[:_WORD_BYTES]))


_WORD_BYTES = 60
