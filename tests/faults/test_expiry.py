"""Workers that are idle, or stopped, for longer than Kafka remembers producers and their names."""

import signal
from collections.abc import Iterator
from pathlib import Path

import brokers
import pytest
from application import Application, prose, stopped, wait_for
from brokers import Doors
from fixtures import configuration
from invariants import Witness, hold
from keeper import keeping
from tools import Tools

from wcsup.errors import ExitStatus
from wcsup.pipeline.report import Role

# In earnest: a week, a day, and looked at every hour or ten minutes.
_FORGETFUL = """
transactional.id.expiration.ms=2000
transaction.remove.expired.transaction.cleanup.interval.ms=200
producer.id.expiration.ms=2000
producer.id.expiration.check.interval.ms=200
"""


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    """An application on a broker that forgets fast."""
    with brokers.broker(tmp_path / "broker", Doors.find(), _FORGETFUL) as running:
        under_test = Application(configuration(running.address, tmp_path / "state"))
        under_test.make_topics()
        yield under_test
        under_test.stop()


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    place = tmp_path / "tools"
    place.mkdir()
    return Tools(place)


def names(application: Application, tools: Tools) -> set[str]:
    """The transactional ids that the broker remembers."""
    printed = tools.type(f"kafka-transactions.sh --bootstrap-server {application.config.bootstrap_servers} list")
    return {line.split()[0] for line in printed.splitlines()[1:]}


def test_a_worker_whose_name_kafka_forgot_while_there_were_no_lines_counts_on(
    application: Application, tools: Tools, seed: int
) -> None:
    lines = prose(2000, seed)
    with keeping(application, ("map", "0"), ("reduce", "0")) as keeper, Witness(application):
        application.feed(lines[:1000])
        application.wait_counted()
        wait_for("their names are forgotten", lambda: not names(application, tools))

        application.feed(lines[1000:])
        application.wait_counted()
        assert keeper.aborts() or keeper.ends, "Kafka has refused a commit under a name that it does not know"
    hold(application, lines)


@pytest.mark.parametrize("role", ["map", "reduce"])
@pytest.mark.parametrize("step", [pytest.param("after-produce", marks=pytest.mark.long), "after-send-offsets"])
def test_a_worker_that_stood_still_until_its_successor_was_forgotten_writes_nothing(
    application: Application, tools: Tools, seed: int, role: Role, step: str
) -> None:
    # Given a worker that is stopped in the middle of a commit, and one that did its work under its name
    lines = prose(2000, seed)
    application.start("reduce" if role == "map" else "map")
    still = application.start(role, crash=f"stop:{step}", transaction_timeout=3.0, session_timeout=3.0)
    application.feed(lines)
    wait_for("it is stopped", lambda: stopped(still))
    successor = application.start(role, state=application.elsewhere())
    with Witness(application):
        application.wait_counted()
        for worker in application.workers:
            if worker is not still:
                worker.drain()

        # When Kafka has forgotten the name, and it goes on
        wait_for("the name is forgotten", lambda: not names(application, tools))
        still.signal(signal.SIGCONT)

        # Then it commits nothing of what it had
        assert successor.process.returncode == ExitStatus.DONE
        wait_for("it has noticed", lambda: still.process.poll() is not None or still.report.counters.aborts)
        still.signal(signal.SIGTERM)
        still.wait()
    hold(application, lines, states=[application.elsewhere()])
