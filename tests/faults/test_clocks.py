"""The wall clock set back and forward, and records of any time: nothing depends on it.

Shifted is all that a worker process sees of the time of day: Python, librdkafka, RocksDB and Rust (`clock.c`,
preloaded). Not shifted are the broker's clock, the kernel's own (file times), and waits under way when it jumps.
"""

import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from application import Application, prose, wait_for
from confluent_kafka import Producer
from invariants import Witness, hold
from keeper import Slot, keeping
from reference import recount

from wcsup.errors import ExitStatus
from wcsup.kafka import clients

DAY = 86_400
"""More seconds than any time-out has."""

Jump = Callable[[int], None]


@pytest.fixture
def shifted(tmp_path: Path) -> tuple[dict[str, str], Jump]:
    """Return the environment of processes whose wall clock can be shifted, and a function that does it."""
    compiler = shutil.which("cc")
    assert compiler, "the Rust toolchain links with it"
    library, shift = tmp_path / "clock.so", tmp_path / "shift"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    shift.write_bytes(struct.pack("=q", 0))

    def jump(seconds: int) -> None:
        with shift.open("r+b") as file:
            file.write(struct.pack("=q", seconds))

    environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(shift)}
    jump(DAY)
    told = subprocess.check_output([sys.executable, "-c", "import time; print(time.time())"], env=environment)
    assert float(told) > time.time() + DAY / 2, "it is shifted"
    jump(0)
    return environment, jump


def test_a_wall_clock_that_jumps(application: Application, seed: int, shifted: tuple[dict[str, str], Jump]) -> None:
    environment, jump = shifted
    jumps = (0, DAY, 0, -DAY, 40 * DAY)
    lines = prose(len(jumps) * 500, seed)
    slots: list[Slot] = [("map", "0"), ("reduce", "0")]
    with keeping(application, *slots, environment=environment) as keeper, Witness(application):
        # When the clock goes forward and back, under load, between commits and in them
        for number, seconds in enumerate(jumps):
            with application.feeding(lines[500 * number : 500 * (number + 1)], rate=1000):
                jump(seconds)
            application.wait_counted()

        # Then nobody is for that taken for dead, and no transaction for overdue
        assert keeper.ends == []
        assert keeper.aborts() == 0
    hold(application, lines)


def test_a_clock_that_kafka_refuses_is_said(
    application: Application, seed: int, shifted: tuple[dict[str, str], Jump]
) -> None:
    """Where somebody else made the topic: by default it has the time of whoever writes."""
    environment, jump = shifted
    application.configure("words", {"message.timestamp.type": "CreateTime"})
    lines = prose(200, seed)
    application.feed(lines)
    jump(DAY)
    mapper = application.start("map", environment=environment)
    assert mapper.wait() == ExitStatus.CONFIGURATION, mapper.log[-3:]
    assert "set the clock, or give the topic" in mapper.log[-1]

    # And with its clock set it goes on
    jump(0)
    application.start("map", environment=environment)
    application.start("reduce", environment=environment)
    hold(application, lines)


def test_lines_of_1970_and_of_the_next_century_are_counted(application: Application, seed: int) -> None:
    # Given a topic that takes records of the future, as most do not
    topic = application.config.topic("lines")
    application.configure("lines", {"message.timestamp.after.max.ms": "10000000000000"})
    lines = prose(600, seed)
    producer = Producer(clients.settings(application.config))
    refused: list[object] = []
    for number, line in enumerate(lines):
        when = (1, 4_102_444_800_000, 0)[number % 3]  # 0 is now
        producer.produce(
            topic, line, timestamp=when, on_delivery=lambda error, _: refused.append(error) if error else None
        )
    assert producer.flush(30) == 0
    assert not refused

    application.start("map")
    reducer = application.start("reduce")
    wait_for("all is counted", lambda: reducer.report.total == recount(lines).total())
    hold(application, lines)
