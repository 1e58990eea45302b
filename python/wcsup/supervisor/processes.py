"""Child processes: how one is started, told its job, read without blocking, and buried."""

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
"""So that a child that floods its pipe can't keep the loop from the others."""


class LinePipe:
    """The lines that come down a pipe; bounded in memory and in the work of one turn."""

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
        """Return the complete lines that are there now; at the end also what has no newline."""
        chunks = [self._rest]
        for _ in range(_CHUNKS_A_TURN):
            chunk = self._pipe.read(_CHUNK)
            if not chunk:
                self.ended = chunk is not None  # nothing yet is None, the end is b""
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
    """One child process: what it says, how to tell it something, and its end."""

    def __init__(self, popen: subprocess.Popen[bytes], logs: LinePipe, reports: LinePipe, report_fd: int) -> None:
        self.pid = popen.pid
        self.logs = logs
        self.reports = reports
        self.report_fd = report_fd
        """The reports' other end, as the child knows it."""
        self._popen = popen
        self._unsaid = b""

    def assign(self, job: Job) -> bool:
        """Tell a waiting process what it is to be; false where it is dead already."""
        try:
            # One line into an empty pipe: it fits, so this never waits for the child to read it.
            _there(self._popen.stdin).write((job.to_json() + "\n").encode())
        except BrokenPipeError:
            return False
        return self.poll() is None

    def tell(self, line: bytes) -> None:
        """Have a process that has its job hear a line; one that does not listen misses it."""
        pipe = _there(self._popen.stdin).fileno()
        os.set_blocking(pipe, False)
        with suppress(BlockingIOError, BrokenPipeError):
            # A part of a line may fit: the rest of it is what is told next.
            line = self._unsaid or line
            self._unsaid = line[os.write(pipe, line) :]

    def pin(self, processor: int) -> None:
        """Bind a process that still waits for its job to a processor; threads that it starts later inherit it."""
        if sys.platform == "linux":
            with suppress(OSError):
                os.sched_setaffinity(self.pid, {processor})

    def send(self, number: signal.Signals) -> None:
        """Send a signal; to a process that is dead already, nothing."""
        self._popen.send_signal(number)  # polls first: a number that was reaped may be another process by now

    def poll(self) -> int | None:
        """Return how it ended (and reap it), or none while it lives."""
        return self._popen.poll()

    def close(self) -> None:
        """Let go of a process: its pipes, and it itself where it still runs."""
        if self.poll() is None:
            self.send(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # one that the kernel holds (a dead disk) holds nobody else
                self._popen.wait(5)
        _there(self._popen.stdin).close()
        self.logs.close()
        self.reports.close()


def start_worker(command: Sequence[str] = WORKER) -> Child:
    """Start a worker process that waits for its job on standard input.

    Its standard input stays open as long as the supervisor lives: its end tells the worker that it is an orphan.
    PDEATHSIG follows the *thread* that forked, so this is called from the main thread, which lives as long as
    the process. What it prints goes down one pipe, reports down another.
    """
    read_end, write_end = os.pipe()
    reports = FileIO(read_end)
    try:
        popen = _spawn(command, stderr=subprocess.STDOUT, pass_fds=(write_end,))
    except OSError:
        reports.close()
        raise
    finally:
        os.close(write_end)  # the worker's copy is to be the only one, or its end would not be seen here
    return Child(popen, LinePipe(_there(popen.stdout)), LinePipe(reports), write_end)


def start_task(command: Sequence[str]) -> Child:
    """Start a child that is not a worker: progress as JSON lines on standard output, logs on standard error."""
    popen = _spawn(command, stderr=subprocess.PIPE)
    return Child(popen, LinePipe(_there(popen.stderr)), LinePipe(_there(popen.stdout)), 1)


def _spawn(command: Sequence[str], stderr: int, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own: a terminal's Ctrl-C and hang-up reach the supervisor alone.

    Signals are not blocked around it, as supervisors whose children inherit Python handlers must. The child
    executes at once, which resets handlers; and between fork and exec the worst that a signal can do there is to
    wake our loop, since what is to be done about it is noted in memory that the child has only a copy of. A mask,
    on the other hand, would be inherited, and a child that forgot to undo it could never be drained.
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
    """Return a pipe that was asked for (without buffer, so it is a `FileIO`), for the type checker's sake."""
    return cast(FileIO, pipe)
