"""Counting words the plain way: what an application is compared with, by `wcsup verify` and by its tests alike.

Words of the ascii rule share no code with the hot path. The unicode rule can't have that: Python's library splits by
no rule of UAX 29, and a second implementation of it would be the less trustworthy one. So its words are those of
`_core.tokenize`, as `recounted_by` says; adding up, offsets and totals are still checked on their own.
"""

import string
from collections import Counter
from collections.abc import Iterable

from wcsup import _core
from wcsup.config import WordRule

_LETTERS = (string.ascii_letters + "_").encode()
_FOLD = bytes(bytes([byte]).lower()[0] if byte in _LETTERS else ord(" ") for byte in range(256))


def words(text: bytes, rule: WordRule = "ascii") -> list[bytes]:
    """Return the words of a text in order. ascii: what stands between bytes other than letters and `_`, lower case."""
    return text.translate(_FOLD).split() if rule == "ascii" else _core.tokenize(text, rule)


def recount(
    lines: Iterable[bytes | None], rule: WordRule = "ascii", counts: Counter[bytes] | None = None
) -> Counter[bytes]:
    """Add to `counts`, or count, how often each word is in the lines; null lines have none."""
    counts = Counter() if counts is None else counts
    # The end of a line ends a word by either rule, so a text of many lines has the same words and is split faster.
    counts.update(words(b"\n".join(line for line in lines if line is not None), rule))
    return counts


def recounted_by(rule: WordRule) -> str:
    """Return by what the words were split, for the reader of a result."""
    return "plain Python" if rule == "ascii" else "wcsup's own tokenizer (_core.tokenize): Python has no UAX 29"
