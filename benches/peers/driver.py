"""Write prose at given rates, in a process of its own: so its processor time is not the system's.

`python -m benches.peers.driver BOOTSTRAP TOPIC` prints a line when it is ready. For each line `RATE SECONDS` of its
standard input it writes so many lines a second for so long, and prints [lines, processor seconds]. The text goes on
from step to step: all steps together have written its first lines, each once.
"""

import json
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice

from benches.peers.cluster import PARTITIONS, producer, write
from benches.peers.workloads import BATCH, DISTINCT_LINES, WORKLOADS, head
from confluent_kafka import Producer

_TICK = 0.005


def main(bootstrap: str, topic: str) -> None:
    head(DISTINCT_LINES)  # is made now, and not while the lines are due
    text = chain.from_iterable(WORKLOADS["text"].make())
    lines = producer(bootstrap, linger=20)
    print("ready", flush=True)
    for command in sys.stdin:
        rate, seconds = map(float, command.split())
        cpu = time.process_time()
        written = drive(lines, topic, text, rate, seconds)
        print(json.dumps([written, time.process_time() - cpu]), flush=True)


def drive(lines: Producer, topic: str, text: Iterator[bytes], rate: float, seconds: float) -> int:
    """Write lines at a rate, as far as the broker and the processor let it; return how many were written."""
    began, written = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        # As many for each partition; at most a batch, so that the clock is looked at.
        due = min(int(rate * passed) - written, BATCH) // PARTITIONS * PARTITIONS
        write(lines, topic, list(islice(text, due)))
        written += due
        if due < BATCH:
            time.sleep(_TICK)
    if lines.flush(60):
        raise RuntimeError("lines could not be written")
    return written


if __name__ == "__main__":
    main(*sys.argv[1:])
