"""Counting words in plain Python: `wcsup verify` and the tests compare an application with this recount.

The recount by the ascii rule shares no code with the application's hot path. For the unicode rule that is not possible:
Python's library does not implement UAX 29, and a second implementation would be less trustworthy. So words of that rule
come from `_core.tokenize`, as `recounted_by` says; sums, offsets and totals are still checked independently.
"""

import string
from collections import Counter
from collections.abc import Iterable

from wcsup import _core
from wcsup.config import WordRule

_LETTERS = (string.ascii_letters + "_").encode()
_FOLD = bytes(bytes([byte]).lower()[0] if byte in _LETTERS else ord(" ") for byte in range(256))


def words(text: bytes, rule: WordRule = "ascii") -> list[bytes]:
    """Return the words of a text in order. By the ascii rule, words are runs of letters and `_`, in lower case."""
    return text.translate(_FOLD).split() if rule == "ascii" else _core.tokenize(text, rule)


def recount(
    lines: Iterable[bytes | None], rule: WordRule = "ascii", counts: Counter[bytes] | None = None
) -> Counter[bytes]:
    """Return how often each word is in the lines, added to `counts` if given; null lines have no words."""
    counts = Counter() if counts is None else counts
    # By both rules a line's end ends a word. So many lines joined to one text have the same words, and split faster.
    counts.update(words(b"\n".join(line for line in lines if line is not None), rule))
    return counts


def recounted_by(rule: WordRule) -> str:
    """Return, for the reader of a result, what split the words."""
    return "plain Python" if rule == "ascii" else "wcsup's own tokenizer (_core.tokenize): Python has no UAX 29"
