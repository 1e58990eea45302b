"""`wcsup verify`: compares every total with a recount of the lines, and every store with the totals.

The application goes on meanwhile, so the result is a lower and an upper bound on each total. If nothing moved during
the reading, the two bounds meet, and the total is exact. The proof needs these steps in this order:

1. Read `M`, the mappers' offsets. Recount the lines below `M`, without lines in `dead-letters`. If many lines were
   mapped meanwhile, repeat the step for these. The recount is `base`.
2. Read `R`, the reducers' offsets, and the end of `words`. The sum of the records between the two is `pending`.
3. Read `counts`, up to an end that is requested after step 2, and compare each local store on the way.
4. Read the offsets again, as `M'` and `R'`. The recount of the lines from `M` to `M'` is `extra`.

A total is at least `base - pending`. The `words` records of the lines below `M` were committed together with `M`, which
was read before the end of `words`: so they are below that end. Those of them below `R` are in the totals, which were
committed together with `R` and read after it, or their words were forwarded to another partition of `words` in the same
commit, and are records there. All other ones are `pending`.

A total is at most `base + extra`. The `words` records of a total that was read were committed before, together with
mappers' offsets, and `M'` was read later. Reading offsets waits for pending transactions.

If `R' = R` in a partition, the words pending there are in no total and in no other partition. All records below the end
of `words` are of lines below `M'`. So there a total is at most `base + extra` minus these pending words. If `M' = M`
and `R' = R` in all partitions, this upper bound equals the lower bound.

The proof is about records that the application wrote. Records that other programs wrote to `words` are of no line: they
are found as disagreements.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from wcsup import _core
from wcsup.audit import logs, stores
from wcsup.audit.lines import Lines, Recount
from wcsup.audit.pending import entries
from wcsup.audit.reading import GroupProgress, HeldBackError, TopicReader
from wcsup.audit.stores import Fold, StoreCheck, StoreDifference
from wcsup.audit.verdict import Disagreement, Verdict, short
from wcsup.config import Config, WordRule
from wcsup.errors import ConfigurationError
from wcsup.kafka import clients, moving, topics
from wcsup.pipeline.records import readable

_FEW_LINES = 1000
"""If fewer lines than this were mapped during a recount, step 1 is not repeated for them."""
_NEVER = 1 << 63
_SETTLED = -1

OnProgress = Callable[[str, int, int], None]
"""Called with what is being read, how much of it is read, and how much there is."""


def verify(
    config: Config, *, shown: int = 20, history: bool = False, on_progress: OnProgress = lambda *_: None
) -> Verdict:
    """Compare the totals with the committed lines, and local stores with the totals.

    All disagreements are counted; `shown` is how many of them are kept. With `history` the history is looked at, too
    (`wcsup.audit.analyses`). Raises `ConfigurationError` where nothing was
    counted yet, and while topics are made anew with the totals.
    """
    admin = clients.admin(config)
    moving.refuse(config, admin)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    for topic in map(config.topic, topics.NAMES):
        if topic not in listed:
            what = f"topic {topic} does not exist; start wcsup run"
            # An older wcsup counted without the topic `positions`; the application's next run makes the topic.
            raise ConfigurationError(what if topic == config.topic("positions") else f"nothing was counted yet: {what}")
    config = replace(config, partitions=len(listed[config.topic("lines")].partitions))
    with closing(TopicReader(config, admin)) as reader:
        verdict = _Verification(config, reader, topics.identity(admin, config), shown, on_progress).run()
    if history:
        verdict.history = logs.history(config, admin, partial(on_progress, "history"))
    return verdict


class _Verification:
    """The steps, numbered as in the module's docstring."""

    def __init__(
        self, config: Config, reader: TopicReader, identity: topics.Identity, shown: int, on_progress: OnProgress
    ) -> None:
        self._config, self._reader, self._identity, self._on_progress = config, reader, identity, on_progress
        self._lines = Lines(config, reader)
        self._verdict = Verdict(config.words, shown)
        self._base, self._extra = Recount(), Recount()
        self._pending: Counter[bytes] = Counter()
        self._elsewhere: dict[bytes, Counter[int]] = {}
        """The part of it in records of another partition than the word's own, by partition."""
        self._bounded = True
        """Whether the lines bound the totals from above; false where lines are deleted."""
        self._suspects: dict[tuple[bytes, int], tuple[int, int]] = {}
        """Totals that differ from the recount, with the offset of each, by word and partition."""

    def run(self) -> Verdict:
        """Make all steps; if a step can't be completed, the verdict says so."""
        began, verdict = time.monotonic(), self._verdict
        try:
            self._verify()
        except HeldBackError as error:
            verdict.undecided.append(str(error))
        for lines in (self._base, self._extra):
            verdict.lines += lines.counted
            verdict.null_lines += lines.null
            verdict.rejected_lines += lines.rejected
        verdict.finish(time.monotonic() - began)
        return verdict

    def _verify(self) -> None:
        # Step 1
        mapped = self._catch_up()
        # Step 2
        reduced = self._reduced()
        if any(reduced.values()) and not any(mapped.values()):
            self._lines_gone("lines has no committed offsets, though words were counted: it was deleted and made again")
        self._read_pending(reduced)
        # Step 3
        self._verdict.words, self._verdict.distinct = self._base.words.total(), len(self._base.words)
        local = stores.find(self._config)
        for partition in range(self._config.partitions):
            self._on_progress("counts", partition, self._config.partitions)
            self._compare(partition, local.get(partition))
        # Step 4
        mapped_after, reduced_after = self._mapped(), self._reduced()
        self._recount(mapped, mapped_after, self._extra)
        self._verdict.words += self._extra.words.total()
        self._verdict.distinct += sum(word not in self._base.words for word in self._extra.words)
        still = {p for p, offset in reduced.items() if reduced_after[p] == offset}
        if any(self._reader.starts("lines").values()):  # asked last, since lines may be deleted at any time
            self._lines_gone("the first lines were deleted (retention)")
        self._judge(still)
        for partition, offset in self._lines.twice:
            what = f"line {offset} of partition {partition} is in dead-letters twice"
            self._verdict.add(Disagreement(what, None, self._config.topic("lines"), partition, offset))
        ends = self._reader.ends("lines")
        self._verdict.lines_waiting = sum(ends[p] - offset for p, offset in mapped_after.items())

    def _mapped(self) -> dict[int, int]:
        """Return the mappers' offsets."""
        progress = self._reader.progress("lines", self._identity.topics["lines"])
        for position in progress.positions:  # the application's word rule, whatever this command's `--words`
            self._verdict.rule = cast(WordRule, position.words)
        if progress.remade:
            self._lines_gone("topic lines was deleted and made again")
        return self._within("lines", progress)

    def _reduced(self) -> dict[int, int]:
        """Return the reducers' offsets."""
        progress = self._reader.progress("words", self._identity.topics["words"])
        if any(position.counts != self._identity.topics["counts"] for position in progress.positions):
            self._undecided("topic counts was deleted and made again, and the totals from before are lost")
        return self._within("words", progress)

    def _within(self, name: str, progress: GroupProgress) -> dict[int, int]:
        starts, ends = self._reader.starts(name), self._reader.ends(name)
        if any(offset > ends[p] for p, offset in progress.next.items()):
            self._undecided(f"{name} ends before the offsets that were committed of it: Kafka lost records")
        return {p: min(max(offset, starts[p]), ends[p]) for p, offset in progress.next.items()}

    def _lines_gone(self, why: str) -> None:
        """Take note that counted lines are deleted, so that they can't be recounted."""
        self._bounded = False
        self._undecided(f"{why}: nothing says how high totals may be")

    def _undecided(self, why: str) -> None:
        if why not in self._verdict.undecided:
            self._verdict.undecided.append(why)

    def _catch_up(self) -> dict[int, int]:
        """Recount the mapped lines, then those mapped meanwhile, as long as they become fewer; return `M`."""
        at = self._reader.starts("lines")
        last = _NEVER
        while True:
            mapped = self._mapped()
            todo = sum(mapped[p] - at[p] for p in at)
            if last < _NEVER and (todo < _FEW_LINES or todo > last // 2):
                return at
            self._recount(at, mapped, self._base)
            at, last = mapped, todo

    def _recount(self, first: Mapping[int, int], end: Mapping[int, int], into: Recount) -> None:
        self._lines.recount(first, end, self._verdict.rule, into, partial(self._on_progress, "lines"))

    def _read_pending(self, reduced: Mapping[int, int]) -> None:
        """Add up the records of `words` that no reducer has committed."""
        ends = self._reader.ends("words")
        for messages in self._reader.read("words", {p: (reduced[p], ends[p]) for p in ends}):
            for message in messages:
                partition = message.partition() or 0
                for word, count in entries(message.key(), message.value()):
                    self._pending[word] += count
                    if _core.partition(word, self._config.partitions) != partition:
                        self._elsewhere.setdefault(word, Counter())[partition] += count

    def _waiting(self, word: bytes, home: int, still: set[int]) -> int:
        """Return how often a word of the partition `home` is pending in the partitions `still`."""
        elsewhere = self._elsewhere.get(word, Counter())
        at_home = self._pending[word] - sum(elsewhere.values())
        return sum(count for p, count in elsewhere.items() if p in still) + (at_home if home in still else 0)

    def _compare(self, partition: int, path: Path | None) -> None:
        """Read a partition of `counts`; compare it with the recount, and the partition's local store with it."""
        partitions = self._config.partitions
        check = stores.load(partition, path, self._identity, partitions) if path else StoreCheck(partition, "absent")
        start, end = self._reader.starts("counts")[partition], self._reader.ends("counts")[partition]
        check.place(start, end)
        stamp = check.stamp.next_offset if check.stamp else _NEVER
        fold: Fold = {}
        for messages in self._reader.read("counts", {partition: (start, end)}):
            for message in messages:
                offset, word, value = message.offset() or 0, message.key(), message.value()
                if offset >= stamp:
                    self._differ(check, stores.compare(check, fold))
                    stamp = _NEVER
                if word is None:
                    continue
                if value is None:
                    fold.pop(word, None)
                elif len(value) in {8, 4}:
                    fold[word] = (int.from_bytes(value, "big", signed=True), offset)
        if stamp != _NEVER:
            self._differ(check, stores.compare(check, fold))
        self._differ(check, stores.resolve(check, fold))
        self._verdict.unresolved += len(check.unresolved)
        if path:
            self._verdict.stores[partition] = check.result
        if check.broken:
            self._verdict.add(
                Disagreement(check.broken, None, self._config.topic("counts"), partition, None, store=True)
            )
        self._match(partition, fold)

    def _differ(self, check: StoreCheck, differences: list[StoreDifference]) -> None:
        topic = self._config.topic("counts")
        for one in differences:
            check.result = "differ"
            what = f"{short(one.word)}: {_total(one.in_store)} in the store of partition {check.partition}, "
            what += f"{_total(one.in_counts)} in {topic}" + (
                f" at offset {one.offset}" if one.offset is not None else ""
            )
            expected = one.in_counts or 0
            self._verdict.add(
                Disagreement(
                    what,
                    readable(one.word),
                    topic,
                    check.partition,
                    one.offset,
                    one.in_store,
                    expected,
                    expected,
                    store=True,
                )
            )

    def _match(self, partition: int, fold: Fold) -> None:
        """Drop totals that equal the recount, which are nearly all; keep the other ones for the last step."""
        base, pending, partitions = self._base.words, self._pending, self._config.partitions
        for word, found in fold.items():
            if base.get(word) == found[0] and word not in pending and _core.partition(word, partitions) == partition:
                base[word] = _SETTLED
            else:
                self._suspects[word, partition] = found

    def _judge(self, still: set[int]) -> None:
        """Compare the kept totals with their bounds; in the partitions `still`, reducers' offsets have not moved."""
        base, extra, pending = self._base.words, self._extra.words, self._pending
        homes = {word: _core.partition(word, self._config.partitions) for word in pending.keys() | extra.keys()}
        for word, home in homes.items():
            self._verdict.loose += bool(extra[word] + pending[word] - self._waiting(word, home, still))
        candidates = dict.fromkeys(self._suspects)
        for word in [*pending, *(word for word, count in base.items() if count != _SETTLED)]:
            candidates[word, _core.partition(word, self._config.partitions)] = None
        for word, partition in candidates:
            found = self._suspects.get((word, partition))
            total, offset = found or (None, None)
            home = _core.partition(word, self._config.partitions)
            if home == partition:
                least = base[word] - pending[word]
                most = base[word] + extra[word] - self._waiting(word, home, still) if self._bounded else None
                stray = ""
            else:
                least = most = 0
                stray = f"; the word belongs in partition {home}"
            if least <= (total or 0) and (most is None or (total or 0) <= most):
                continue
            topic = self._config.topic("counts")
            what = f"{short(word)}: {_total(total)} in {topic}, partition {partition}"
            what += "" if offset is None else f", offset {offset}"
            what += f"; the lines have {_range(least, most)}{stray}"
            self._verdict.add(Disagreement(what, readable(word), topic, partition, offset, total, least, most))


def _total(total: int | None) -> str:
    return "nothing" if total is None else f"{total:,}"


def _range(least: int, most: int | None) -> str:
    if most is None:
        return f"{least:,} at least"
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
