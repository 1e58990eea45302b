"""A supervised worker: it imports everything and then waits for its job, so that a spare process starts at once."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import NoReturn

from wcsup.errors import ConfigurationError, DiskError, ExitStatus, WcsupError
from wcsup.kafka import libraries
from wcsup.kafka.sighting import Sight, Sighting
from wcsup.pipeline.process import end, work
from wcsup.pipeline.report import Job, Question, Reply, Report
from wcsup.process import logs
from wcsup.process.memory import collect_rarely

log = logging.getLogger("wcsup.worker")

_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Read the job, work, and end with its status."""
    parent = os.getppid()
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `work` sets its handlers, SIGINT kills, as SIGTERM does
    collect_rarely()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    heard = _lines()
    job = _read_job(next(heard))
    logs.configure(job.name, "json", job.log_level)
    sight = Sight()
    questions: SimpleQueue[Question] = SimpleQueue()
    threading.Thread(target=_listen, args=[heard, sight, questions], name="orphan-watch", daemon=True).start()
    try:
        libraries.separate_heap()
        end(work(job, _sender(job.report_fd), sight, questions))
    except DiskError as error:
        log.error("%s", error)  # noqa: TRY400 - see below
        end(ExitStatus.DISK)
    except WcsupError as error:
        log.error("%s", error)  # noqa: TRY400 - the message is enough; a traceback is for defects
        end(error.status)
    except Exception:
        log.exception("a defect of wcsup; please report it")
        end(ExitStatus.RETRY)


def _read_job(line: bytes) -> Job:
    """Return the job; end with status 3 where the supervisor is of a version that this one does not understand."""
    try:
        return Job.from_json(line)
    except ConfigurationError as error:
        logs.configure("worker", "json")
        log.error("%s", error)  # noqa: TRY400 - a traceback is for defects
        end(error.status)


def _die_with_parent(parent: int) -> None:
    """Have Linux kill this process with its parent; on other systems the end of standard input ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            os._exit(ExitStatus.ORPHANED)


def _lines() -> Iterator[bytes]:
    """Yield the supervisor's lines; exit when the supervisor is gone: its end of the pipe closes however it dies."""
    rest = b""
    while data := os.read(0, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines
    os._exit(ExitStatus.ORPHANED)


def _listen(lines: Iterator[bytes], sight: Sight, questions: "SimpleQueue[Question]") -> None:
    """Take note of what the supervisor saw of topics and groups, and of what it asks."""
    for line in lines:
        if line.startswith(Question.MARK):
            questions.put(Question.from_json(line))
        else:
            sight.see(Sighting.from_json(line))


def _sender(descriptor: int | None) -> Callable[[Report | Reply], None]:
    """Return a function that sends reports and replies. It never blocks; while the supervisor is busy it drops them."""
    if descriptor is None:
        return lambda _: None
    os.set_blocking(descriptor, False)
    unsent = b""

    def send(report: Report | Reply) -> None:
        nonlocal unsent
        # A pipe may take only a part of a line longer than PIPE_BUF; the rest has to be sent before the next line.
        line = unsent or report.to_json().encode() + b"\n"
        try:
            unsent = line[os.write(descriptor, line) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            os._exit(ExitStatus.ORPHANED)

    return send


if __name__ == "__main__":
    main()
