"""Clients that a real broker does not let in, or that do not let it in: each command says why, in one line."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from application import Application, prose
from secured import USER, Door, SecuredBroker
from shell import Done, Shell

from wcsup.config import Config
from wcsup.errors import ExitStatus

CASES: dict[str, tuple[Door | None, dict[str, str], str]] = {
    "a wrong password": (Door.SCRAM, {"password": "wrong-41"}, f"does not let user {USER} in.*sasl.password"),
    "a wrong password of PLAIN": (Door.PLAIN, {"password": "wrong-41"}, f"does not let user {USER} in.*sasl.password"),
    "an unknown user": (Door.SCRAM, {"user": "nobody"}, "does not let user nobody in.*sasl.username"),
    "a wrong mechanism": (Door.SCRAM, {"sasl.mechanism": "PLAIN"}, "takes logins by SCRAM-SHA-256.*set it to SCRAM"),
    "an authority that is not trusted": (Door.TLS, {"ca": "stranger"}, "is refused: .*Set ssl.ca.location"),
    "a certificate that has expired": (Door.EXPIRED, {}, "has expired. It has to be renewed"),
    "a certificate of another host": (Door.ELSEWHERE, {}, "not valid for '127.0.0.1'. Use a name"),
    "no TLS where there is some": (Door.TLS, {"security.protocol": "PLAINTEXT"}, "speaks TLS.*set it to SSL"),
    "TLS where there is none": (None, {"security.protocol": "SSL"}, "does not speak TLS.*set it to PLAINTEXT"),
    "no login where one is wanted": (Door.SCRAM, {"security.protocol": "PLAINTEXT"}, "wants a login.*SASL_PLAINTEXT"),
    "a login where none is wanted": (
        Door.TLS,
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": USER, "sasl.password": "x"},
        "wants no login.*set it to SSL",
    ),
    "no certificate where one is wanted": (Door.MUTUAL, {}, "does not let this client in: .*certificate"),
    "a certificate that the broker does not trust": (
        Door.MUTUAL,
        {"certificate": "client-stranger"},
        "does not let this client in: .*certificate",
    ),
    "a certificate of its own that has expired": (
        Door.MUTUAL,
        {"certificate": "client-expired"},
        "does not let this client in: .*certificate",
    ),
}

_AT_ONCE = 4

COMMANDS = [
    "run --mappers 1 --reducers 1 --plain",
    "map 0",
    "reduce 0",
    "gen -",
    "top",
    "count word",
    "status",
    "verify",
    "positions",
    "txn list",
    "del",
]


def shell(secured: SecuredBroker, place: Path, door: Door | None, changes: dict[str, str]) -> Shell:
    """Return the commands with settings for a door, some of them changed."""
    place.mkdir(exist_ok=True)
    who = {name: changes[name] for name in ("user", "password", "ca", "certificate") if name in changes}
    settings = {} if door is None else secured.client(door, **who)
    settings |= {key: value for key, value in changes.items() if "." in key}
    file = place / "client.properties"
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    address = secured.address(door)
    config = Config(bootstrap_servers=address, app_id="logins", state_dir=place / "state", kafka_config=file)
    return Shell(config, place)


@pytest.fixture(scope="module")
def ends(secured: SecuredBroker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """How each case and each command ended: they run side by side, since each waits for some seconds."""
    place = tmp_path_factory.mktemp("logins")
    calls = [(case, "top", case) for case in CASES] + [(command, command, "a wrong password") for command in COMMANDS]

    def call(number: int) -> tuple[str, Done]:
        name, command, case = calls[number]
        door, changes, _ = CASES[case]
        return name, shell(secured, place / str(number), door, changes)(command, stdin=b"a line\n")

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(threads.map(call, range(len(calls))))


def check(done: Done, case: str) -> None:
    assert done.status == ExitStatus.CONFIGURATION, done.err
    lines = done.err.strip().splitlines()
    assert len(lines) == 1, done.err
    assert re.fullmatch(f"wcsup: .*{CASES[case][2]}.*", lines[0]), done.err
    assert "wrong-41" not in done.out + done.err


@pytest.mark.parametrize("case", CASES)
def test_a_command_says_why_it_is_not_let_in(ends: dict[str, Done], case: str) -> None:
    check(ends[case], case)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_it(ends: dict[str, Done], command: str) -> None:
    check(ends[command], "a wrong password")


def test_the_doctor_says_it_among_its_checks(secured: SecuredBroker, tmp_path: Path) -> None:
    door, changes, pattern = CASES["no TLS where there is some"]
    done = shell(secured, tmp_path, door, changes)("doctor --json")
    assert done.status == ExitStatus.CHECK_FAILED
    said = {check["name"]: check["message"] for check in json.loads(done.out)["checks"]}
    assert re.search(pattern, said["broker"])


@pytest.mark.parametrize("door", [Door.SCRAM, Door.PLAIN, Door.BOTH, Door.MUTUAL])
def test_who_is_let_in_counts_exactly(secured: SecuredBroker, tmp_path: Path, door: Door) -> None:
    # Given an application behind a door, whose user may do everything
    wcsup = shell(secured, tmp_path, door, {"certificate": "client"} if door is Door.MUTUAL else {})
    config = replace(wcsup.config, app_id=f"in-{door}".lower(), topic_prefix=f"in-{door}.", partitions=4)
    secured.allow_everything(USER)
    wcsup = Shell(config, tmp_path)
    lines = prose(300, 1)
    wcsup.file("book.txt", b"\n".join(lines) + b"\n")

    # When a file is counted, then it is counted exactly
    done = wcsup("run --mappers 1 --reducers 1 --input book.txt --exit-when-done")
    assert done.status == ExitStatus.DONE, done.err
    assert wcsup("verify --json").json["exact"]
    assert Application(config).counts().total() == sum(len(line.split()) for line in lines)
