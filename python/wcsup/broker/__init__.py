"""The embedded broker: a real single-node Apache Kafka in a data directory.

Commands call `ensure`; `wcsup broker` calls `start`, `stop` and `status`. A broker belongs to its data directory, and
outlives the process that started it.
"""

from wcsup.broker.lifecycle import DEFAULT_HEAP, Broker, ensure, start, status, stop

__all__ = ["DEFAULT_HEAP", "Broker", "ensure", "start", "status", "stop"]
