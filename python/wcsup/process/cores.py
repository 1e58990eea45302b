"""Core files: a process that knows secrets leaves none."""

import resource


def leave_none() -> None:
    """Have this process and its children leave no core file when they crash: their memory has passwords and keys.

    Only the soft limit is lowered, so whoever wants a core can raise it again (`prlimit --core`). A program that takes
    cores over a pipe is told the limit, and that of systemd heeds it. `PR_SET_DUMPABLE` would reach further, but it
    would also take the figures of /proc about workers away from their supervisor.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
