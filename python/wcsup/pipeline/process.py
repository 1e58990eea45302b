"""One worker in this process: from its signals to its exit status."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from wcsup.errors import ExitStatus
from wcsup.kafka.sighting import Sight
from wcsup.pipeline.report import Job, Question, Reply, Report
from wcsup.pipeline.worker import Worker
from wcsup.process import trace
from wcsup.process.crash import name_worker
from wcsup.process.memory import return_memory

if TYPE_CHECKING:
    from wcsup.pipeline.standby import Standby


def work(
    job: Job,
    send: Callable[[Report | Reply], None] = lambda _: None,
    sight: Sight | None = None,
    questions: SimpleQueue[Question] | None = None,
) -> ExitStatus:
    """Run one worker in this process until a signal drains it; return `DONE`.

    `send`, `sight` and `questions` are as in `Worker`.

    SIGTERM drains a worker that may start again under its name; it stays a member of its group. SIGINT drains a worker
    for good; it leaves its group. Raises the `WcsupError` that ends the worker otherwise.
    """
    name_worker(job.name)
    trace.start(job.config.trace, job.name)
    return_memory()
    worker: "Worker | Standby | None" = None  # noqa: UP037 - the class is imported later, if at all

    def stop(number: int, _frame: FrameType | None) -> None:
        if worker is None:
            end(ExitStatus.DONE)  # nothing is open yet, and the worker's clients may be waiting for brokers
        worker.drain(leave=number == signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if job.role == "standby":
        # Imported here for the reason that `Worker` has for its import of the reducer.
        from wcsup.pipeline.standby import Standby  # noqa: PLC0415 - see above

        worker = Standby(job, send, sight or Sight())
    else:
        worker = Worker(job, send, sight, questions)
    worker.run()
    return ExitStatus.DONE


def end(status: int) -> NoReturn:
    """End a worker's process without closing its clients. Call it where the worker's error is handled.

    The error's frames hold the producer, which would be destroyed with them. librdkafka has been seen to abort the
    process while it destroys a fenced producer, which hides the exit status. None of the client threads is worth
    waiting for.
    """
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
