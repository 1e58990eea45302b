"""Writes a made-up log of a service to standard output, for ever or for some lines: `make_log.py [LINES] [SECONDS]`.

SECONDS is the time between two lines. The same number of lines always has the same words.
"""

import random
import sys
import time
from collections.abc import Iterator
from itertools import count, islice

EVENTS = (
    *("INFO request served", "INFO request served", "INFO request served", "INFO cache filled"),
    *("WARN request slow", "WARN retry", "ERROR upstream gone"),
)


def lines() -> Iterator[str]:
    """Yield lines without an end."""
    chance = random.Random(1)  # noqa: S311 - nothing is kept secret by it
    for number in count(1):
        yield f"{chance.choice(EVENTS)} path=/item/{number} host=web{chance.randrange(3)}"


if __name__ == "__main__":
    wanted, pause = int(sys.argv[1]) if sys.argv[1:] else None, float(sys.argv[2]) if sys.argv[2:] else 0.0
    for line in islice(lines(), wanted):
        print(line, flush=True)
        time.sleep(pause)
