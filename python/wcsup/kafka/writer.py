"""Writing partitions: Rust gives a producer its records, and Python keeps transactions and delivery reports."""

from confluent_kafka import KafkaError, KafkaException, Producer

from wcsup import _core


class Writer(Producer):
    """A producer that takes batches of records from Rust, none of them as a Python object."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Make the producer; `_core.plugin()` is among its settings."""
        super().__init__(settings)
        self._outlet = _core.Outlet.of_newest_producer()

    def write(self, topic: str, partition: int, records: _core.Records, start: int, stop: int) -> int:
        """Have the records from the place `start` to before `stop` sent; return how many were taken.

        Those are fewer where the producer's queue is full. There is no callback for their delivery. Raises
        `KafkaException` for a record that is refused, behind which others may have been taken.
        """
        taken, error = self._outlet.produce(topic, partition, records, start, stop)
        if error not in {KafkaError.NO_ERROR, KafkaError._QUEUE_FULL}:
            raise KafkaException(KafkaError(error))
        return taken
