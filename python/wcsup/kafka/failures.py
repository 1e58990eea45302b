"""The one table of Kafka's errors: what each means, and what is to be done about it.

librdkafka flags errors of transactional calls as retriable, abortable or fatal. A flag says how the client can go on,
not whether that helps: without the right to write, librdkafka wants the transaction aborted, and every later one, too.
So a refusal in the table goes before the flags; for all other errors of transactional calls the flags decide.
"""

from enum import Enum

from confluent_kafka import KafkaError, KafkaException

from wcsup.errors import ExitStatus


class Failure(Enum):
    """What to do about an error."""

    NONE = "none"
    """Nothing: it is no failure."""
    RETRY = "retry"
    """It passes by itself: make the same call again."""
    SILENT = "silent"
    """No broker was there, or none answered in time: make the same call again; after a while, say so."""
    ABORT = "abort"
    """Abort the transaction, drop the batch, go on from the committed offsets."""
    REFUSED = "refused"
    """The brokers refuse until somebody changes a right or a setting: retry for a while, then end and say which."""
    FENCED = "fenced"
    """Another process has this one's name: end, and do not start again."""
    UNKNOWN = "unknown"
    """The client can't be used any more, or the outcome is unknown: end; a new process settles it."""

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self in {Failure.RETRY, Failure.SILENT}

    @property
    def status(self) -> ExitStatus:
        """The exit status of a process that can't go on for this failure."""
        return _STATUS[self]


_STATUS = {
    Failure.NONE: ExitStatus.DONE,
    Failure.RETRY: ExitStatus.RETRY,
    Failure.SILENT: ExitStatus.BROKER_UNREACHABLE,
    Failure.ABORT: ExitStatus.RETRY,
    Failure.REFUSED: ExitStatus.CONFIGURATION,
    Failure.FENCED: ExitStatus.FENCED,
    Failure.UNKNOWN: ExitStatus.RETRY,
}

_NAMES: dict[Failure, str] = {
    Failure.NONE: """
        NO_ERROR _PARTITION_EOF _NOOP _NODE_UPDATE _ASSIGN_PARTITIONS _REVOKE_PARTITIONS
        _PURGE_QUEUE _PURGE_INFLIGHT DUPLICATE_SEQUENCE_NUMBER
        ELECTION_NOT_NEEDED NO_REASSIGNMENT_IN_PROGRESS UNKNOWN_SUBSCRIPTION_ID TELEMETRY_TOO_LARGE
    """,
    # Leaders, coordinators and controllers move; topics were made a moment ago; replicas lag. Where no partition of a
    # request has a leader that is known in time, librdkafka says that there is no entry (_NOENT).
    Failure.RETRY: """
        _DESTROY_BROKER _UNKNOWN_BROKER _RETRY _INTR _OUTDATED _QUEUE_FULL _ISR_INSUFF
        _WAIT_COORD _WAIT_CACHE _IN_PROGRESS _PREV_IN_PROGRESS _UNKNOWN_TOPIC _UNKNOWN_PARTITION _LOG_TRUNCATION
        _MAX_POLL_EXCEEDED _NO_OFFSET _BAD_MSG _BAD_COMPRESSION OFFSET_OUT_OF_RANGE
        UNKNOWN_TOPIC_OR_PART UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID LEADER_NOT_AVAILABLE NOT_LEADER_FOR_PARTITION
        FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH PREFERRED_LEADER_NOT_AVAILABLE ELIGIBLE_LEADERS_NOT_AVAILABLE
        REQUEST_TIMED_OUT BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION OFFSET_NOT_AVAILABLE
        NOT_COORDINATOR COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS TRANSACTION_COORDINATOR_FENCED
        NOT_CONTROLLER STALE_CTRL_EPOCH STALE_BROKER_EPOCH UNKNOWN_CONTROLLER_ID LISTENER_NOT_FOUND
        NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND KAFKA_STORAGE_ERROR REASSIGNMENT_IN_PROGRESS
        FETCH_SESSION_ID_NOT_FOUND INVALID_FETCH_SESSION_EPOCH UNSTABLE_OFFSET_COMMIT CONCURRENT_TRANSACTIONS
        THROTTLING_QUOTA_EXCEEDED MEMBER_ID_REQUIRED REBOOTSTRAP_REQUIRED _NOENT
    """,
    Failure.SILENT: "_TRANSPORT _FAIL _RESOLVE _ALL_BROKERS_DOWN _TIMED_OUT _TIMED_OUT_QUEUE _MSG_TIMED_OUT",
    # The member that read the batch is no longer valid, or the records of the batch were not all written.
    Failure.ABORT: """
        ILLEGAL_GENERATION UNKNOWN_MEMBER_ID REBALANCE_IN_PROGRESS FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH
        _ASSIGNMENT_LOST UNKNOWN_PRODUCER_ID INVALID_PRODUCER_ID_MAPPING OUT_OF_ORDER_SEQUENCE_NUMBER
        TRANSACTION_ABORTABLE OPERATION_NOT_ATTEMPTED INVALID_MSG _INVALID_DIFFERENT_RECORD _INCONSISTENT
    """,
    Failure.REFUSED: """
        TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED DELEGATION_TOKEN_AUTHORIZATION_FAILED
        _AUTHENTICATION _SSL SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE SECURITY_DISABLED
        DELEGATION_TOKEN_AUTH_DISABLED DELEGATION_TOKEN_NOT_FOUND DELEGATION_TOKEN_OWNER_MISMATCH
        DELEGATION_TOKEN_REQUEST_NOT_ALLOWED DELEGATION_TOKEN_EXPIRED INVALID_PRINCIPAL_TYPE
        PRINCIPAL_DESERIALIZATION_FAILURE UNACCEPTABLE_CREDENTIAL
        MSG_SIZE_TOO_LARGE RECORD_LIST_TOO_LARGE INVALID_MSG_SIZE INVALID_RECORD INVALID_TIMESTAMP INVALID_REQUIRED_ACKS
        OFFSET_METADATA_TOO_LARGE INVALID_COMMIT_OFFSET_SIZE UNSUPPORTED_COMPRESSION_TYPE UNSUPPORTED_FOR_MESSAGE_FORMAT
        INVALID_GROUP_ID INVALID_SESSION_TIMEOUT INCONSISTENT_GROUP_PROTOCOL GROUP_MAX_SIZE_REACHED UNSUPPORTED_ASSIGNOR
        UNRELEASED_INSTANCE_ID GROUP_ID_NOT_FOUND NON_EMPTY_GROUP GROUP_SUBSCRIBED_TO_TOPIC INVALID_REGULAR_EXPRESSION
        INVALID_TRANSACTION_TIMEOUT TOPIC_EXCEPTION TOPIC_ALREADY_EXISTS TOPIC_DELETION_DISABLED INVALID_PARTITIONS
        INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG POLICY_VIOLATION LOG_DIR_NOT_FOUND
        RESOURCE_NOT_FOUND DUPLICATE_RESOURCE UNSUPPORTED_VERSION _UNSUPPORTED_FEATURE
    """,
    Failure.FENCED: "_FENCED FENCED_INSTANCE_ID PRODUCER_FENCED INVALID_PRODUCER_EPOCH",
    # Misuse of the client, a closed client, and errors that only other kinds of clients and brokers meet.
    Failure.UNKNOWN: """
        UNKNOWN _FATAL _STATE _CONFLICT _AUTO_OFFSET_RESET _DESTROY _CRIT_SYS_RESOURCE _FS _INVALID_ARG
        _GAPLESS_GUARANTEE _EXISTING_SUBSCRIPTION _UNKNOWN_GROUP _UNKNOWN_PROTOCOL _NOT_IMPLEMENTED _NOT_CONFIGURED
        _APPLICATION _KEY_SERIALIZATION _VALUE_SERIALIZATION _KEY_DESERIALIZATION _VALUE_DESERIALIZATION _PARTIAL
        _READ_ONLY _UNDERFLOW _INVALID_TYPE INVALID_TXN_STATE INVALID_REQUEST INVALID_UPDATE_VERSION
        FEATURE_UPDATE_FAILED
        INCONSISTENT_VOTER_SET INVALID_VOTER_KEY DUPLICATE_VOTER VOTER_NOT_FOUND INVALID_REGISTRATION
        MISMATCHED_ENDPOINT_TYPE UNSUPPORTED_ENDPOINT_TYPE INVALID_RECORD_STATE FENCED_STATE_EPOCH
        SHARE_SESSION_NOT_FOUND INVALID_SHARE_SESSION_EPOCH SHARE_SESSION_LIMIT_REACHED
        STREAMS_INVALID_TOPOLOGY STREAMS_INVALID_TOPOLOGY_EPOCH STREAMS_TOPOLOGY_FENCED
    """,
}

