"""Several `wcsup run`s of one application on hosts of their own: they come, go, are cut off, and come back."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from string import ascii_lowercase
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


def total(host: TestHost, word: str) -> Any:
    """Return what a host's page answers for a word."""
    with urllib.request.urlopen(f"http://{host.address}:9090/counts/{word}", timeout=WAIT_SECONDS) as answer:
        return json.loads(answer.read())


def each(hosts: list[TestHost], command: str) -> list[Any]:
    """Return what a command answers on each host; all are asked at once."""
    asked = [host.start(command) for host in hosts]
    return [json.loads(process.communicate(timeout=WAIT_SECONDS)[0]) for process in asked]


def spread(asked: TestHost) -> list[dict[str, int]]:
    """Return how many partitions each host that is heard of has for each role, as one of the hosts tells it."""
    return [
        {worker["role"]: len(worker["partitions"]) for worker in host["workers"]}
        for host in told(asked)["hosts"]
        if not host["silent"]
    ]


@pytest.mark.timeout(300)
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
            answers = each(three, command)
            if command.startswith("verify"):
                assert all(answer["exact"] and answer["lines"] == len(lines) for answer in answers)
            else:
                assert answers[0] == answers[1] == answers[2]
        whole = each(three, "status --all --json")
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


def test_a_lost_host_has_its_totals_in_warm_stores_elsewhere(three: list[TestHost]) -> None:
    # Given two hosts with reducers and a standby, and many words that are counted
    first, second, _ = three
    application = Application(first.config)
    for host in (first, second):
        host.start(f"{RUN} --standby 1")
        host.wait_ready()
    words = ["".join(letters).encode() for letters in product(ascii_lowercase, repeat=3)]
    lines = [b" ".join(words[start : start + 50]) for start in range(0, len(words), 50)]
    application.feed(lines)
    application.wait_counted()

    def restored(role: str) -> int:
        """Return how many records of `counts` the second host's processes of a role have read."""
        return sum(
            int(worker["counters"]["restored"]) for worker in second.status()["workers"] if worker["role"] == role
        )

    wait_for("the standby has the other host's totals", lambda: restored("standby") > 0.4 * len(words))
    before = restored("reduce")

    # When one is lost
    first.crash()
    wait_for("the other has it all", lambda: not any(told(second)["unowned"].values()))
    second.wait_ready()

    # Then the other one's reducer has read next to nothing, and counts on
    assert restored("reduce") - before < 0.05 * len(words)
    application.feed(lines)
    application.wait_counted()
    assert second("verify --json").json["exact"]
    assert second("drain --wait").status == 0
    hold(application, [*lines, *lines], states=[second.config.state])


def test_a_word_of_another_hosts_reducer_is_asked_of_that_host(tmp_path: Path, seed: int) -> None:
    with hosts(2, tmp_path, partitions=PARTITIONS) as (asked, owner):
        if asked.address == owner.address:
            pytest.skip("hosts without networks of their own can't be told apart")
        # Given a host that has no reducer, and another one that has counted
        asked.start("run --mappers 1 --reducers 0 --plain --log-file run.log --http 0.0.0.0:9090")
        owner.start("run --mappers 0 --reducers 1 --plain --log-file run.log --http 0.0.0.0:9090")
        for host in (asked, owner):
            host.wait_ready()
        application = Application(asked.config)
        lines = prose(500, seed)
        application.feed(lines)
        application.wait_counted()
        [(word, count)] = application.written.most_common(1)
        name = word.decode()

        # When the first one is asked for a word, then the second one tells it: `counts` has no time of a commit
        wait_for("the owner is heard of", lambda: total(asked, name)["committed_at"])
        [told_by] = [host["host"] for host in told(asked)["hosts"] if host["workers"][0]["role"] == "reduce"]
        answer, own = total(asked, name), total(owner, name)
        assert answer == {**own, "owner": f"{told_by}/reduce-0"}
        assert (own["count"], own["owner"]) == (count, "reduce-0")
        assert asked(f"count {name} --json").json == [{"word": name, "count": count}]

        # And when the owner can't be reached, then `counts` tells the same total
        owner.cut_off()
        answer = total(asked, name)
        assert (answer["count"], answer["committed_at"]) == (count, None)
