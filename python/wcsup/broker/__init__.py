"""The embedded broker: a real Apache Kafka of a data directory, with one node or three.

`ensure` is what commands call; `start`, `stop` and `status` are `wcsup broker`. A broker belongs to its data
directory, not to the process that started it, and outlives it.
"""

from wcsup.broker.lifecycle import DEFAULT_HEAP, Broker, ensure, has_data, start, status, stop

__all__ = ["DEFAULT_HEAP", "Broker", "ensure", "has_data", "start", "status", "stop"]
