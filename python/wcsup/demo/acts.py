"""The five acts. What a caption says has happened was seen to happen before: nothing is told by the clock."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, suppress

from wcsup.config import Config
from wcsup.demo.audience import Audience
from wcsup.demo.commands import DemoCommands, DemoError
from wcsup.demo.cues import Cues, Left
from wcsup.demo.feed import TextFeed
from wcsup.demo.text import DemoText
from wcsup.errors import ExitStatus
from wcsup.kafka.ownership import partition_list
from wcsup.observe.screen.scene import Caption
from wcsup.pipeline.report import Role
from wcsup.supervisor import Snapshot, WorkerView
from wcsup.supervisor.events import RunEvent

MAPPERS, REDUCERS = 2, 2
_HEADINGS = (
    "Before it begins",
    "1 of 5  Map and reduce",
    "2 of 5  A worker is added",
    "3 of 5  A worker is killed",
    "4 of 5  Two processes of one name",
    "5 of 5  Is every count right?",
)
_LAST_SECONDS = 3.0
"""How much longer the last caption is shown."""
_EVERYTHING = "10000000"


class Acts:
    """Plays the acts before an audience, in order; each can be played once."""

    def __init__(self, config: Config, commands: DemoCommands, text: DemoText, audience: Audience) -> None:
        self._config, self._commands, self._text, self._audience = config, commands, text, audience
        self._act = 0
        self._during = ExitStack()

    @property
    def events(self) -> list[RunEvent]:
        """What was seen to happen to the workers, oldest first."""
        return self._cues.events

    def play(self) -> None:
        """Play all acts; raise `DemoError` where one fails, `Left` where the audience goes."""
        with self._during:
            self._start()
            self._map_and_reduce()
            self._add()
            self._kill()
            self._fence()
            self._compare()

    # The acts

    def _start(self) -> None:
        workers = ("--mappers", str(MAPPERS), "--reducers", str(REDUCERS))
        run = self._during.enter_context(
            self._commands.started("run", *workers, "--log-file", "run.log", name="run.err")
        )
        self._cues = Cues(self._config, run, self._audience, lambda: self._commands.last_line("run.err", "run.log"))
        self._tell(
            f"wcsup run {' '.join(workers)}: {MAPPERS} processes that map and {REDUCERS} that reduce start. A "
            "supervisor keeps them running."
        )
        self._cues.until("the run answers", lambda _: True)
        self._cues.pause()
        self._cues.until("every worker is ready", lambda snapshot: snapshot.ready)
        self._gen = self._during.enter_context(self._commands.started("gen", "-", name="gen.err"))
        self._feed = self._during.enter_context(TextFeed(self._gen, self._text))

    def _map_and_reduce(self) -> None:
        self._act = 1
        self._cues.until(
            "every worker has counted",
            lambda snapshot: all(worker.counters.records and worker.partitions for worker in snapshot.workers),
        )
        line, found = self._text.example(self._text.lines - self._feed.left)
        self._tell(
            f'A mapper splits each line: "{line}" becomes {_pairs(found)}. It adds up the words of a batch of lines, '
            "and sends them on."
        )
        self._cues.pause()
        word, count, owner = self._cues.until("a reducer tells a total", self._frequent)
        self._tell(
            f"Each word has one reducer, which adds up what all mappers send. {owner} has {word}: it came "
            f"{count:,} times so far."
        )
        self._cues.pause()
        self._tell(
            "A worker commits its results and its place in the text together, in one Kafka transaction: both count, "
            "or neither. That is exactly-once."
        )
        self._cues.pause()

    def _add(self) -> None:
        self._act = 2
        before = self._cues.until("all partitions have mappers", self._shared_out)
        self._tell(
            f"wcsup scale --mappers {len(before) + 1}: one more mapper starts. Kafka shares the "
            f"{self._config.partitions} partitions of the lines out again."
        )
        self._cues.ask({"command": "scale", "mappers_by": 1})

        def joined(snapshot: Snapshot) -> dict[str, WorkerView] | None:
            mappers = self._shared_out(snapshot)
            if mappers is None or len(mappers) <= len(before) or not _all_went_on(before, mappers):
                return None
            return mappers if all(mapper.partitions for mapper in mappers.values()) else None

        after = self._cues.until("the new mapper has its share, and the others have gone on", joined)
        new = ", ".join(sorted(after.keys() - before.keys()))
        moved = {one for name in after.keys() - before.keys() for one in after[name].partitions}
        stayed = sum(len({*before[name].partitions} & {*after[name].partitions}) for name in before.keys() & after)
        lines = sum(after[name].counters.records - one.counters.records for name, one in before.items())
        self._cues.pause()
        self._tell(
            f"{new} has taken over partitions {partition_list(moved)}. {stayed} of {self._config.partitions} stayed "
            f"where they were, and counting went on: {lines:,} lines meanwhile."
        )
        self._cues.pause()

    def _kill(self) -> None:
        self._act = 3
        self._tell("Next, kill -9 ends a reducer in the middle of its work, as a crash would.")
        self._cues.pause()
        victim = self._cues.until("a reducer counts", lambda snapshot: _busiest(snapshot, "reduce"))
        assert victim.pid is not None  # noqa: S101 - it runs
        seen = len(self._cues.events)
        os.kill(victim.pid, signal.SIGKILL)
        self._cues.until_event(victim.slot, "ended", "killed by SIGKILL", seen)
        self._tell(
            f"{victim.slot} was killed by SIGKILL. What it had not committed counts as not done. Another process "
            "takes its place, and does that again."
        )
        back = self._cues.until_event(victim.slot, "back", "", seen)
        after = self._cues.until(f"{victim.slot} is replaced", lambda snapshot: _follower(snapshot, victim))
        if after.total < victim.total:
            raise DemoError(f"{victim.slot} had counted {victim.total:,} words, and now has {after.total:,}")
        self._cues.pause()
        self._tell(
            f"{victim.slot} is back {_ago(back)}. Its store on disk had its totals, the topic counts what the store "
            f"lacked: {victim.total:,} words before, {after.total:,} now."
        )
        self._cues.pause()

    def _fence(self) -> None:
        self._act = 4
        target = self._cues.until("a mapper counts", lambda snapshot: _busiest(snapshot, "map"))
        number = target.slot.removeprefix("map-")
        seen, others = len(self._cues.events), self._cues.until("all partitions have mappers", self._shared_out)
        self._tell(
            f"A second process starts as {target.slot}, as on a host that was copied. Both would count the same "
            "lines, so only one of them may commit."
        )
        twin = self._during.enter_context(
            self._commands.started(
                *("map", number), name="twin.log", WCSUP_STATE_DIR=os.fspath(self._commands.place / "twin")
            )
        )
        self._cues.until_event(target.slot, "ended", "(fenced)", seen)
        partitions = self._cues.until("the second process has the partitions", lambda _: self._assigned(twin))
        self._cues.until(
            "the other mappers have gone on",
            lambda snapshot: _all_went_on(others, {worker.slot: worker for worker in snapshot.workers}, target.slot),
        )
        self._cues.pause()
        self._tell(
            f"{target.slot} is fenced: Kafka refused its commit, so it ended with status {ExitStatus.FENCED}. The "
            f"second process has its partitions {partitions}. The others went on."
        )
        self._cues.pause()
        self._tell(f"wcsup restart {target.slot}: the run takes the name back, in the same way.")
        self._cues.ask({"command": "restart", "slot": target.slot})
        status = self._cues.until("the second process ends", lambda _: twin.poll())
        if status != ExitStatus.FENCED:
            raise DemoError(
                f"the second {target.slot} ended with status {status}: {self._commands.last_line('twin.log')}"
            )
        self._cues.until(f"{target.slot} works again", lambda snapshot: _follower(snapshot, target))
        self._cues.pause()
        self._tell(
            f"{target.slot} of the run works again. The second process was fenced, and ended with exit status {status}."
        )
        self._cues.pause()

    def _compare(self) -> None:
        self._act = 5
        self._tell(f"Now the rest of the text, {self._feed.left:,} lines, as fast as this machine takes them.")
        self._feed.hurry()
        if status := self._cues.until("the text is written", lambda _: self._gen.poll()):
            raise DemoError(f"wcsup gen ended with status {status}: {self._commands.last_line('gen.err')}")
        self._cues.until_all_is_counted()
        self._tell(
            f"All {self._text.lines:,} lines are counted. Now a plain Python program counts the same files, without "
            "Kafka and wcsup, and compares each word."
        )
        began = time.monotonic()
        expected = self._cues.meanwhile(self._text.recount)
        seconds = time.monotonic() - began
        counted = self._cues.meanwhile(self._totals)
        self._cues.pause()
        check(counted, expected)
        self._tell(
            f"Equal, word by word: {len(expected):,} different words, {expected.total():,} in all (its recount took "
            f"{seconds:.1f} s). Nothing was lost, nothing was counted twice."
        )
        with suppress(Left):  # it is over
            self._cues.pause(_LAST_SECONDS)

    # What they are made of

    def _tell(self, text: str) -> None:
        self._audience.tell(Caption(_HEADINGS[self._act], text))

    def _frequent(self, snapshot: Snapshot) -> tuple[str, int, str] | None:
        """Return the most frequent word, its total, and the reducer that has it."""
        from wcsup.observe.words import look_up_here  # noqa: PLC0415 - it loads Kafka's client

        if snapshot.words_here is None or not snapshot.words_here.top:
            return None
        found = look_up_here(self._config, snapshot.words_here.top[0][0])
        return None if found is None or found.owner is None else (found.word, found.count, found.owner)

    def _shared_out(self, snapshot: Snapshot) -> dict[str, WorkerView] | None:
        """Return the mappers by slot where each partition has one, and only one."""
        mappers = {worker.slot: worker for worker in snapshot.workers if worker.role == "map" and worker.ready}
        owned = sorted(partition for mapper in mappers.values() for partition in mapper.partitions)
        return mappers if owned == list(range(self._config.partitions)) else None

    def _assigned(self, twin: subprocess.Popen[bytes]) -> str | None:
        """Return the partitions that the process of the same name says that it has."""
        if twin.poll() is not None:
            raise DemoError(
                f"the second process ended with status {twin.returncode}: {self._commands.last_line('twin.log')}"
            )
        said = (self._commands.place / "twin.log").read_text(errors="replace")
        found = re.search(r"assigned partitions (\S+) of", said)
        return found and found[1]

    def _totals(self) -> dict[bytes, int]:
        rows = json.loads(self._commands.output("top", "-n", _EVERYTHING, "--json"))
        return {row["word"].encode(): row["count"] for row in rows}


def _pairs(found: Counter[bytes]) -> str:
    return ", ".join(f"{word.decode()} {count}" for word, count in found.items())


def _busiest(snapshot: Snapshot, role: Role) -> WorkerView | None:
    """Return the worker of a role that has counted most; none where none is at work."""
    workers = [worker for worker in snapshot.workers if worker.role == role and worker.ready and worker.pid]
    chosen = max(workers, key=lambda worker: worker.counters.records, default=None)
    return chosen if chosen and chosen.counters.records and chosen.partitions else None


def _follower(snapshot: Snapshot, gone: WorkerView) -> WorkerView | None:
    """Return the worker of another process in a slot, once it has partitions and works."""
    fitting = (worker for worker in snapshot.workers if worker.slot == gone.slot and worker.pid not in {None, gone.pid})
    return next((worker for worker in fitting if worker.ready and worker.partitions), None)


def _all_went_on(before: dict[str, WorkerView], after: dict[str, WorkerView], but: str = "") -> bool:
    """Tell whether each of the workers has counted something since."""
    return all(
        name in after and after[name].counters.records > worker.counters.records
        for name, worker in before.items()
        if name != but
    )


def _ago(back: RunEvent) -> str:
    """Return how long a slot was without a worker, as its event says: `in 0.3 s, partitions 9-11`."""
    return back.reason.partition(",")[0]


def check(counted: dict[bytes, int], expected: Counter[bytes]) -> None:
    """Raise `DemoError` where a total differs from the recount."""
    wrong = [word for word in expected.keys() | counted.keys() if expected[word] != counted.get(word, 0)]
    if wrong:
        examples = ", ".join(
            f"{word.decode()} {counted.get(word, 0):,} instead of {expected[word]:,}" for word in sorted(wrong)[:5]
        )
        raise DemoError(f"{len(wrong):,} words differ: {examples}")
