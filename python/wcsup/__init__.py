"""Exactly-once word counting on Kafka.

A line of text travels `wcsup.feeding.feed` → topic `lines` → `wcsup.pipeline.mapper` → topic `words` →
`wcsup.pipeline.reducer` → topic `counts`. Start reading there, or at `wcsup.pipeline.transaction`,
which is the exactly-once protocol in one file.
"""

from wcsup.process.deferred import defer

# confluent-kafka imports it for clients that are not used here: 25 ms of each process's start, and 4 MB.
defer("asyncio")

__version__ = "0.1.0"
