"""`wcsup chaos --late-commit`: a loop of the textbooks is wrong, wcsup is exact, and a wrong worker is found."""

import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from shell import Shell

from wcsup.audit.latecommit import _Wcsup
from wcsup.audit.proxy import Proxy
from wcsup.broker import ports
from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.kafka import clients

UNRENEWED = Path(__file__).parents[1] / "unrenewed.py"


def test_a_loop_of_the_textbooks_is_wrong_and_wcsup_is_exact(wcsup: Shell) -> None:
    done = wcsup("chaos --late-commit --rounds 1")

    assert done.status == ExitStatus.DONE, done.out + done.err
    textbook, ours = done.out.split("  wcsup\n")
    # Given a commit that arrives when the next transaction has one line
    assert "echo: written, not committed yet\n" in textbook
    # Then it is committed, and the loop reads it again
    assert "Kafka takes it" in textbook
    assert "committed in the end: alpha bravo charlie delta echo echo foxtrot golf" in textbook
    assert "WRONG: echo twice\n" in textbook
    # And wcsup has another epoch by then
    assert "Kafka refuses it" in ours
    assert "exact: 12 lines, each counted once\n" in ours
    assert "of 1 rounds, the textbook loop was wrong in 1, wcsup in 0\n" in ours

    # And nothing is left of it
    admin = clients.admin(wcsup.config)
    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    assert not [name for name in [*admin.list_topics(timeout=10).topics, *groups] if "late-commit" in name]


def test_a_worker_that_keeps_its_producer_is_found_wrong(app: Config) -> None:
    said: list[str] = []
    port = int((app.bootstrap_servers or "").rpartition(":")[2])
    config = replace(app, partitions=1)
    with closing(Proxy(ports.find_free(), port)) as proxy:
        right = _Wcsup(config, proxy, said.append, [sys.executable, str(UNRENEWED)]).run()

    assert not right, said
    assert any("Kafka takes it" in line for line in said)
    assert any(line.startswith("WRONG: 4 of what was compared disagree") for line in said)
    assert any(line.startswith("echo: 2 in ") for line in said)
