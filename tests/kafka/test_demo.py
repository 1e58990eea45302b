"""The demonstration on a real Kafka: what it tells did happen, and nothing is left of it."""

import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Self

import psutil
import pytest
from application import wait_for
from reference import recount

from wcsup.config import Config
from wcsup.demo.acts import Acts
from wcsup.demo.commands import DemoCommands
from wcsup.demo.cues import Left
from wcsup.demo.text import DemoText, standard_library
from wcsup.errors import INTERRUPTED
from wcsup.observe.screen.scene import Caption
from wcsup.supervisor import Snapshot

FILES = 300


class Listener:
    """Remembers what is told, and the snapshots that are shown."""

    reading = 0.0

    def __init__(self, leaves_at: str = "never") -> None:
        self.told: list[Caption] = []
        self.shown: list[Snapshot] = []
        self._leaves_at = leaves_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tell(self, caption: Caption) -> None:
        self.told.append(caption)

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)

    @property
    def left(self) -> bool:
        return any(caption.heading.startswith(self._leaves_at) for caption in self.told)


@pytest.fixture
def demo(broker: str, tmp_path: Path) -> Iterator[tuple[Config, DemoCommands]]:
    config = Config(
        bootstrap_servers=broker,
        app_id="demo",
        topic_prefix=f"{tmp_path.name}-",
        host="demo",
        state_dir=tmp_path / "state",
    )
    commands = DemoCommands(config, tmp_path)
    yield config, commands
    commands.output("del", "--yes")
    assert not processes_of(tmp_path)


def processes_of(place: Path) -> list[str]:
    """The processes that have a directory in their environment or their arguments."""
    found = []
    for process in psutil.process_iter():
        try:
            lines = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(place) in line for line in lines):
            found.append(" ".join(process.cmdline()))
    return found


def test_what_the_acts_tell_has_happened_and_every_word_is_counted_right(demo: tuple[Config, DemoCommands]) -> None:
    text, listener = DemoText.read(islice(standard_library(), FILES)), Listener()
    acts = Acts(*demo, text, listener)

    acts.play()

    expected = recount([text.data])
    told = {caption.heading[0]: caption.text for caption in listener.told}
    assert [*told] == ["B", "1", "2", "3", "4", "5"]
    long = [caption.text for caption in listener.told if len(textwrap.wrap(caption.text, 78)) > 2]
    assert not long, "captions are for two lines of 80 columns"
    happened = [(event.slot, event.event, event.reason) for event in acts.events]
    assert any(event == "scaled" and reason == "map: 2 to 3 workers" for _, event, reason in happened)
    victims = [slot for slot, event, reason in happened if event == "ended" and reason.startswith("killed by SIGKILL")]
    assert len(victims) == 1
    assert f"{victims[0]} is back in " in told["3"]
    assert any((slot, event) == (victims[0], "back") for slot, event, _ in happened)
    fenced = [slot for slot, event, reason in happened if event == "ended" and reason == "exit status 4 (fenced)"]
    assert len(fenced) == 1
    assert f"{fenced[0]} of the run works again" in told["4"]
    assert [slot for slot, event, _ in happened if event == "left down"] == fenced
    assert listener.shown[-1].ready
    assert listener.shown[-1].lines_lag == 0
    assert f"{len(expected):,} different words, {expected.total():,} in all" in told["5"]


def test_an_audience_that_leaves_ends_it(demo: tuple[Config, DemoCommands]) -> None:
    text = DemoText.read(islice(standard_library(), FILES))
    with pytest.raises(Left):
        Acts(*demo, text, Listener(leaves_at="Before")).play()


def test_an_interrupt_gives_the_terminal_back_and_leaves_nothing(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    said = bytearray()

    def read() -> None:
        while b"status" not in said[-100:]:
            said.extend(os.read(ours, 65536))

    threading.Thread(target=read, daemon=True).start()
    process = subprocess.Popen(
        [sys.executable, "-m", "wcsup.cli", "demo"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm-256color"},
        start_new_session=True,
    )
    wait_for("the first act is told", lambda: b"1 of 5" in said, 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == INTERRUPTED
    assert termios.tcgetattr(theirs) == before
    assert said.count(b"\x1b[?1049h") == said.count(b"\x1b[?1049l") == 1
    wait_for("it says so", lambda: b"demo: interrupted before its end" in said)
    assert not list(tmp_path.iterdir())
    assert not processes_of(tmp_path)
