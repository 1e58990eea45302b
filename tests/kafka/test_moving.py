"""`wcsup backup`, `restore` and `repartition` on a real Kafka: exact totals, whatever dies in between."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from application import WAIT_SECONDS, Application, WorkerProcess, prose, wait_for
from confluent_kafka import TopicPartition
from invariants import check_counts, hold
from shell import Shell

from wcsup.errors import ExitStatus
from wcsup.kafka import topics
from wcsup.moving.backup import Backup
from wcsup.process.crash import MOVES

KILLED = -9
STEPS = [name for name in MOVES if name.startswith("moving-") and name != "moving-made"]
Host = Callable[[str, int], Shell]


@pytest.fixture
def host(wcsup: Shell, tmp_path: Path) -> Iterator[Host]:
    """Make a host of an application that has no topics yet, by its name and its number of partitions."""
    made: list[Shell] = []

    def make(name: str, partitions: int) -> Shell:
        own = f"{wcsup.config.app_id}-{name}"
        place = tmp_path / name
        place.mkdir()
        config = replace(
            wcsup.config, app_id=own, topic_prefix=f"{own}.", partitions=partitions, state_dir=place / "state"
        )
        made.append(Shell(config, place))
        return made[-1]

    yield make
    for shell in made:
        shell.stop()


def end(worker: WorkerProcess) -> None:
    """End a worker, which leaves its group."""
    worker.signal(signal.SIGINT)
    assert worker.wait() == ExitStatus.DONE


def leave_unreduced(application: Application, lines: list[bytes]) -> None:
    """Map lines, whose words no reducer reads, and end the mapper."""
    application.feed(lines)
    mapper = application.start("map")
    wait_for("all lines are mapped", lambda: application.lag().lines == 0)
    end(mapper)
    assert application.lag().words > 0


def count(application: Application, lines: list[bytes]) -> list[WorkerProcess]:
    """Count lines by new workers, and return these."""
    application.feed(lines)
    workers = [application.start("map"), application.start("reduce")]
    application.wait_counted()
    return workers


def test_a_backup_is_restored_into_another_application_with_exact_totals(wcsup: Shell, host: Host) -> None:
    # Given totals of lines, some of which are mapped and not reduced
    application = wcsup.application
    application.make_topics()
    lines = prose(3000, seed=5)
    for worker in count(application, lines[:1500]):
        end(worker)
    leave_unreduced(application, lines[1500:2000])

    # When they are backed up
    done = wcsup("backup bk")
    assert done.status == ExitStatus.DONE, done.err
    backup = Backup(wcsup.place / "bk")
    assert f"{backup.manifest.distinct:,} words, {application.written.total():,} in total" in done.out
    assert backup.manifest.lines.next == dict.fromkeys(range(4), 500)

    # Then another application begins with them, in another number of partitions, though its restore was killed
    other = host("restored", 3)
    place = wcsup.place / "bk"
    for crash in ("moving-copied", "moving-filled"):
        assert other(f"restore {place}", crash=crash).status == KILLED
    refused = other("run --mappers 1 --reducers 1 --plain")
    assert refused.status == ExitStatus.CONFIGURATION
    assert "run wcsup restore, with the same backup, again, which goes on" in refused.err
    done = other(f"restore {place}")
    assert done.status == ExitStatus.DONE, done.err
    assert "in 3 partitions" in done.out
    assert "all of it is counted, 0 lines now" in done.out
    count(other.application, lines[2000:])
    check_counts(other.application, lines)

    # And what exists is not overwritten
    refused = other(f"restore {place}")
    assert refused.status == ExitStatus.CONFIGURATION
    assert f"application {other.config.app_id} exists" in refused.err


def test_lost_totals_are_replaced_and_counting_goes_on_where_they_end(wcsup: Shell) -> None:
    # Given a backup, more lines, and lost totals
    application = wcsup.application
    application.make_topics()
    lines = prose(2000, seed=6)
    for worker in count(application, lines[:1000]):
        end(worker)
    assert wcsup("backup bk").status == ExitStatus.DONE
    for worker in count(application, lines[1000:1500]):
        end(worker)
    topics.remove(application.config, topics.found(application.config, ["counts"]))

    # When they are restored
    assert "exists: restore into another cluster" in wcsup("restore bk").err
    done = wcsup("restore bk --instead")
    assert done.status == ExitStatus.DONE, done.err
    assert "counting goes on there, with 500 lines" in done.out

    # Then the lines since the backup are counted again, once
    count(application, lines[1500:])
    hold(application, lines)


def test_more_partitions_whatever_step_the_command_dies_at(wcsup: Shell) -> None:
    # Given an application, whose workers have to end first
    application = wcsup.application
    application.make_topics()
    lines = prose(3000, seed=7)
    workers = count(application, lines[:1500])
    refused = wcsup("repartition 6 --session-timeout 0.1")
    assert refused.status == ExitStatus.CONFIGURATION
    assert "run, here or elsewhere: stop them first" in refused.err
    for worker in workers:
        end(worker)

    # Then it can't have fewer partitions, nor lose what belongs in dead-letters
    refused = wcsup("repartition 3")
    assert refused.status == ExitStatus.CONFIGURATION
    assert "Kafka takes none away" in refused.err
    application.write("words", [(None, b"odd")])
    refused = wcsup("repartition 6")
    assert refused.status == ExitStatus.CONFIGURATION
    assert "has records that can't be counted" in refused.err
    reducer = application.start("reduce")
    application.wait_counted()
    end(reducer)
    leave_unreduced(application, lines[1500:2000])

    # When it is killed at its first step, it can be given up
    assert wcsup("repartition 6", crash="moving-made").status == KILLED
    assert wcsup("repartition 4").out == f"application {application.config.app_id} has 4 partitions\n"
    application.make_topics()

    # When it is killed at each step, it goes on each time
    application.configure("counts", {"max.compaction.lag.ms": "3600000"})
    for crash in STEPS:
        killed = wcsup("repartition 6", crash=crash)
        assert killed.status == KILLED, (crash, killed.err)
        if crash == "moving-removed":
            refused = wcsup("run --mappers 1 --reducers 1 --plain --partitions 6")
            assert refused.status == ExitStatus.CONFIGURATION
            assert "or run wcsup repartition 6 again, which goes on" in refused.err
            assert "run wcsup repartition 6 again" in wcsup("repartition 8").err

    # And a process that stands still before it deletes topics does no harm to the one that goes on
    late = wcsup.start("repartition 6", crash="stop:moving-compared")
    wait_for("it stands still", lambda: psutil.Process(late.pid).status() == psutil.STATUS_STOPPED)
    done = wcsup("repartition 6")
    assert done.status == ExitStatus.DONE, done.err
    assert f"{application.written.total():,} in total; counting had to rest for" in done.out
    late.send_signal(signal.SIGCONT)
    assert "has 6 partitions" in wcsup("repartition 6").out

    # Then all is counted on in six partitions
    grown = Application(replace(application.config, partitions=6))
    application.workers.append(grown.start("map"))
    application.workers.append(grown.start("reduce"))
    grown.feed(lines[2000:])
    grown.wait_counted()
    assert late.wait(WAIT_SECONDS) != ExitStatus.DONE
    check_counts(grown, lines)
    wanted = [TopicPartition(grown.config.topic("lines"), partition) for partition in range(6)]
    assert all(topics.ends(grown.admin, wanted).values())
    assert topics.configs(grown.admin, grown.config, ["counts"])["counts"]["max.compaction.lag.ms"] == "3600000"
    assert wcsup("verify --json").json["exact"]
