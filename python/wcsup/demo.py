"""`wcsup demo`: count the Python standard library's source on a real Kafka, kill workers on the way, compare.

The demo runs the user's commands, as processes of their own. It compares their result with a recount that shares no
code with them.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

MAPPERS, REDUCERS = 4, 2
FEED_SECONDS = 14.0
"""How long feeding is made to take, so that workers can be killed while they count."""
KILLS = (("map", 0.3), ("reduce", 0.6))
"""The roles to kill, and after which share of the text."""
PATIENCE_SECONDS = 60.0
EVERYTHING = 10_000_000

Status = dict[str, Any]


class DemoError(Exception):
    """The demonstration failed."""


class Demo:
    """The demonstration, in a directory of its own that is deleted afterwards."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._began = time.monotonic()
        own = {"WCSUP_APP_ID": "demo", "WCSUP_STATE_DIR": str(place / "state"), "WCSUP_DATA_DIR": str(place / "kafka")}
        others = {key: value for key, value in os.environ.items() if not key.startswith("WCSUP_")}
        self._environment = {**others, **own}

    def run(self) -> None:
        """Run the demonstration; raise `DemoError` where it fails."""
        sources = list(standard_library())
        text = self._place / "stdlib.txt"
        lines = concatenate(sources, text)
        say(
            f"The text: the source of Python {sys.version.split()[0]}'s standard library, "
            f"{len(sources):,} files, {lines:,} lines, {text.stat().st_size / 1e6:.0f} MB."
        )
        self.show("broker", "start")
        rate = str(round(lines / FEED_SECONDS / 1000) * 1000 or 1000)
        options = ("--mappers", str(MAPPERS), "--reducers", str(REDUCERS), "--rate", rate)
        arguments = ("run", *options, "--input", text.name, "--exit-when-done", "--log-file", "run.log")
        say(f"\n$ wcsup {shlex.join(arguments)}")
        with self._started(*arguments) as running:
            self._began = time.monotonic()
            self._await(running, "every worker is ready", lambda status: bool(status["ready"]))
            self._note(f"{MAPPERS} mappers and {REDUCERS} reducers are ready")
            for role, share in KILLS:
                self._kill(running, role, share)
            summary, _ = running.communicate()
            if running.returncode:
                raise DemoError(f"wcsup run ended with status {running.returncode}: {self._last_log_line()}")
        self._note("everything is counted, every worker has drained\n")
        say(indent(summary))
        self.show("count", "self", "import", "lambda")
        self._compare(sources)

    def _kill(self, running: subprocess.Popen[str], role: str, share: float) -> None:
        """Kill the busiest worker of a role with SIGKILL while it counts, and wait until a new one replaces it."""
        before = self._await(
            running,
            f"{share:.0%} of the text is written and a {role} worker has counted some of it",
            lambda status: fed(status) >= share and busiest(status, role) is not None,
        )
        victim = busiest(before, role)
        assert victim is not None  # noqa: S101 - as waited for
        slot, pid = victim["slot"], victim["pid"]
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        after = self._await(running, "it answers after the kill", lambda _: True)
        if fed(after) >= 1:
            raise DemoError(f"{slot} was not killed in mid-flow: by then the whole text had been written")
        self._note(f"{before['totals']['map']['records']:,} lines counted; kill -9 {pid}, which is {slot}")
        back = self._await(running, f"{slot} is replaced", lambda status: follower(status, victim) is not None)
        new = follower(back, victim)
        assert new is not None  # noqa: S101 - as waited for
        self._note(f"{slot} works again, as process {new['pid']}, {time.monotonic() - killed:.1f} s after the kill")

    def _compare(self, sources: list[Path]) -> None:
        counted = {
            row["word"].encode(): row["count"] for row in json.loads(self.wcsup("top", "-n", str(EVERYTHING), "--json"))
        }
        began = time.monotonic()
        expected = recount(sources)
        say(f"\nOne process with re.split counts the same files in {time.monotonic() - began:.1f} s. ", end="")
        if counted != expected:
            wrong = [word for word in expected.keys() | counted.keys() if expected[word] != counted.get(word, 0)]
            examples = ", ".join(
                f"{word.decode()} {counted.get(word, 0):,} instead of {expected[word]:,}" for word in sorted(wrong)[:5]
            )
            say("")
            raise DemoError(f"{len(wrong):,} words differ: {examples}")
        say(f"{len(expected):,} distinct words, {expected.total():,} words: equal, word by word.")

    def wcsup(self, *arguments: str) -> str:
        """Return the output of a command; raise `DemoError` where it fails."""
        done = subprocess.run(
            (sys.executable, "-m", "wcsup.cli", *arguments),
            env=self._environment,
            cwd=self._place,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            raise DemoError(f"wcsup {shlex.join(arguments)} ended with status {done.returncode}")
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Run a command and show it with its output."""
        say(f"\n$ wcsup {shlex.join(arguments)}")
        say(indent(self.wcsup(*arguments)))

    def stop_broker(self) -> None:
        """Stop the embedded broker, if it runs."""
        self.wcsup("broker", "stop")

    @contextmanager
    def _started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command in the background; drain it if the `with` block is left early."""
        running = subprocess.Popen(
            (sys.executable, "-m", "wcsup.cli", *arguments),
            env=self._environment,
            cwd=self._place,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield running
        finally:
            if running.poll() is None:
                running.terminate()
                try:
                    running.wait(20)
                except subprocess.TimeoutExpired:
                    running.kill()
            if running.stdout:
                running.stdout.close()

    def _await(self, running: subprocess.Popen[str], what: str, holds: Callable[[Status], bool]) -> Status:
        """Return the first status for which `holds` is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if running.poll() is not None:
                raise DemoError(f"wcsup run ended before {what}: {self._last_log_line()}")
            status: Status = json.loads(self.wcsup("status", "--json"))
            if "ready" in status and holds(status):
                return status
            time.sleep(0.1)
        raise DemoError(f"waited {PATIENCE_SECONDS:.0f} s in vain until {what}")

    def _note(self, what: str) -> None:
        say(f"  {time.monotonic() - self._began:5.1f} s  {what}")

    def _last_log_line(self) -> str:
        log = self._place / "run.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return lines[-1] if lines else "it has no log"


def fed(status: Status) -> float:
    """Return the share of the text that is written."""
    progress: dict[str, Any] = next((task["progress"] for task in status["tasks"]), {})
    return progress.get("bytes_read", 0) / progress["bytes_known"] if progress.get("bytes_known") else 0.0


def busiest(status: Status, role: str) -> Status | None:
    """Return the worker of a role that has counted most; none where no worker has counted."""
    workers = [worker for worker in status["workers"] if worker["role"] == role and worker["state"] == "running"]
    chosen = max(workers, key=lambda worker: int(worker["counters"]["records"]), default=None)
    return chosen if chosen and chosen["counters"]["records"] else None


def follower(status: Status, victim: Status) -> Status | None:
    """Return the new worker in a dead worker's slot, once it works."""
    for worker in status["workers"]:
        if worker["slot"] == victim["slot"] and worker["restarts"] > victim["restarts"] and worker["ready"]:
            found: Status = worker
            return found
    return None


def standard_library() -> Iterator[Path]:
    """Yield the source files of this Python's standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if path.is_file() and not {"site-packages", "dist-packages"} & set(path.parts):
            yield path


def concatenate(sources: list[Path], into: Path) -> int:
    """Write all files into one, and return how many lines it has."""
    lines = 0
    with into.open("wb") as out:
        for source in sources:
            text = source.read_bytes()
            if text and not text.endswith(b"\n"):
                text += b"\n"
            lines += text.count(b"\n")
            out.write(text)
    return lines


def recount(sources: list[Path]) -> Counter[bytes]:
    """Count the words of files in plain Python."""
    counts: Counter[bytes] = Counter()
    for source in sources:
        counts.update(re.split(rb"[^a-zA-Z_]+", source.read_bytes().lower()))
    del counts[b""]
    return counts


def indent(text: str) -> str:
    """Return lines moved to the right, without empty ones at the end."""
    return "\n".join(f"  {line}".rstrip() for line in text.rstrip().splitlines())


def say(text: str, end: str = "\n") -> None:
    """Print and flush, since standard output may be a pipe."""
    print(text, end=end, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End in order; ignore a second signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    """Show the demonstration; return 0 where the counts are equal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="wcsup-demo-"))
    demo = Demo(place)
    try:
        demo.run()
    except DemoError as error:
        say(f"demo: {error}")
        return 1
    except KeyboardInterrupt:
        say("\ndemo: interrupted; stopping what it started")
        return 130
    finally:
        demo.stop_broker()
        shutil.rmtree(place, ignore_errors=True)
    say(f"The demo took {time.monotonic() - began:.0f} s; its broker and files are gone again.")
    return 0
