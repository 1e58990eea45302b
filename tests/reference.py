"""Counting words the plain way: what every test compares with. It shares no code with the hot path."""

import re
from collections import Counter
from collections.abc import Iterable


def words(line: bytes) -> list[bytes]:
    """Return the words of a line: what is left between bytes other than letters and `_`, in lower case."""
    return [word.lower() for word in re.split(rb"[^a-zA-Z_]+", line) if word]


def recount(lines: Iterable[bytes | None]) -> Counter[bytes]:
    """Return how often each word is in the lines; null lines have none."""
    counts: Counter[bytes] = Counter()
    for line in lines:
        if line is not None:
            counts.update(words(line))
    return counts
