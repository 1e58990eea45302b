"""How soon a partition is read that is resumed while the consumer has nothing to fetch, as after a store's restore.

Against librdkafka's own `resume`, in turns. See `Reader.resume`.
"""

import contextlib
import statistics
import time
from collections.abc import Callable

from application import Application
from benches.recorded import Ratios
from confluent_kafka import TopicPartition

from wcsup import _core
from wcsup.kafka import clients
from wcsup.kafka.reader import Reader

ROUNDS = 7
FETCHED_SECONDS = 0.2
"""A fetch that was under way has ended by then."""


def seconds_to_first_record(
    reader: Reader, at: TopicPartition, resume: Callable[[list[TopicPartition]], None]
) -> float:
    reader.consumer.pause([at])
    time.sleep(FETCHED_SECONDS)
    _core.Combiner("ascii", 1).add(reader.inbox)  # nobody is to count it; the inbox is empty then
    reader.consumer.seek(at)
    began = time.monotonic()
    resume([at])
    while not len(reader.inbox):
        reader.read(0.01)
    return time.monotonic() - began


def test_a_resumed_partition_is_read_at_once(application: Application, ratios: Ratios) -> None:
    application.feed([b"a line"] * 100)
    at = TopicPartition(application.config.topic("lines"), 0, 0)
    with contextlib.closing(clients.assigned_reader(application.config)) as reader:
        reader.assign([at])
        plain, ours = [], []
        for _ in range(ROUNDS):
            plain.append(seconds_to_first_record(reader, at, reader.consumer.resume))
            ours.append(seconds_to_first_record(reader, at, reader.resume))
    for name, times in (("Consumer.resume", plain), ("Reader.resume", ours)):
        print(f"\n{name}: {1e3 * statistics.median(times):.0f} ms to the first record, at most {1e3 * max(times):.0f}")
    ratios["resumed: share of librdkafka's wait that is spared"] = 1 - sum(ours) / sum(plain)
