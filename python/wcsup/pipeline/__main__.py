"""A supervised worker: everything is imported first, then it waits for its job, so that a spare starts at once."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from wcsup import _core, logs
from wcsup.errors import DiskError, ExitStatus, WcsupError
from wcsup.garbage import collect_rarely
from wcsup.pipeline.report import Job, Report
from wcsup.pipeline.worker import end, work

log = logging.getLogger("wcsup.worker")

_PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Read the job, work, and end with its status."""
    parent = os.getppid()
    _die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until it drains the worker it ends the process, as SIGTERM does
    collect_rarely()
    _core.separate_heap()
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    line = sys.stdin.readline()
    if not line:
        end(ExitStatus.ORPHANED)
    job = Job.from_json(line)
    logs.configure(job.name, "json", job.log_level)
    threading.Thread(target=_watch_parent, name="orphan-watch", daemon=True).start()
    try:
        end(work(job, _sender(job.report_fd)))
    except DiskError as error:
        log.error("%s", error)  # noqa: TRY400 - see below
        end(ExitStatus.DISK)
    except WcsupError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all; a traceback is for defects
        end(error.status)
    except Exception:
        log.exception("a defect of wcsup; please report it")
        end(ExitStatus.RETRY)


def _die_with_parent(parent: int) -> None:
    """Have Linux kill this process with its parent; elsewhere the end of standard input tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(ExitStatus.ORPHANED)


def _watch_parent() -> None:
    """End at once when the supervisor is gone: its end of the pipe closes however it dies."""
    while os.read(0, 4096):
        pass
    os._exit(ExitStatus.ORPHANED)


def _sender(descriptor: int | None) -> Callable[[Report], None]:
    """Return a function that sends reports and never blocks: while the supervisor is busy, reports are left out."""
    if descriptor is None:
        return lambda _: None
    os.set_blocking(descriptor, False)
    unsent = b""

    def send(report: Report) -> None:
        nonlocal unsent
        # A pipe may take a part of what is longer than PIPE_BUF; the rest has to follow before the next line.
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
