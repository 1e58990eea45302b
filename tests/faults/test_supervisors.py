"""Supervisors that are killed, and two that have one name: real ones, with real workers, on a real Kafka."""

import random
import shutil
from collections.abc import Iterable
from functools import partial

import psutil
from application import WAIT_SECONDS, prose, wait_for
from invariants import Witness, hold
from shell import Shell

from wcsup.errors import ExitStatus

GONE_SECONDS = 2.0
"""How long after its supervisor a worker may be there at most."""

RUN = "run --mappers 2 --reducers 2 --plain --log-file run.log"


def gone(processes: Iterable[psutil.Process]) -> bool:
    return not any(map(runs, processes))


def runs(process: psutil.Process) -> bool:
    """Return whether a process has a thread left; of one that ended, init may take seconds to take note."""
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def test_a_supervisor_killed_again_and_again_under_load(wcsup: Shell, seed: int) -> None:
    application, chance = wcsup.application, random.Random(seed)
    application.make_topics()
    rounds = 3
    lines = prose(2000 * rounds, seed)
    with Witness(application) as witness:

        def counted(seen: int) -> bool:
            return witness.seen > seen

        running = wcsup.start(RUN)
        for number in range(rounds):
            # Given a run at work, at some moment of it
            status = wcsup.wait_ready()
            with application.feeding(lines[2000 * number : 2000 * (number + 1)], rate=1500):
                seen = witness.seen + chance.randrange(1500)
                wait_for("it counts", partial(counted, seen))
                pids = [worker["pid"] for worker in status["workers"]] + status["spares"]
                workers = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
                assert len(workers) >= 4

                # When its supervisor is killed, and started again at once
                running.kill()
                running.wait()
                running = wcsup.start(RUN)

                # Then no worker outlives it, and the new one comes to work
                wait_for("no orphan is left", partial(gone, workers), GONE_SECONDS)
        wcsup.wait_ready()
        application.wait_counted()

    # And everything is counted once, no store is locked
    assert wcsup("drain --wait").status == 0
    assert running.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines)


def test_of_two_supervisors_with_one_name_the_later_one_works(wcsup: Shell, seed: int) -> None:
    # Given a run under load, whose host freezes
    application = wcsup.application
    application.make_topics()
    lines = prose(10_000, seed)
    with Witness(application) as witness, application.feeding(lines, rate=2000):
        first = wcsup.start("run --mappers 2 --reducers 2 --plain")
        wcsup.wait_ready()
        wait_for("it counts", lambda: witness.seen > 0)

        frozen = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        for process in frozen:
            process.suspend()

        # When a clone of it is started in its place, with the same name in its state directory, and it goes on
        clone = wcsup.place / "clone"
        clone.mkdir()
        shutil.copy(application.config.state / "application.json", clone)
        second = wcsup.start(f"run --mappers 2 --reducers 2 --plain --log-file second.log --state-dir {clone}")
        wait_for("the clone works", lambda: wcsup(f"status --json --state-dir {clone}").json.get("ready"))
        for process in frozen:
            process.resume()

        # Then every worker of the first one is fenced, it says so, and ends
        _, err = first.communicate(timeout=WAIT_SECONDS)
        assert first.returncode == ExitStatus.FENCED, err.decode()
        assert err.decode().count("fenced: another process runs under this name") >= 4
        assert "every worker is down" in err.decode()

    # And the second one counts on
    application.wait_counted()
    assert second.poll() is None
    assert wcsup(f"drain --wait --state-dir {clone}").status == 0
    assert second.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines, states=[clone])


def test_a_host_that_leaves_for_good_hands_its_partitions_on_at_once(wcsup: Shell, seed: int) -> None:
    # Given two hosts that share the partitions, which would be a dead one's for a minute
    application = wcsup.application
    application.make_topics()
    lines = prose(3000, seed)
    other = wcsup.place / "other"
    run = "run --mappers 1 --reducers 1 --plain --session-timeout 60"

    def owned(place: str) -> list[int]:
        workers = wcsup(f"status --json {place}").json["workers"]
        return sorted(len(worker["partitions"]) for worker in workers if worker["ready"])

    first = wcsup.start(run)
    wcsup.wait_ready()
    second = wcsup.start(f"{run} --log-file second.log --state-dir {other}")
    wait_for("it is there", (other / "control.sock").exists)
    wait_for("both have a half", lambda: owned("") == owned(f"--state-dir {other}") == [2, 2])

    # When one leaves under load, then the other one has everything
    with application.feeding(lines, rate=500):
        assert wcsup("drain --leave --wait").status == 0
        assert first.wait(WAIT_SECONDS) == ExitStatus.DONE
        wait_for("the other one has all", lambda: owned(f"--state-dir {other}") == [4, 4], 30)
    application.wait_counted()
    assert wcsup(f"drain --wait --state-dir {other}").status == 0
    assert second.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines, states=[other])
