"""The list of exit statuses, and the errors that carry them, for commands and workers alike."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a process of wcsup ends with, and what its supervisor concludes from it."""

    DONE = 0
    """Finished, or drained on request."""
    CHECK_FAILED = 1
    """The command's check failed (`verify`, `doctor`, `gen` with refused lines)."""
    USAGE = 2
    """Unknown option or value."""
    CONFIGURATION = 3
    """Topics, state directory or settings do not fit. A restart would not help, so the worker is not restarted."""
    FENCED = 4
    """Another process runs under this one's name and has fenced it; this one is not restarted."""
    STORE_BROKEN = 5
    """A local store is unreadable. Its directory was discarded; a new start rebuilds it from `counts`."""
    BROKER_UNREACHABLE = 6
    """No broker answered at the address."""
    RETRY = 7
    """An outcome is unknown or a client can't be used any more: a new process settles it in `init_transactions`."""
    GAVE_UP = 8
    """The supervisor stopped because workers keep dying; the reason is on standard error."""
    ORPHANED = 9
    """A worker ended because its supervisor vanished."""
    DISK = 10
    """A supervised worker's disk is full or fails; its stores are left as they are. Its supervisor restarts it as
    long as another worker of its role can work. A command without a supervisor ends with `CONFIGURATION` instead."""


INTERRUPTED = 130
"""Ctrl-C ended a command before it was done: the status that a shell reports for a death by SIGINT."""


class WcsupError(Exception):
    """An error whose message says in one line what happened and what to do."""

    status = ExitStatus.RETRY


class UsageError(WcsupError):
    """The command line, environment or configuration file has an invalid option or value."""

    status = ExitStatus.USAGE


class ConfigurationError(WcsupError):
    """Topics, state or settings do not fit each other."""

    status = ExitStatus.CONFIGURATION


class DiskError(ConfigurationError):
    """The disk of the state directory is full, fails or can't be written. Its files are left as they are."""


class RefusedError(ConfigurationError):
    """The brokers refuse a request until somebody changes rights, a password, a limit or a setting.

    A command ends with this error. A worker retries for a while, since rights and passwords are changed during a run.
    """

    def __init__(self, message: str, code: int, *, bounded: bool = True) -> None:
        """`code` is Kafka's error code. Without `bounded` a worker retries for as long as the refusal lasts."""
        super().__init__(message)
        self.code = code
        self.bounded = bounded


class FencedError(WcsupError):
    """Another instance runs under this name."""

    status = ExitStatus.FENCED


class StoreBrokenError(WcsupError):
    """A local RocksDB store cannot be read."""

    status = ExitStatus.STORE_BROKEN


class BrokerUnreachableError(WcsupError):
    """No broker answered."""

    status = ExitStatus.BROKER_UNREACHABLE


class RetryError(WcsupError):
    """This process must end; a new process can go on from the last commit."""

    status = ExitStatus.RETRY


class GaveUpError(WcsupError):
    """The supervisor cannot keep its workers alive."""

    status = ExitStatus.GAVE_UP
