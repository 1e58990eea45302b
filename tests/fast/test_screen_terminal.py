"""The screen of a run on a pseudo-terminal: keys that reach the supervisor, and a terminal that is always restored."""

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from emulator import Emulator
from rich.text import Text
from running import Running, wait_for

from wcsup.errors import ExitStatus
from wcsup.observe.screen.terminal import Terminal, usable


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    monkeypatch.setenv("TERM", "xterm-256color")
    with Emulator(80, 24) as made:
        yield made


def started(tmp_path: Path, terminal: Emulator, **said: Any) -> Running:
    return Running(tmp_path / "state", terminal=terminal.theirs, screen=True, **said)


def on_terminal(terminal: Emulator, command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=terminal.theirs, stdout=terminal.theirs, stderr=terminal.theirs)


def until_shown(terminal: Emulator, text: str) -> None:
    wait_for(lambda: text in terminal.text, f"{text!r} on the screen:\n{terminal.text}")


def until_filled(terminal: Emulator) -> None:
    wait_for(
        lambda: len(terminal.shown) == terminal.lines and terminal.shown[0].endswith("● ready"),
        f"{terminal.lines} lines of {terminal.columns} columns:\n{terminal.text}",
    )


def assert_restored(terminal: Emulator) -> None:
    """What was written last may not have been read from the pseudo-terminal yet."""
    wait_for(lambda: terminal.attributes == terminal.first, "its modes are as before")
    wait_for(lambda: not terminal.full_screen, "the ordinary screen")
    wait_for(lambda: "?25" in terminal.modes, "the cursor")
    wait_for(lambda: "?2004" not in terminal.modes, "pasted text comes without marks")


