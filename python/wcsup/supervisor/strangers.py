"""Orphaned processes that the kernel gives this process as children: as PID 1 of a container, or as a subreaper."""

import ctypes
import os
import sys
from collections.abc import Container

_PR_GET_CHILD_SUBREAPER = 37


def adopts() -> bool:
    """Return whether this process is given orphans, which it has to reap."""
    if os.getpid() == 1:
        return True
    if sys.platform != "linux":
        return False
    flag = ctypes.c_int()
    return ctypes.CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag), 0, 0, 0) == 0 and flag.value != 0


def bury(own: Container[int]) -> list[int]:
    """Reap dead children that are not `own`, without waiting; return their pids.

    Each dead child is identified before it is reaped: the exit status of one of `own` is left to its `Popen`.
    """
    buried: list[int] = []
    try:
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid not in own:
            os.waitpid(dead.si_pid, os.WNOHANG)
            buried.append(dead.si_pid)
    except ChildProcessError:
        pass
    return buried
