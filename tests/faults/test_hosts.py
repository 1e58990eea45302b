"""Several `wcsup run`s of one application on hosts of their own: they come, go, are cut off, and come back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from application import WAIT_SECONDS, Application, prose, wait_for
from hosts import TestHost, hosts
from invariants import Witness, hold

from wcsup.errors import ExitStatus

RUN = "run --mappers 1 --reducers 1 --plain --log-file run.log"
PARTITIONS = 6
HERE = {"map": 2, "reduce": 2}
"""How many partitions each of three hosts has for each role."""


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[TestHost]]:
    with hosts(3, tmp_path, partitions=PARTITIONS) as made:
        yield made


def told(host: TestHost) -> Any:
    return host("status --all --json").json


def spread(asked: TestHost) -> list[dict[str, int]]:
    """Return how many partitions each host that is heard of has for each role, as one of the hosts tells it."""
    return [
        {worker["role"]: len(worker["partitions"]) for worker in host["workers"]}
        for host in told(asked)["hosts"]
        if not host["silent"]
    ]


def test_hosts_come_go_and_are_cut_off_under_load(three: list[TestHost], seed: int) -> None:
    first, second, third = three
    application = Application(first.config)
    lines = prose(12_000, seed)

    # Given three hosts that share the work evenly, and any of them shows all
    runs = [host.start(RUN) for host in three]
    for host in three:
        host.wait_ready()
    wait_for("the work is spread", lambda: spread(first) == [HERE] * 3)
    with Witness(application) as witness:
        with application.feeding(lines, rate=400):
            wait_for("it counts", lambda: witness.seen > 0)

            # When one loses its network for longer than its session, then the others have its partitions, say since
            # when it is silent, and it comes back by itself
            third.cut_off()
            wait_for("two have it all", lambda: spread(first) == [{"map": 3, "reduce": 3}] * 2)
            [gone] = [host for host in told(second)["hosts"] if host["silent"]]
            assert gone["told_at"] and not gone["ready"]
            third.connect()
            wait_for("it is back", lambda: spread(second) == [HERE] * 3)

            # When a host is gone at once and for good, then the others have its partitions
            second.crash()
            runs[1].wait(WAIT_SECONDS)
            wait_for("two have it all", lambda: spread(third) == [{"map": 3, "reduce": 3}] * 2)

            # And when it starts again, it is the host that it was
            names = {host["host"] for host in told(third)["hosts"]}
            runs[1] = second.start(RUN)
            second.wait_ready()
            wait_for("three share it again", lambda: spread(first) == [HERE] * 3)
            assert {host["host"] for host in told(first)["hosts"]} == names
        application.wait_counted()

        # Then each gives the same answers
        for command in ("count the --json", "top --json", "verify --json"):
            answers = [host(command).json for host in three]
            if command.startswith("verify"):
                assert all(answer["exact"] and answer["lines"] == len(lines) for answer in answers)
            else:
                assert answers[0] == answers[1] == answers[2]
        whole = [told(host) for host in three]
        assert all(one["lines_lag"] == one["words_lag"] == 0 and not any(one["unowned"].values()) for one in whole)

    # And one that ends in order is not missed
    assert first("drain --wait").status == 0
    assert len(told(second)["hosts"]) == 2
    for host, run in zip(three, runs, strict=True):
        if run.poll() is None:
            assert host("drain --wait").status == 0
        assert run.wait(WAIT_SECONDS) == ExitStatus.DONE
    hold(application, lines, states=[host.config.state for host in three])


def test_a_host_with_a_copied_state_directory_takes_a_name_of_its_own(three: list[TestHost]) -> None:
    # Given a run
    first, second, _ = three
    run = first.start(RUN)
    first.wait_ready()
    wait_for("it tells of itself", lambda: len(told(first)["hosts"]) == 1)

    # When its whole state directory is copied to another machine, and a run starts there
    shutil.copytree(first.config.state, second.config.state, ignore=shutil.ignore_patterns("LOCK", "control.sock"))
    second.start(RUN)
    second.wait_ready()

    # Then both work, under two names, and the second one says why
    wait_for("both tell of themselves", lambda: len(told(first)["hosts"]) == 2)
    assert run.poll() is None
    log = (second.place / "run.log").read_text()
    assert "is a copy: host" in log and "from now on" in log
    for host in (first, second):
        assert host("drain --wait").status == 0
