"""Misspelt commands, and command lines that a shell completes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wcsup.cli import main, steer
from wcsup.cli.app import app
from wcsup.errors import ConfigurationError


def completed(line: str) -> list[str]:
    """Return what bash would be offered for a line."""
    words = line.split(" ")
    environment = {"_WCSUP_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    called = subprocess.run(
        [sys.executable, "-m", "wcsup"], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return [offered.partition(",")[2] for offered in called.stdout.splitlines()]


def test_a_misspelt_command_is_told_what_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stauts"]) == 2
    assert capsys.readouterr().err == "wcsup: No such command 'stauts': did you mean status? (see wcsup --help)\n"
    assert main(["xyzzy"]) == 2
    assert "mean" not in capsys.readouterr().err


def test_commands_and_options_are_completed() -> None:
    assert {"restart", "restore"} <= set(completed("wcsup rest"))
    assert completed("wcsup run --red") == ["--reducers"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"_WCSUP_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_the_slots_of_the_running_run_are_completed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def ask(config: Any, command: str) -> Any:
        asked.append((config.state, command))
        return {"workers": [{"slot": "map-0"}, {"slot": "map-1"}, {"slot": "reduce-0"}]}

    monkeypatch.setattr(steer, "ask", ask)
    restart = app.get_command(app.make_context("wcsup", ["restart", "x"]), "restart")
    assert restart is not None
    ctx = restart.make_context("restart", ["--state-dir", str(tmp_path), "x"])
    slot = next(parameter for parameter in restart.params if parameter.name == "slot")
    assert [item.value for item in slot.shell_complete(ctx, "map")] == ["map-0", "map-1"]
    assert [item.value for item in slot.shell_complete(ctx, "")] == ["map-0", "map-1", "reduce-0", "all"]
    assert asked[0] == (tmp_path, "status")

    def refuse(*_: Any) -> Any:
        raise ConfigurationError("no supervisor runs")

    monkeypatch.setattr(steer, "ask", refuse)
    assert slot.shell_complete(ctx, "") == []
