"""English-like text from a seed: word frequencies follow Zipf's law, the number of distinct words Heaps' law."""

import random
from collections.abc import Iterator
from itertools import accumulate, islice

# By frequency, so that a word's rank gives its weight (Zipf).
_COMMON = """the of and to a in that he was it his is with as i had for at by on not be from but have him they
which you were all she or there her one their so we an said when out this no if me what them more who into up
would could will been my now like some very then its man upon your than any other about time down over only our
has before after such great old are these two did long must little came see go made good way well where never
much first back again hand day head here whale sea ship men might without still most those being how through
own himself though thing even same another every while thou life boat world too seems night last white far eye
god whole once let round three under among air side however water between part away word work small house
light door nothing place think year look people find ask turn tell follow begin hear stand open river stone
city letter winter garden captain road morning evening story number reason voice paper table window fire wind"""

_STEMS = """form port dict spect struct tend press mit vert cept fer scrib grad lect voc sign serv mov pos plic
nat temp grav lumin magn port rupt tract vis audi cred duc fact flu gen jud"""
_BEFORE = ["", "re", "in", "con", "de", "trans", "sub", "pre", "un", "dis", "inter", "over"]
_AFTER = ["", "s", "ed", "ing", "er", "ion", "ive", "able", "ment", "or", "al", "ness"]
_RARE = 0.08
"""The share of words that are put together from syllables: the long tail of rare words."""


def lines(seed: int) -> Iterator[bytes]:
    """Yield lines of 8 to 26 words without end, the same ones for the same seed."""
    chance = random.Random(seed)  # noqa: S311 -- text, not secrets
    common, stems = _COMMON.split(), _STEMS.split()
    weights = list(accumulate(1 / rank for rank in range(2, len(common) + 2)))
    while True:
        words = chance.choices(common, cum_weights=weights, k=chance.randrange(8, 27))
        for place in range(len(words)):
            if chance.random() < _RARE:
                words[place] = chance.choice(_BEFORE) + chance.choice(stems) + chance.choice(_AFTER)
        if len(words) > 12:
            words[7] += ","
        yield (" ".join(words).capitalize() + ".").encode()


def batches(seed: int, count: int | None, size: int) -> Iterator[list[bytes]]:
    """Yield `count` lines (None: without end) in lists of `size`."""
    text = islice(lines(seed), count)
    while batch := list(islice(text, size)):
        yield batch
