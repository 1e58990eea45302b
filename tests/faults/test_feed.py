"""What `gen` says of its lines when a broker does not take them: never more than is known, and never less."""

import re
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import brokers
import pytest
from application import WAIT_SECONDS, prose, wait_for
from brokers import Doors
from fixtures import configuration
from shell import Shell

from wcsup.audit.proxy import Api, Proxy
from wcsup.errors import INTERRUPTED, ExitStatus

RATE = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """What `gen` says of its lines."""

    status: int
    text: str
    written: int
    unknown: int
    failed: int


def said(process: "subprocess.Popen[bytes]") -> Said:
    _, err = process.communicate(timeout=WAIT_SECONDS)
    found = re.search(
        rb"([\d,]+) lines are written(?:, ([\d,]+) may be \(sent, and no answer came\))?, ([\d,]+) are not", err
    )
    assert found, err
    numbers = [int((group or b"0").replace(b",", b"")) for group in found.groups()]
    return Said(process.returncode, err.decode(), *numbers)


def feed(shell: Shell, lines: list[bytes], options: str) -> "subprocess.Popen[bytes]":
    text = shell.file("text", b"\n".join(lines))
    return shell.start(f"gen {text} --rate {RATE} {options}", stdout=subprocess.DEVNULL)


def impatient(shell: Shell) -> str:
    """Return an option that has a line wait for a broker for a few seconds and not for minutes."""
    return f"--kafka-config {shell.file('impatient.properties', b'message.timeout.ms=4000')}"


def check(shell: Shell, heard: Said, lines: list[bytes]) -> int:
    """Check what was said against the topic; return how many of the lines are there."""
    there = Counter(line for _, line in shell.lines())
    assert not there - Counter(lines), "none is there twice"
    assert heard.written <= there.total() <= heard.written + heard.unknown, heard
    assert heard.written + heard.unknown + heard.failed == len(lines), heard
    assert "would count twice" in heard.text
    return there.total()


def test_lines_whose_answer_is_lost_are_unknown_and_not_unwritten(wcsup: Shell, proxy: Proxy, seed: int) -> None:
    # Given lines on their way
    wcsup.application.make_topics()
    lines = prose(20_000, seed)
    trap = proxy.hold_answer(Api.PRODUCE, skip=5)
    feeding = feed(wcsup, lines, f"--bootstrap-servers {proxy.address} {impatient(wcsup)}")

    # When the broker writes some of which no answer comes, and is out of reach from then on
    wait_for("an answer is kept back", trap.sprung.is_set)
    proxy.shut()
    heard = said(feeding)

    # Then they are unknown, and what was never sent is not written
    assert heard.status == ExitStatus.BROKER_UNREACHABLE
    assert "no broker took lines within message.timeout.ms" in heard.text
    assert check(wcsup, heard, lines) > heard.written > 0, "more is there than was answered"
    assert heard.failed > heard.unknown > 0
    trap.release()
    proxy.reopen()


def test_lines_that_no_broker_was_given_are_not_unknown(wcsup: Shell, proxy: Proxy, seed: int) -> None:
    # Given a broker that is out of reach before the first line is sent
    wcsup.application.make_topics()
    lines = prose(3000, seed)
    trap = proxy.hold_answer(Api.INIT_PRODUCER_ID)
    feeding = feed(wcsup, lines, f"--bootstrap-servers {proxy.address} {impatient(wcsup)}")
    wait_for("it has asked for its id", trap.sprung.is_set)
    proxy.shut()
    heard = said(feeding)
    proxy.reopen()

    # Then all of them are not written, and may be sent again
    assert (heard.status, heard.written, heard.unknown, heard.failed) == (6, 0, 0, 3000), heard
    assert "twice" not in heard.text
    assert wcsup.lines() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_second_signal_gives_up_is_told(wcsup: Shell, proxy: Proxy, seed: int, number: signal.Signals) -> None:
    # Given a broker that stopped answering while lines are on their way
    wcsup.application.make_topics()
    lines = prose(100_000, seed)
    trap = proxy.hold_answer(Api.PRODUCE, skip=5)
    feeding = feed(wcsup, lines, f"--bootstrap-servers {proxy.address}")
    wait_for("an answer is kept back", trap.sprung.is_set)

    # When it is interrupted, and once more since it waits for that broker
    feeding.send_signal(number)
    assert feeding.stderr is not None
    line = feeding.stderr.readline()
    assert b"again to give them up" in line, line
    feeding.send_signal(number)

    # Then it ends, and says what may have been written
    heard = said(feeding)
    assert heard.status == (INTERRUPTED if number == signal.SIGINT else 128 + signal.SIGTERM)
    assert heard.unknown > 0
    trap.release()
    read = heard.written + heard.unknown + heard.failed
    check(wcsup, heard, lines[:read])


def test_a_broker_that_is_killed(tmp_path: Path, seed: int) -> None:
    # Given lines on their way to a broker of the test's own
    with brokers.broker(tmp_path / "broker", Doors.find()) as mortal:
        shell = Shell(configuration(mortal.address, tmp_path / "state"), tmp_path)
        shell.application.make_topics()
        lines = 10 * prose(100_000, seed)
        feeding = feed(shell, lines, impatient(shell))
        wait_for("lines come", shell.lines)

        # When it is killed
        mortal.kill()
        heard = said(feeding)
        assert heard.status == ExitStatus.BROKER_UNREACHABLE
        assert "what follows in text was not read" in heard.text
        assert min(heard.written, heard.failed) > 0

        # Then what it has, when it is back, is between what was said to be written and what may be
        mortal.start()
        check(shell, heard, lines[: heard.written + heard.unknown + heard.failed])
        shell.stop()
