"""Word count on Quix Streams, exactly once: its transactions hold output, changelogs and input offsets.

`python count_words.py BOOTSTRAP PREFIX GROUP STATE_DIR` runs one process.
"""

import re
import sys

from quixstreams import Application, State

WORD = re.compile(rb"[a-zA-Z_]+")


def main(bootstrap: str, prefix: str, group: str, directory: str) -> None:
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        processing_guarantee="exactly-once",
        commit_interval=1.0,
        auto_offset_reset="earliest",
        state_dir=directory,
        producer_extra_config={"linger.ms": 20, "batch.size": 1_000_000, "compression.type": "lz4"},
        consumer_extra_config={"queued.min.messages": 200_000},
        consumer_poll_timeout=0.1,
        loglevel="WARNING",
    )
    lines = app.topic(f"{prefix}lines", value_deserializer="bytes")
    counts = app.topic(f"{prefix}counts", key_serializer="bytes", value_serializer="bytes")

    def words(line: bytes) -> list[str]:
        return [word.decode() for word in WORD.findall(line.lower())]

    def add(_word: str, state: State) -> bytes:
        total = state.get("total", 0) + 1
        state.set("total", total)
        return total.to_bytes(8, "big")

    flow = app.dataframe(lines).apply(words, expand=True)
    flow = flow.group_by(lambda word: word, name="word", key_serializer="str", key_deserializer="bytes")
    flow.apply(add, stateful=True).to_topic(counts)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
