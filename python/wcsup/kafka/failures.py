"""What a Kafka error means for a transaction: the one place where errors are classified."""

from enum import Enum

from confluent_kafka import KafkaError


class Failure(Enum):
    """What to do about an error of a transactional call."""

    RETRIABLE = "retriable"
    """Make the same call again with the same arguments."""
    ABORT = "abort"
    """Abort the transaction, drop the batch, go on from the committed offsets."""
    FENCED = "fenced"
    """Another instance has this one's name: end, and stay away."""
    FATAL = "fatal"
    """The client is of no more use, or the outcome is unknown: end; a new process settles it."""


_FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
    KafkaError.FENCED_INSTANCE_ID,
}


def classify(error: KafkaError) -> Failure:
    """Return what an error of a producer's transactional call, or of a consumer, asks for.

    An error with none of librdkafka's three flags has an unknown outcome and counts as fatal
    (librdkafka, INTRODUCTION.md, "Transactional producer error handling").
    """
    if error.fatal() or error.code() == KafkaError._FATAL:
        return Failure.FENCED if _cause_is_fencing(error) else Failure.FATAL
    # The flag stands before the code: FENCED_INSTANCE_ID from send_offsets is abortable there, and the
    # consumer, whose name it is, reports it as fatal on its own.
    if error.txn_requires_abort():
        return Failure.ABORT
    if error.retriable():
        return Failure.RETRIABLE
    return Failure.FENCED if error.code() in _FENCED else Failure.FATAL


def _cause_is_fencing(error: KafkaError) -> bool:
    """Return whether a fatal error is about a name that somebody else has now.

    A consumer gives its fatal error as a message whose code is always _FATAL; the cause is in librdkafka's text
    alone, so it is compared with librdkafka's own texts.
    """
    if error.code() != KafkaError._FATAL:
        return error.code() in _FENCED
    return any(KafkaError(code).str() in error.str() for code in _FENCED)
