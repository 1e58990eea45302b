"""The soak itself: faults under load for a while, then everything that must hold."""

import random
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from application import Application, wait_for
from brokers import TestBroker
from invariants import Witness, check_ended, check_stable, check_stores, check_totals
from keeper import tended

from soak.field import Field, NobodyError
from soak.footprint import Footprints
from soak.journal import Journal, table
from soak.kinds import KINDS, deal
from soak.load import Load
from wcsup.audit.proxy import Proxy
from wcsup.audit.verify import verify
from wcsup.errors import ExitStatus

_AT_ONCE = 3
_PAUSE_SECONDS = 0.7
"""How long after the start of a fault the next one is started, in the mean."""
_SETTLE_SECONDS = 120.0
ALL_KINDS_MINUTES = 4.0
"""In so many minutes every kind of fault has happened."""


class Soak:
    """One run, from its seed."""

    def __init__(self, application: Application, broker: TestBroker, proxy: Proxy, seed: int) -> None:
        self._application = application
        self._rng = random.Random(seed)
        self._journal = Journal()
        self._deck: list[str] = []
        application.lag()  # makes the clients that it keeps
        self._footprints = Footprints()
        small_segments(application)
        self._field = Field(application, broker, proxy, self._rng)
        self._load = Load(application, self._rng.getrandbits(32))

    def run(self, minutes: float) -> None:
        """Do harm for so many minutes, then check all invariants."""
        field, load, keeper = self._field, self._load, self._field.keeper
        with tended(keeper):
            self._settle()
            with Witness(self._application) as witness:
                with load:
                    self._harm(60 * minutes)
                self._settle()
                self._application.wait_counted(_SETTLE_SECONDS)
            self._check_results()
            compacted = witness.seen - sum(1 for _ in self._application.read("counts"))
            left = [keeper.release(slot) for slot in list(keeper.running)]
        statuses = field.drained(left)
        print(self.summary(minutes, witness.seen, compacted))
        assert {worker.process.returncode for worker in left} == {ExitStatus.DONE}, statuses
        self._check_left()
        if minutes >= ALL_KINDS_MINUTES:
            assert self._journal.kinds().keys() == KINDS.keys()
            assert compacted > 0

    def describe(self) -> str:
        """Return the faults that were not over, and the last lines that the workers of now logged."""
        tails = (
            "\n    ".join([f"{worker.job_name} pid {worker.process.pid}: {worker.report}", *worker.log[-20:]])
            for worker in self._field.keeper.running.values()
        )
        going_on = [str(event) for event in self._journal.events if event.ended is None]
        return "\n  ".join([*going_on, *tails])

    def write(self, path: Path) -> None:
        """Write faults and logs into a file."""
        self._journal.write(path, self._application.workers)

    def summary(self, minutes: float, seen: int, compacted: int) -> str:
        """Return what was done in numbers."""
        counters = [worker.report.counters for worker in self._application.workers]
        aborts = sum((Counter(c.aborts) for c in counters), Counter())
        ends = Counter(_name(status) for _, status in self._field.keeper.ends)
        kinds = self._journal.kinds()
        return "\n".join(
            [
                f"{minutes:.1f} minutes, {sum(kinds.values())} faults:",
                table((kind, kinds[kind]) for kind in KINDS),
                "load:",
                table(
                    {
                        "lines": self._load.lines,
                        "null lines": self._load.nulls,
                        "lines that can't be counted": self._load.rejected.total(),
                        "malformed records of words": self._field.letters.total(),
                        "words": self._load.expected().total(),
                        "distinct words": len(self._load.expected()),
                        "totals seen": seen,
                        "totals compacted": compacted,
                        "commits": sum(c.commits for c in counters),
                        "totals restored": sum(c.restored for c in counters),
                    }.items()
                ),
                f"worker processes: {len(counters)}; ends that were followed by a new start:",
                table(ends.most_common()),
                "transactions given up:",
                table(aborts.most_common()),
                table({"drains that took too long": self._field.late_drains}.items()),
                str(self._footprints),
            ]
        )

    def _settle(self) -> None:
        workers = self._field.keeper.running
        wait_for("every worker is ready", lambda: all(w.ready for w in list(workers.values())), _SETTLE_SECONDS)

    def _harm(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        rng, field, free = self._rng, self._field, threading.Semaphore(_AT_ONCE)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                while (left := end - time.monotonic()) > 0 and not (self._journal.failures or field.keeper.unexpected):
                    self._load.check()
                    self._footprints.look(field.keeper)
                    if not free.acquire(timeout=left):
                        break
                    if len(self._deck) < _AT_ONCE:
                        self._deck = deal(rng) + self._deck
                    done = pool.submit(self._do, self._deck.pop(), random.Random(rng.getrandbits(64)))
                    done.add_done_callback(lambda _: free.release())
                    field.pause(min(rng.expovariate(1 / _PAUSE_SECONDS), left))
            finally:
                field.over.set()
        assert not self._journal.failures, "\n".join(self._journal.failures)

    def _do(self, kind: str, rng: random.Random) -> None:
        event = self._journal.begin(kind)
        try:
            KINDS[kind][1](self._field, rng, event)
        except NobodyError:
            self._journal.drop(event)
            self._deck.insert(0, kind)  # it is drawn again later
        except BaseException:  # noqa: BLE001 - told by the test's thread
            self._journal.failures.append(f"{event}\n{traceback.format_exc()}")
        else:
            event.ended = time.time()
            print(event, flush=True)

    def _check_results(self) -> None:
        check_totals(self._application, self._load.expected())
        letters = Counter((key, value) for _, key, value, _ in self._application.read("dead-letters"))
        assert letters == self._load.rejected + self._field.letters
        check_stable(self._application)
        # Verify says the same, except that it knows nothing of what strangers wrote.
        assert verify(self._application.config).exact

    def _check_left(self) -> None:
        self._application.end()
        check_ended(self._application)
        assert not [line for w in self._application.workers for line in w.log if "a defect of wcsup" in line]
        checked = sum(check_stores(self._application, s, damaged=self._field.damaged) for s in self._field.states)
        assert checked >= self._application.config.partitions, "each partition has a store somewhere"
        self._footprints.check()


def small_segments(application: Application) -> None:
    """Have `counts` compacted all the time."""
    segments = {"segment.bytes": "2097152", "segment.ms": "3000"}
    application.configure("counts", {**segments, "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0"})


def _name(status: int) -> str:
    return "killed" if status < 0 else ExitStatus(status).name
