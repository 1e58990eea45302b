"""Exactly-once word counting on Kafka.

A line of text travels `wcsup.feed` → topic `lines` → `wcsup.pipeline.mapper` → topic `words` →
`wcsup.pipeline.reducer` → topic `counts`. Start reading there, or at `wcsup.pipeline.transaction`,
which is the exactly-once protocol in one file.
"""

__version__ = "0.1.0"