def test_keys_steer_the_run_and_the_terminal_is_as_before_afterwards(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        assert not terminal.attributes[3] & termios.ICANON
        assert terminal.attributes[3] & termios.ISIG, "Ctrl-C stays a signal"
        terminal.type("+")
        run.until(lambda s: [w["slot"] for w in s["workers"]] == ["map-0", "map-1", "reduce-0"])
        terminal.type("-")
        run.until(lambda s: [w["slot"] for w in s["workers"]] == ["map-0", "reduce-0"])
        terminal.type("\t+")
        run.until(lambda s: [w["slot"] for w in s["workers"]] == ["map-0", "reduce-0", "reduce-1"])
        until_shown(terminal, "reduce-1 running")
        terminal.type("\x1b[Bk")
        run.until(lambda s: s["restarts"] == {"killed": 1} and s["ready"])
        assert run.worker("reduce-1")["restarts"] == 1
        until_shown(terminal, "killed by SIGKILL, as asked, back in")
        terminal.type("R")
        run.until(lambda s: s["restarts"] == {"killed": 1, "requested": 3})
        terminal.type("/Whale\r")
        until_shown(terminal, "Whale: 7, up to offset 9 of counts")
        terminal.type("v")
        until_shown(terminal, "verify: exact: all")
        terminal.type("l")
        until_shown(terminal, "── log ──")
        until_shown(terminal, "info: started")
        terminal.type("q")
        assert run.end() == ExitStatus.DONE
        wait_for(lambda: "ended: killed by SIGKILL, as asked" in terminal.text, "the warnings stay")
        assert "info: started" not in terminal.text, "what was no warning scrolled over nothing"
    assert_restored(terminal)


def test_ctrl_c_drains(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        terminal.type("\x03")
        assert run.end() == ExitStatus.DONE
    assert_restored(terminal)


def test_ctrl_z_gives_the_terminal_to_the_shell_and_takes_it_again(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        process = psutil.Process(run.process.pid)
        terminal.type("\x1a")
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED, "it is stopped")
        assert_restored(terminal)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: terminal.full_screen and "● ready" in terminal.text, "it is drawn again")
        assert not terminal.attributes[3] & termios.ICANON
        terminal.type("q")
        assert run.end() == ExitStatus.DONE
    assert_restored(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_that_ends_the_run_leaves_the_terminal_as_it_was(
    tmp_path: Path, terminal: Emulator, number: signal.Signals
) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        run.signal(number)
        assert run.end() == (ExitStatus.DONE if number == signal.SIGTERM else -number)
    assert_restored(terminal)


def test_a_defect_in_the_loop_leaves_the_terminal_as_it_was(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal, fails="loop") as run:
        assert run.end() == 1
        wait_for(lambda: "RuntimeError: a defect in the loop" in terminal.text)
    assert_restored(terminal)


def test_a_defect_in_the_drawing_ends_the_screen_and_not_the_run(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal, fails="drawing") as run:
        run.until_ready()
        wait_for(lambda: not terminal.full_screen and "?25" in terminal.modes, "the terminal is given back")
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
        wait_for(lambda: "the screen can't be shown any more; the run goes on" in terminal.text)
    assert_restored(terminal)


def test_a_resized_terminal_is_filled_anew(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        for columns, lines in ((120, 40), (60, 15), (30, 6), (100, 30)):
            terminal.resize(columns, lines)
            until_filled(terminal)
            assert all(len(line) <= columns for line in terminal.shown)
        terminal.type("q")
        assert run.end() == ExitStatus.DONE


def test_a_terminal_that_is_closed_ends_the_run_in_order(tmp_path: Path) -> None:
    terminal = Emulator(80, 24)
    with terminal:
        run = started(tmp_path, terminal)
        wait_for(lambda: "● ready" in terminal.text)
    with run:  # both ends are closed: a hang-up
        assert run.end() == ExitStatus.DONE


def test_the_screen_of_another_process_has_the_same_keys_and_leaves_the_run_alone(
    tmp_path: Path, terminal: Emulator
) -> None:
    with Running(tmp_path / "state") as run:
        run.until_ready()
        command = [sys.executable, "-m", "wcsup.cli", "status", "--watch", "--state-dir", str(run.state)]
        watching = on_terminal(terminal, command)
        until_shown(terminal, "● ready")
        terminal.type("k")
        run.until(lambda s: s["restarts"] == {"killed": 1} and s["ready"])
        until_shown(terminal, "killed by SIGKILL, as asked, back in")
        terminal.type("q")
        assert watching.wait(30) == 0
        assert_restored(terminal)
        assert run.status()["ready"]

        watching = on_terminal(terminal, command)
        until_shown(terminal, "● ready")
        terminal.type("D")
        assert run.end() == ExitStatus.DONE
        assert watching.wait(30) == 0
        until_shown(terminal, "the run has ended")
        assert_restored(terminal)


def test_a_log_file_has_all_lines_and_the_terminal_the_warnings(tmp_path: Path, terminal: Emulator) -> None:
    log = tmp_path / "log"
    with started(tmp_path, terminal, log_file=str(log)) as run:
        until_shown(terminal, "● ready")
        terminal.type("k")
        run.until(lambda s: s["restarts"] == {"killed": 1} and s["ready"])
        terminal.type("q")
        assert run.end() == ExitStatus.DONE
        assert "ended: killed by SIGKILL, as asked" in terminal.text
    assert "info: started" in log.read_text()
    assert "ended: killed by SIGKILL, as asked" in log.read_text()


@pytest.mark.parametrize(("kind", "expected"), [("xterm", True), ("dumb", False), ("", False)])
def test_a_terminal_that_knows_no_codes_gets_no_screen(
    terminal: Emulator, monkeypatch: pytest.MonkeyPatch, kind: str, expected: bool
) -> None:
    monkeypatch.setenv("TERM", kind)
    with os.fdopen(os.dup(terminal.theirs), "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert usable() == expected
    with Path(os.devnull).open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert not usable()


def test_a_line_has_its_own_style_and_that_of_its_parts(terminal: Emulator) -> None:
    shown = Terminal(terminal.theirs, terminal.theirs)
    shown.show([Text("gone", "bold red"), Text.assemble(("all ", "bold"), "green", style="green")])
    wait_for(lambda: "green" in terminal.text)
    assert b"\x1b[1;31mgone" in terminal.raw
    assert b"\x1b[1;32mall " in terminal.raw
    assert b"\x1b[32mgreen" in terminal.raw


def test_what_is_pasted_is_no_command(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        terminal.type("\x1b[200~kkkqq\x1b[201~/\x1b[200~Moby\x1b[201~\r")
        until_shown(terminal, "Moby: 7")
        assert run.status()["restarts"] == {}
        terminal.type("q")
        assert run.end() == ExitStatus.DONE


def test_a_paused_terminal_holds_nothing_up(tmp_path: Path, terminal: Emulator) -> None:
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        terminal.type("\x13")  # Ctrl-S
        run.signal(signal.SIGTERM)
        assert run.end() == ExitStatus.DONE
    assert_restored(terminal)


def test_the_screen_keeps_to_a_terminal_without_colours(
    tmp_path: Path, terminal: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with started(tmp_path, terminal) as run:
        until_shown(terminal, "● ready")
        terminal.type("q")
        assert run.end() == ExitStatus.DONE
    colours = [code for code in range(30, 48) if f"\x1b[{code}m".encode() in terminal.raw]
    assert not colours
    assert os.fsencode("\x1b[1;7m") in terminal.raw, "bold and reversed are no colours"
