"""Writing partitions: Rust gives the producer records and receives their delivery reports; Python runs transactions."""

from confluent_kafka import KafkaError, KafkaException, Producer

from wcsup import _core

Written = dict[tuple[str, int], int]
"""The highest offset that a transaction wrote, by topic and partition."""


class Writer(Producer):
    """A producer that takes batches of records from Rust, without a Python object for each record."""

    def __init__(self, settings: dict[str, object]) -> None:
        """Make the producer; `_core.plugin()` has to be among its settings."""
        super().__init__(settings)
        self._outlet = _core.Outlet.of_newest_producer()

    def begin_transaction(self) -> None:
        """Begin a transaction; `settle`, `failed` and `written` are about the last one begun."""
        self._outlet.begin()
        super().begin_transaction()

    def write(self, topic: str, records: _core.Records, start: int, stop: int) -> int:
        """Send the records from index `start` to before `stop`; return how many of them the producer's queue took.

        It takes fewer when it is full. Raises `KafkaException` for a record that it refuses; later records may have
        been taken all the same.
        """
        taken, error = self._outlet.produce(topic, records, start, stop)
        if error not in {KafkaError.NO_ERROR, KafkaError._QUEUE_FULL}:
            raise KafkaException(KafkaError(error))
        return taken

    def settle(self, seconds: float, left: int = 0) -> None:
        """Wait until all but `left` of the written records are delivered or failed, or for `seconds`.

        It wakes up once. librdkafka's `commit_transaction` also waits for deliveries, but wakes up for each answer of a
        broker, dozens of times in a small commit.
        """
        self._outlet.settle(left, seconds)

    def broke(self) -> bool:
        """Return whether a connection to a broker was lost since the last call."""
        return self._outlet.broke()

    def unanswered(self) -> bool:
        """Return whether a request of a transaction had no answer: it may still arrive, during a later transaction."""
        return self._outlet.unanswered()

    def in_doubt(self) -> int:
        """Return how many failed records may be in their topics all the same; without transactions, since the start."""
        return self._outlet.in_doubt()

    def failed(self) -> tuple[str, KafkaError] | None:
        """Return topic and error of the first failed record since the transaction began; none where none failed.

        The error of the failing call may say no more than that some records failed. After an abort the outcome of all
        records of the transaction is known.
        """
        failed = self._outlet.failed()
        return None if failed is None else (failed[0], KafkaError(failed[1]))

    def written(self) -> Written:
        """Return the highest offsets written since the transaction began; 0 where the broker did not tell it."""
        return {(topic, partition): max(0, offset) for topic, partition, offset in self._outlet.written()}
