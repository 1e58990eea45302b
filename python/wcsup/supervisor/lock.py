"""One supervisor for a state directory: a lock that the kernel releases, however its holder ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wcsup.errors import ConfigurationError

_PATIENCE = 3.0


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Hold the state directory's supervisor lock; raise `ConfigurationError` where a living process has it.

    A killed holder may take a moment to be gone, since its memory is freed first; this waits for that.
    """
    path = state / "supervisor.lock"
    end = time.monotonic() + _PATIENCE
    while (descriptor := _take(path)) is None:
        holder = _holder(path)
        if _lives(holder) or time.monotonic() > end:
            raise ConfigurationError(
                f"a supervisor runs in {state} already (pid {holder or 'unknown'}): "
                "steer it with wcsup status, scale, restart, drain, or choose another --state-dir"
            )
        time.sleep(0.02)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)  # which unlocks


def _take(path: Path) -> int | None:
    """Return the locked file, or none where another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    # Another process holds the lock, or `wcsup del` deleted the file: a lock on a deleted file keeps nobody out.
    os.close(descriptor)
    return None


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _lives(pid: str) -> bool:
    """Return whether a process lives and is no zombie; false for a pid that is not fully written yet."""
    if not pid.isdigit():
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        pass
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
