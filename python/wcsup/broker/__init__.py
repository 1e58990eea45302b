"""The embedded broker: a real Apache Kafka of a data directory, with one node or three.

Commands call `ensure`; `wcsup broker` calls `start`, `stop` and `status`. A broker belongs to its data directory, and
outlives the process that started it.
"""

from wcsup.broker.lifecycle import DEFAULT_HEAP, Broker, ensure, has_data, locked_out, start, status, stop
from wcsup.broker.settings import OAuth

__all__ = ["DEFAULT_HEAP", "Broker", "OAuth", "ensure", "has_data", "locked_out", "start", "status", "stop"]
