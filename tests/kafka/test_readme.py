"""Every command of the README is run, as it stands there."""

import gzip
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
    "wcsup doctor --acls",
    "wcsup status",
    "wcsup status --all",
    "wcsup gen book.txt",
    "zcat dump.gz | wcsup gen -",
    "wcsup scale --mappers 8 --reducers 4",
    "wcsup restart map-0",
    "wcsup count whale ship",
    "wcsup explain whale",
    "wcsup chaos --minutes 1 --seed 7",
    "wcsup verify",
    "wcsup txn settle",
    "wcsup txn list",
    "wcsup positions",
    "wcsup events",
    "wcsup events --json",
    "wcsup completion bash",
    "wcsup drain",
    "wcsup run --input book.txt --exit-when-done",
    "wcsup del",
    "wcsup broker start",
    "wcsup broker status",
    "wcsup broker stop",
)
"""In this order, while `wcsup run --mappers 4 --reducers 2` runs until it is drained."""

UNTIL_INTERRUPTED = (
    "wcsup gen --demo --rate 1000",
    "wcsup top -n 20 --watch",
    "wcsup map 0",
    "wcsup reduce 0",
    "wcsup run --http 127.0.0.1:9090",
    "wcsup run --mappers 4 --reducers 2 --app-id books --topic-prefix books- --kafka-config sasl.properties",
)

SHORTENED = {"--minutes 1": "--minutes 0.1", "127.0.0.1:9090": "127.0.0.1:0"}

ELSEWHERE = {
    "wcsup run --mappers 4 --reducers 2",
    # What the demo shows of itself; tests/kafka/test_commands.py has these.
    "wcsup run --mappers 4 --reducers 2 --rate 61000 --input stdlib.txt --exit-when-done --log-file run.log",
    "wcsup status --json",
    "wcsup run",
    # tests/kafka/test_commands.py, test_secure.py, test_txn.py, and test_embedded_cluster.py and test_supervisors.py of
    # tests/faults have these.
    "wcsup restart all --measure",
    "wcsup status --watch",
    "wcsup broker start --secure",
    "wcsup broker start --secure --data-dir locked --app-id books",
    "wcsup run --app-id books --kafka-config locked/users/books/kafka.properties",
    "wcsup txn abort NAME",
    "wcsup broker start --nodes 3",
    "wcsup drain --leave",
    "wcsup events --follow",  # tests/fast/test_events.py
    "wcsup demo",  # it is what make demo runs
    # tests/kafka/test_moving.py has these.
    "wcsup drain --leave --wait",
    "wcsup repartition",
    "wcsup repartition 24",
    "wcsup backup DIR",
    "wcsup backup /backups/monday",
    "wcsup restore DIR",
    "wcsup restore --instead",
    "wcsup restore /backups/monday --bootstrap-servers new-kafka:9092",
}


def commands() -> set[str]:
    """Return what the README shows behind a prompt or between backticks."""
    text = README.read_text()
    shown = re.findall(r"^\$ (.*?)(?:  +#.*)?$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    return {line.replace("\\|", "|").strip() for line in shown if re.search(r"(^|\| )wcsup [a-z]", line)}


def short(command: str) -> str:
    for long, brief in SHORTENED.items():
        command = command.replace(long, brief)
    return command


@pytest.fixture
def place(tmp_path: Path, broker: str) -> dict[str, str]:
    """A directory with the files that the README names, and the environment of an application of its own."""
    text = "The whale, the ship and the sea.\n" * 500
    (tmp_path / "book.txt").write_text(text)
    (tmp_path / "dump.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "sasl.properties").write_text("# nothing\nclient.dns.lookup=use_all_dns_ips\n")
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
    """The run that the others steer."""
    running = start("wcsup run --mappers 4 --reducers 2", place)
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
    assert commands() == {*ONCE, *UNTIL_INTERRUPTED, *ELSEWHERE}


@pytest.mark.timeout(300)
def test_commands_that_end_do_so_well(place: dict[str, str], pool: subprocess.Popen[bytes]) -> None:
    for command in ONCE:
        done = once(short(command), place)
        assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
        if command == "wcsup drain":
            assert pool.wait(60) == 0


@pytest.mark.parametrize("command", UNTIL_INTERRUPTED)
def test_commands_that_go_on_end_well_when_interrupted(command: str, place: dict[str, str]) -> None:
    if "--app-id" in command:
        place["WCSUP_STATE_DIR"] += "-books"
    if "run" not in command:
        assert once("wcsup gen book.txt", place).returncode in {0, 3}
    process = start(short(command), place)
    state = Path(place["WCSUP_STATE_DIR"])
    if "gen" in command or "top" in command:
        wait_for("it has loaded its clients", lambda: len(list(Path(f"/proc/{process.pid}/task").iterdir())) > 1)
    else:
        wait_for("it uses its state", (state / "application.json").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in {0, 128 + signal.SIGINT}, (Path(place["PWD"]) / "said").read_text()
