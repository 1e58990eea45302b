"""Child processes: how one is started, given its job, read without blocking, and reaped."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from typing import IO, cast

from wcsup.pipeline.report import Job

WORKER = (sys.executable, "-m", "wcsup.pipeline")

_CHUNK = 65_536
_CHUNKS_A_TURN = 4
"""Bounds the reading of one pipe, so that a child that floods its pipe does not keep the loop from other children."""


class LinePipe:
    """The lines from a pipe, bounded in memory and in the work of one turn."""

    def __init__(self, pipe: FileIO, longest: int = 1 << 20) -> None:
        os.set_blocking(pipe.fileno(), False)
        self.ended = False
        self._pipe = pipe
        self._longest = longest
        self._rest = b""

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._pipe.fileno()

    @property
    def closed(self) -> bool:
        """Whether the reading end is closed."""
        return self._pipe.closed

    def read(self) -> list[bytes]:
        """Return the complete lines that are there now; at the pipe's end also a last one without newline."""
        chunks = [self._rest]
        for _ in range(_CHUNKS_A_TURN):
            chunk = self._pipe.read(_CHUNK)
            if not chunk:
                self.ended = chunk is not None  # None means nothing yet, b"" the end
                break
            chunks.append(chunk)
        *lines, self._rest = b"".join(chunks).split(b"\n")
        if self._rest and (self.ended or len(self._rest) > self._longest):
            lines.append(self._rest)
            self._rest = b""
        return [line for line in lines if line]

    def close(self) -> None:
        """Close the reading end."""
        self._pipe.close()


class Child:
    """One child process: its output, its input, and its end."""

    def __init__(self, popen: subprocess.Popen[bytes], logs: LinePipe, reports: LinePipe, report_fd: int) -> None:
        self.pid = popen.pid
        self.logs = logs
        self.reports = reports
        self.report_fd = report_fd
        """The child's descriptor of the pipe for reports."""
        self._popen = popen
        self._unsaid = b""

    def assign(self, job: Job) -> bool:
        """Give a waiting process its job; return false where it is dead already."""
        try:
            # One line into an empty pipe: it fits, so the write does not wait for the child.
            _there(self._popen.stdin).write((job.to_json() + "\n").encode())
        except BrokenPipeError:
            return False
        return self.poll() is None

    def tell(self, line: bytes) -> None:
        """Send a line to a process that has its job; if its pipe is full, the line is dropped."""
        pipe = _there(self._popen.stdin).fileno()
        os.set_blocking(pipe, False)
        with suppress(BlockingIOError, BrokenPipeError):
            # Only a part of a line may fit; its rest is then sent instead of the next line.
            line = self._unsaid or line
            self._unsaid = line[os.write(pipe, line) :]

    def pin(self, processor: int) -> None:
        """Bind a process that still waits for its job to a processor; threads that it starts later inherit it."""
        if sys.platform == "linux":
            with suppress(OSError):
                os.sched_setaffinity(self.pid, {processor})

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process is dead already."""
        self._popen.send_signal(number)  # polls first: the pid of a reaped process may be another process's by now

    def poll(self) -> int | None:
        """Return the exit code of a dead process (and reap it), or none while it lives."""
        return self._popen.poll()

    def close(self) -> None:
        """Close the pipes, and kill the process if it still runs."""
        if self.poll() is None:
            self.send(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # a process stuck in the kernel (a dead disk) does not hold us up
                self._popen.wait(5)
        _there(self._popen.stdin).close()
        self.logs.close()
        self.reports.close()


def start_worker(command: Sequence[str] = WORKER) -> Child:
    """Start a worker process that waits for its job on standard input.

    The worker's standard input stays open as long as the supervisor lives: its end tells the worker that it is an
    orphan. PDEATHSIG is sent when the *thread* ends that forked, so call this from the main thread, which lives as long
    as the process. The worker's output goes down one pipe, its reports down another.
    """
    read_end, write_end = os.pipe()
    reports = FileIO(read_end)
    try:
        popen = _spawn(command, stderr=subprocess.STDOUT, pass_fds=(write_end,))
    except OSError:
        reports.close()
        raise
    finally:
        os.close(write_end)  # only the worker's copy may stay open, or the pipe would not end with the worker
    return Child(popen, LinePipe(_there(popen.stdout)), LinePipe(reports), write_end)


def start_task(command: Sequence[str]) -> Child:
    """Start a child that is not a worker: progress as JSON lines on standard output, logs on standard error."""
    popen = _spawn(command, stderr=subprocess.PIPE)
    return Child(popen, LinePipe(_there(popen.stderr)), LinePipe(_there(popen.stdout)), 1)


def _spawn(command: Sequence[str], stderr: int, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, so that a terminal's Ctrl-C and hang-up reach only the supervisor.

    Signals are not blocked around the fork; only supervisors whose children keep Python's handlers need that. Here the
    child calls exec at once, which resets handlers. A signal between fork and exec at worst wakes the supervisor's
    loop: the child's handler notes the signal only in the child's copy of memory. A signal mask would be inherited, and
    a child that did not undo it could never be drained.
    """
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def _there(pipe: IO[bytes] | None) -> FileIO:
    """Return a pipe of `_spawn` as the `FileIO` that it is (it is unbuffered), for the type checker."""
    return cast(FileIO, pipe)
