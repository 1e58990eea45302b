"""Writing partitions: Rust gives a producer its records and hears of their delivery; Python keeps the transactions."""

from confluent_kafka import KafkaError, KafkaException, Producer

from wcsup import _core

Written = dict[tuple[str, int], int]
"""The highest offset that a transaction wrote, by topic and partition."""


class Writer(Producer):
    """A producer that takes batches of records from Rust, none of them as a Python object."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Make the producer; `_core.plugin()` is among its settings."""
        super().__init__(settings)
        self._outlet = _core.Outlet.of_newest_producer()

    def begin_transaction(self) -> None:
        """Begin a transaction, of which `settle` and `written` will tell."""
        self._outlet.begin()
        super().begin_transaction()

    def write(self, topic: str, records: _core.Records, start: int, stop: int) -> int:
        """Have the records from the place `start` to before `stop` sent; return how many were taken.

        Those are fewer where the producer's queue is full. Raises `KafkaException` for a record that is refused, behind
        which others may have been taken.
        """
        taken, error = self._outlet.produce(topic, records, start, stop)
        if error not in {KafkaError.NO_ERROR, KafkaError._QUEUE_FULL}:
            raise KafkaException(KafkaError(error))
        return taken

    def settle(self, seconds: float, left: int = 0) -> None:
        """Wait until all but `left` of the records that were written are delivered or failed, or for so long.

        It wakes once. A commit waits, too, but wakes for each answer of a broker, of which a small one has dozens.
        """
        self._outlet.settle(left, seconds)

    def broke(self) -> bool:
        """Return whether a connection to a broker was lost since this was asked last."""
        return self._outlet.broke()

    def unanswered(self) -> bool:
        """Return whether a request of a transaction had no answer: it may arrive in the middle of a later one."""
        return self._outlet.unanswered()

    def in_doubt(self) -> int:
        """Return how many records failed and may be in their topics all the same; without transactions, of all ever."""
        return self._outlet.in_doubt()

    def failed(self) -> tuple[str, KafkaError] | None:
        """Return the topic and the error of the first record that failed since the transaction began; none where none.

        The error of the call that met it may tell no more than that some failed. Once a transaction was aborted it is
        known of all of its records.
        """
        failed = self._outlet.failed()
        return None if failed is None else (failed[0], KafkaError(failed[1]))

    def written(self) -> Written:
        """Return the highest offsets written since the transaction began; 0 where librdkafka was not told."""
        return {(topic, partition): max(0, offset) for topic, partition, offset in self._outlet.written()}
