"""Lines of text, from a seed or a book, and what is truly in them."""

import marshal
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path

from benches.peers.artifacts import MissingError

from wcsup.audit.recount import recount

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BATCH = 12_000
VOCABULARY = 12_000
MANY = 5_000_000
DISTINCT_LINES = 600_000
"""So many lines of prose are made; a longer text has them again, in the same order."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of text."""

    name: str
    sizes: tuple[int, ...]
    """How many lines, by default: two sizes tell start-up from throughput."""
    full: tuple[int, ...]
    """How many lines in the run that is published."""
    make: Callable[[], Iterator[list[bytes]]]
    note: str
    needs: Callable[[], object] = lambda: None
    """Raises `MissingError` where the text is not to be had."""

    def batches(self, count: int) -> Iterator[list[bytes]]:
        """Yield `count` lines; a smaller count is a prefix of a larger one."""
        return cut(self.make(), count)


def cut(batches: Iterator[list[bytes]], count: int) -> Iterator[list[bytes]]:
    """Yield the first `count` lines of an endless text."""
    for batch in batches:
        yield batch if len(batch) <= count else batch[:count]
        count -= len(batch)
        if count <= 0:
            return


def vocabulary() -> list[str]:
    """Return words by frequency; frequent ones are short, as in English."""
    chance = random.Random("vocabulary")
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        rank = len(words)
        low, high = (1, 3) if rank < 20 else (3, 4) if rank < 100 else (4, 6) if rank < 1000 else (4, 9)
        words["".join(chance.choices(LETTERS, k=chance.randint(low, high)))] = None
    return list(words)


def _making() -> Iterator[list[bytes]]:
    chance = random.Random("prose")
    words = vocabulary()
    weights = list(accumulate(1 / (rank + 2.7) for rank in range(VOCABULARY)))  # Zipf and Mandelbrot
    while True:
        lengths = [chance.randrange(18, 35) for _ in range(BATCH)]
        chosen = iter(chance.choices(words, cum_weights=weights, k=sum(lengths)))
        yield [_sentence(list(islice(chosen, length))) for length in lengths]


_maker = _making()
_made: list[list[bytes]] = []
"""The prose that was made so far, in batches: several workloads are cut from it, and writing is quicker than making."""


def _prose() -> Iterator[list[bytes]]:
    while True:
        for number in range(DISTINCT_LINES // BATCH):
            if number == len(_made):
                _made.append(next(_maker))
            yield _made[number]


def _sentence(words: list[str]) -> bytes:
    words[len(words) // 2] += ","
    return (" ".join(words).capitalize() + ".").encode()


_SYLLABLES = [f"{a}{b}{c}".encode() for a in LETTERS for b in LETTERS for c in LETTERS]


def spelled(number: int) -> bytes:
    """Return the word of six letters that stands for `number`, scattered so that neighbours are unlike."""
    first, second = divmod(number * 48_271_117 % len(_SYLLABLES) ** 2, len(_SYLLABLES))
    return _SYLLABLES[first] + _SYLLABLES[second]


def many(seed: str = "many") -> Iterator[list[bytes]]:
    """Yield lines of 10 words without end, uniform out of `MANY`; a seed has a text of its own."""
    chance = random.Random(seed)
    while True:
        chosen = [spelled(number) for number in chance.choices(range(MANY), k=10 * BATCH)]
        yield [b" ".join(chosen[n : n + 10]) for n in range(0, 10 * BATCH, 10)]


_verses: list[list[bytes]] = []
"""The Bible in batches, once it was read."""


def bible() -> list[list[bytes]]:
    """Return the verses of the King James Version in batches, one a line, as Debian's package has them."""
    if not _verses:
        found: list[bytes] = []
        if program := shutil.which("bible"):
            command = [program, "-l10000", "gen1:1-rev22:21"]  # all of it, in lines as long as the verses
            found = verses(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout)
        if not found:
            raise MissingError("its text is that of Debian's package bible-kjv; `apt-get install bible-kjv` brings it")
        _verses.extend(found[n : n + BATCH] for n in range(0, len(found), BATCH))
    return _verses


def verses(text: bytes) -> list[bytes]:
    """Return the verses in what the program `bible` prints: they begin with blanks and a number, headings do not."""
    return re.findall(rb"^ +\d+ (.+)$", text, re.MULTILINE)


def _bible() -> Iterator[list[bytes]]:
    while True:
        yield from bible()


def _of_length(size: int) -> Callable[[], Iterator[list[bytes]]]:
    """Return a maker of lines of exactly `size` bytes, cut from the prose wherever that falls."""

    def make() -> Iterator[list[bytes]]:
        rest = b""
        for batch in _prose():
            text = rest + b" ".join(batch)
            whole = len(text) // size * size
            rest = text[whole:]
            if whole:
                yield [text[n : n + size] for n in range(0, whole, size)]

    return make


WORKLOADS = {
    w.name: w
    for w in (
        Workload(
            "text", (600_000, 6_000_000), (600_000, 6_000_000), _prose, "Zipf prose, 26 words a line, 12,000 words"
        ),
        Workload(
            "bible",
            (600_000, 6_000_000),
            (600_000, 6_000_000),
            _bible,
            "the verses of the King James Version, again and again",
            bible,
        ),
        Workload("many", (75_000, 300_000), (300_000, 2_000_000), many, "10 words a line, uniform out of 5 million"),
        Workload("short", (1_000_000,), (6_000_000,), _of_length(10), "lines of 10 bytes"),
        Workload("long", (10_000,), (60_000,), _of_length(10_000), "lines of 10 kB"),
        Workload("huge", (100,), (600,), _of_length(1_000_000), "lines of 1 MB"),
    )
}


def trickle() -> Iterator[tuple[bytes, bytes]]:
    """Yield (marker, line) without end: prose with a word that no other line has."""
    for number, line in enumerate(line for batch in _prose() for line in batch):
        marker = b"marker_" + spelled(number)  # the vocabulary has no underscore
        yield marker, line + b" " + marker


@dataclass(slots=True)
class Truth:
    """What a reader of `counts` must find."""

    lines: int = 0
    size: int = 0
    words: int = 0
    distinct: int = 0

    def save(self, batches: Iterator[list[bytes]], path: Path) -> Iterator[list[bytes]]:
        """Pass batches through; when they end, have their true totals in the file, with those that it has already."""
        totals: Counter[bytes] = Counter()
        if path.exists():
            with path.open("rb") as file:
                totals.update(marshal.load(file))  # noqa: S302 - written by ourselves
        repeated: dict[int, Counter[bytes]] = {}
        for batch in batches:
            if any(batch is made for made in (*_made, *_verses)):
                if id(batch) not in repeated:
                    repeated[id(batch)] = recount(batch)
                totals.update(repeated[id(batch)])
            else:
                totals.update(recount(batch))
            self.lines += len(batch)
            self.size += sum(map(len, batch))
            yield batch
        self.words, self.distinct = totals.total(), len(totals)
        with path.open("wb") as file:
            marshal.dump(dict(totals), file)


def head(count: int) -> list[bytes]:
    """Return the first lines of the prose."""
    return list(islice((line for batch in _prose() for line in batch), count))
