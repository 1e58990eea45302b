"""One worker in this process: from its signals to its exit status."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from wcsup.errors import ExitStatus
from wcsup.kafka.sighting import Sight
from wcsup.pipeline.report import Job, Report
from wcsup.pipeline.worker import Worker
from wcsup.process.crash import name_worker
from wcsup.process.memory import return_memory


def work(job: Job, send: Callable[[Report], None] = lambda _: None, sight: Sight | None = None) -> ExitStatus:
    """Run one worker in this process until a signal drains it; return `DONE`. `sight` is as in `Worker`.

    SIGTERM is for one that may come again under its name, and SIGINT for one that is not to: it leaves its group.
    Raises the `WcsupError` that ends it otherwise.
    """
    name_worker(job.name)
    return_memory()
    worker: Worker | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        if worker is None:
            end(ExitStatus.DONE)  # nothing is open yet, and its clients may wait for brokers
        worker.drain(leave=number == signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    worker = Worker(job, send, sight)
    worker.run()
    return ExitStatus.DONE


def end(status: int) -> NoReturn:
    """End the process of a worker, whose clients are left as they are: to be called where its error is handled.

    The error's frames hold the producer. It is destroyed when they go, and where another process had fenced it,
    librdkafka has been seen to abort there, which hides the status. Nothing of its threads is worth waiting for.
    """
    logging.shutdown()
    sys.stderr.flush()
    os._exit(status)
