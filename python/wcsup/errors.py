"""Exit statuses and the errors that carry them: the one list for commands and workers alike."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """What a process of wcsup ends with, and what its supervisor concludes from it."""

    DONE = 0
    """Finished, or drained on request."""
    CHECK_FAILED = 1
    """The check that the command makes did not hold (`verify`, `doctor`, `gen` with refused lines)."""
    USAGE = 2
    """Unknown option or value."""
    CONFIGURATION = 3
    """Topics, state directory or settings do not fit; starting again cannot help, so nobody does."""
    FENCED = 4
    """Another process runs under this one's name. It wins; this one is not restarted."""
    STORE_BROKEN = 5
    """A local store is unreadable. Its directory was discarded; a new start rebuilds it from `counts`."""
    BROKER_UNREACHABLE = 6
    """No broker answered at the address."""
    RETRY = 7
    """An outcome is unknown or a client is unusable: a new process settles it in `init_transactions`."""
    GAVE_UP = 8
    """The supervisor stopped because workers keep dying; the reason is on standard error."""
    ORPHANED = 9
    """A worker ended because its supervisor vanished."""
    DISK = 10
    """A supervised worker's disk is full or fails; its stores are left as they are. Its supervisor starts it again as
    long as others can work; a command that works for itself ends with `CONFIGURATION`."""


INTERRUPTED = 130
"""As a shell reports a death by SIGINT: Ctrl-C came before a command had done what it was to do."""


class WcsupError(Exception):
    """An error whose message tells a user what happened and what to do, in one line."""

    status = ExitStatus.RETRY


class UsageError(WcsupError):
    """The command line, environment or configuration file says something that cannot be meant."""

    status = ExitStatus.USAGE


class ConfigurationError(WcsupError):
    """Topics, state or settings do not fit each other."""

    status = ExitStatus.CONFIGURATION


class DiskError(ConfigurationError):
    """The disk of the state directory is full, fails or can't be written. What is on it is left as it is."""


class RefusedError(ConfigurationError):
    """The brokers refuse something until somebody changes it: rights, a password, a limit, a setting.

    A command ends with it. A worker tries again for a while, since rights and passwords are changed under it, too.
    """

    def __init__(self, message: str, code: int) -> None:
        """`code` is Kafka's."""
        super().__init__(message)
        self.code = code


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
    """This process must end; a new one can go on where it stopped."""

    status = ExitStatus.RETRY


class GaveUpError(WcsupError):
    """The supervisor cannot keep its workers alive."""

    status = ExitStatus.GAVE_UP
