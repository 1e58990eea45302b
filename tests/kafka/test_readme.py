"""Every command of the README is run, as it stands there."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from application import wait_for

README = Path(__file__).parents[2] / "README.md"

ONCE = (
    "wcsup doctor",
    "wcsup gen book.txt",
    "wcsup top -n 20",
    "wcsup count whale ship",
    "wcsup verify",
)
"""In this order, while `RUN` runs."""

RUN = "wcsup run --mappers 4 --reducers 2"

ELSEWHERE = {
    "wcsup demo",  # tests/kafka/test_demo.py
    "wcsup run",  # in a sentence
}


def commands() -> set[str]:
    """Return what the README shows behind a prompt or between backticks."""
    text = README.read_text()
    shown = re.findall(r"^\$ (.*?)(?:  +#.*)?$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    return {line.replace("\\|", "|").strip() for line in shown if re.search(r"(^|\| )wcsup [a-z]", line)}


@pytest.fixture
def place(tmp_path: Path, broker: str) -> dict[str, str]:
    """A directory with the file that the README names, and the environment of an application of its own."""
    text = "The whale, the ship and the sea.\n" * 500
    (tmp_path / "book.txt").write_text(text)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PWD": str(tmp_path),
        "WCSUP_BOOTSTRAP_SERVERS": broker,
        "WCSUP_APP_ID": "readme",
        "WCSUP_TOPIC_PREFIX": "readme-",
        "WCSUP_STATE_DIR": str(tmp_path / "state"),
        "WCSUP_DATA_DIR": str(tmp_path / "data"),
        "WCSUP_PARTITIONS": "8",
    }


@pytest.fixture
def pool(place: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The run that the other commands are for."""
    running = start(RUN, place)
    wait_for("it is ready", lambda: b", ready" in once("wcsup status", place).stdout)
    yield running
    if running.poll() is None:
        running.kill()
    running.communicate()


def start(command: str, place: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a command; what it says is in the file `said`."""
    with (Path(place["PWD"]) / "said").open("wb") as said:
        return subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            env=place,
            cwd=place["PWD"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )


def once(command: str, place: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=place,
        cwd=place["PWD"],
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_the_readme_shows_no_command_that_is_not_run() -> None:
    assert commands() == {*ONCE, RUN, *ELSEWHERE}


def test_the_commands_do_what_they_say(place: dict[str, str], pool: subprocess.Popen[bytes]) -> None:
    for command in ONCE:
        done = once(command, place)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    pool.send_signal(signal.SIGINT)
    assert pool.wait(60) in {0, 128 + signal.SIGINT}, (Path(place["PWD"]) / "said").read_text()