TABLE: dict[int, Failure] = {
    getattr(KafkaError, name): failure for failure, names in _NAMES.items() for name in names.split()
}
"""The meaning of each error, by code."""

NO_SUCH_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
"""Answers for a topic that is gone, and, for a moment, for a topic that was just made."""

OF_A_LOGIN = {KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED}
"""Errors of a connection whose login failed: the broker refused the client, or the client refused the broker."""


def cause(error: KafkaError) -> int:
    """Return the code of an error's cause.

    A consumer gives its fatal error as a message whose code is always _FATAL. The cause is only in the text, so the
    text is searched for librdkafka's texts of all codes.
    """
    if error.code() != KafkaError._FATAL:
        return error.code()
    found = [code for code in TABLE if code != KafkaError._FATAL and KafkaError(code).str() in error.str()]
    return max(found, key=lambda code: len(KafkaError(code).str()), default=KafkaError._FATAL)


def meaning(error: KafkaError) -> Failure:
    """Return what to do about an error of a consumer, of an admin request or of a record."""
    return TABLE.get(cause(error), Failure.UNKNOWN)


def classify(error: KafkaError) -> Failure:
    """Return what to do about an error of a producer's transactional call.

    An error with none of librdkafka's three flags has an unknown outcome, unless it is a refusal
    (librdkafka, INTRODUCTION.md, "Transactional producer error handling").
    """
    found = meaning(error)
    if found is Failure.REFUSED:
        return found
    if error.fatal() or error.code() == KafkaError._FATAL:
        return found if found is Failure.FENCED else Failure.UNKNOWN
    # The flag goes before the code: FENCED_INSTANCE_ID from send_offsets_to_transaction is only abortable here. The
    # consumer, which has that instance id, reports it as fatal itself.
    if error.txn_requires_abort():
        return Failure.ABORT
    if error.retriable():
        return Failure.RETRY
    return found if found is Failure.FENCED else Failure.UNKNOWN


def of(failed: KafkaException) -> KafkaError:
    """Return the error that an exception carries."""
    error: KafkaError = failed.args[0]
    return error


def of_a_group(error: KafkaError) -> bool:
    """Return whether an error concerns the group that an assigned consumer has to name, though it never joins it.

    librdkafka looks for the group's coordinator all the same, and the user may lack the right to that group.
    """
    return error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
