"""A page with a run behind it that is made up: for tests of what is shown of it."""

import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from snapshots import snapshot, worker

from wcsup.errors import UsageError
from wcsup.observe.deadletters import DeadLetter, Excerpt
from wcsup.observe.web.server import Server
from wcsup.observe.web.site import Sources
from wcsup.pipeline.report import SECONDS, Counters, Ended, Histogram
from wcsup.supervisor import LagView, Snapshot, TaskView, WorkerView
from wcsup.supervisor.events import RunEvent
from wcsup.supervisor.latency import Latency

TOKEN = "-".join(["of", "some", "length"] * 2)
AT = "2026-11-29T09:31:02.000Z"
LETTER = DeadLetter(
    partition=0,
    offset=7,
    time=AT,
    topic="lines",
    of_partition=3,
    of_offset=41,
    error="a word of 40,000 bytes is too long",
    key=None,
    value=Excerpt.of(b"<b>\xff\x1b[31m" + b"x" * 300),
)


def work(turns: int, records: int = 100) -> Counters:
    """The counters of a worker after so many commits."""
    steps = {step: Histogram(SECONDS) for step in ("produce", "offsets", "commit", "store")}
    for histogram in steps.values():
        for turn in range(turns):
            histogram.observe(0.004 + 0.001 * (turn % 3))
    return Counters(
        records=turns * records,
        words=turns * records * 26,
        bytes=turns * records * 140,
        written=turns * 30,
        commits=turns,
        commit_seconds=turns * 0.01,
        dead_letters=1,
        aborts={"ILLEGAL_GENERATION": turns // 20},
        step_seconds=steps,
    )


def ended(turn: int, records: int) -> list[tuple[int, Ended]]:
    """The transactions of the last half seconds; each twentieth was aborted."""
    now = time.time()
    return [
        (one, Ended(now - 0.5 * (turn - one), 0.3, records, None if one % 20 else "ILLEGAL_GENERATION"))
        for one in range(max(1, turn - 3), turn + 1)
    ]


def run(turn: int, **changes: Any) -> Snapshot:
    """A run with two mappers and a reducer, after so many half seconds."""
    lately = {"heartbeat_seconds": 0.2, "last_commit_seconds": 0.4}
    workers = [
        worker("map", 0, partitions=[0, 1], counters=work(turn), ended=ended(turn, 100), **lately),
        worker("map", 1, partitions=[2, 3], counters=work(turn), ended=ended(turn, 100), **lately),
        worker(
            "reduce",
            0,
            partitions=[0, 1, 2, 3],
            counters=work(turn, 40),
            distinct=5236,
            total=1000 + turn,
            state_bytes=4_000_000,
            ended=ended(turn, 40),
            **lately,
            top=[("the", 300 + turn), ("whale", 200 + turn), ("<i>sea</i>", 100)],
        ),
    ]
    values: dict[str, Any] = {
        "uptime": 60 + turn / 2,
        "lag": LagView(120 + turn, 8, {0: 100, 1: 20 + turn, 2: 0, 3: 0}, {0: 8, 1: 0, 2: 0, 3: 0}, {0: 1800.0}, 0.8),
        "latency": Latency(0.06, 0.4, 0.9),
        "restarts": {"killed": 1},
        "events": [
            RunEvent("2026-11-29T09:31:00.000Z", "map-1", "ended", "killed by SIGKILL"),
            RunEvent("2026-11-29T09:31:00.300Z", "map-1", "back", "in 0.3 s, partitions 2-3"),
            RunEvent(AT, None, "ready", "3 workers"),
        ],
        "tasks": [
            TaskView(
                "feed", 7, True, None, {"source": "book.txt", "written": 4000, "bytes_read": 50, "bytes_known": 100}
            )
        ],
    }
    return snapshot(*workers, **(values | changes))


def changed(shown: Snapshot, place: int, **changes: Any) -> list[WorkerView]:
    """The workers of a snapshot, one of them changed."""
    return [replace(one, **changes) if index == place else one for index, one in enumerate(shown.workers)]


class MadeRun:
    """The server of a run that is made up: what it is asked, what it is told to do."""

    def __init__(self, folder: Path, *, steered: bool = False) -> None:
        token = folder / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        self.server = Server("127.0.0.1", 0, "books", token=token if steered else None)
        self.turn = 0
        self.asked: list[dict[str, Any]] = []
        self.total = 400
        self.recount: dict[str, Any] = {
            "state": "never",
            "began_at": None,
            "seconds": None,
            "verdict": None,
            "why": None,
        }
        self._open = ExitStack()

    @property
    def url(self) -> str:
        return self.server.url

    def __enter__(self) -> Self:
        self._open.enter_context(self.server)
        self.server.answer_from(
            Sources(
                words=self._word,
                words_here=lambda _: None,
                hosts=self._hosts,
                letters=lambda most: [LETTER.to_json()][:most],
                events=lambda most: [{"time": AT, "slot": None, "event": "started", "reason": "host ab12"}][:most],
                recount=lambda: self.recount,
            )
        )
        self.server.steer(self._steer, self._verify)
        self.show()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def show(self, **changes: Any) -> Snapshot:
        """Show the next half second."""
        self.turn += 1
        shown = run(self.turn, **changes)
        self.server.show(shown)
        return shown

    def _word(self, word: str) -> dict[str, Any]:
        if " " in word:
            raise UsageError(f"{word} is not one word")
        self.total += 12
        return {
            "word": word,
            "count": self.total,
            "offset": 77,
            "committed_at": AT,
            "owner": "reduce-0",
            "behind": False,
        }

    def _hosts(self) -> dict[str, Any]:
        state = run(self.turn).to_json()
        del state["lag"], state["events"]
        told = {"version": "0.1.0", "told_at": AT, "ended": None}
        return {
            "hosts": [
                {"host": "ab12", "machine": "this", "silent": False, **told, **state},
                {"host": "cd34", "machine": "that", "silent": True, **told, **state, "pid": 99, "ready": False},
                {"host": "ef56", "machine": "newer", "silent": False, **told},
            ],
            "looked_at": datetime.now(UTC).isoformat(),
        }

    def _steer(self, command: Any) -> Any:
        self.asked.append(dict(command))
        if command.get("mappers") == 5:
            raise UsageError("there are 4 partitions: a fifth mapper would have none")
        return {"slots": {"map-0": "running"}}

    def _verify(self) -> dict[str, Any]:
        self.recount = {
            "state": "done",
            "began_at": AT,
            "seconds": 1.5,
            "verdict": {"exact": True, "holds": True, "lines": 4000, "words": 9000, "distinct": 5236, "mismatches": 0},
            "why": None,
        }
        return self.recount


class ServedElsewhere:
    """The same in a process of its own, which can be killed."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def _serve() -> None:
    with TemporaryDirectory() as folder, MadeRun(Path(folder)) as made:
        print(made.url, flush=True)
        while True:
            time.sleep(0.5)
            made.show()


if __name__ == "__main__":
    _serve()
