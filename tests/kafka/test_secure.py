"""The embedded broker with its doors locked (`wcsup broker start --secure`), and secrets, which nobody is shown."""

import base64
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest
from application import prose, wait_for
from confluent_kafka.admin import AdminClient
from secured import acls
from shell import Done, Shell
from tokens import ISSUER, SECRET, TokenServer

from wcsup import broker
from wcsup.broker import ports
from wcsup.broker.security import Security
from wcsup.config import Config
from wcsup.errors import ExitStatus
from wcsup.kafka import clients, listener, rights

RUN = "run --mappers 1 --reducers 1 --plain"
LINES = prose(200, seed=4)


@dataclass(frozen=True)
class Locked:
    """A secured broker, the application that it was made for, and a server that gives tokens."""

    config: Config
    tokens: TokenServer
    said: str
    """What the start of the broker printed."""

    @property
    def security(self) -> Security:
        found = Security.read(self.config.data)
        assert found is not None
        return found

    @property
    def password(self) -> str:
        return self.security.users[self.config.app_id]

    def settings(self, *, certificate: bool = False) -> dict[str, str]:
        """The settings that the broker's start has written for the application."""
        file = self.security.client_file(self.config.app_id, certificate=certificate)
        return {key: str(value) for key, value in clients.read_properties(Config(kafka_config=file)).items()}

    def by_token(self, **more: str) -> dict[str, str]:
        """Settings for a login by token."""
        kept = {key: value for key, value in self.settings().items() if not key.startswith("sasl.")}
        return kept | self.tokens.client(**more)

    def shell(self, place: Path, settings: dict[str, str]) -> Shell:
        """Return the commands of somebody with these settings."""
        place.mkdir(exist_ok=True)
        file = place / "client.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        address = settings["bootstrap.servers"]
        return Shell(replace(self.config, bootstrap_servers=address, kafka_config=file, state_dir=place / "s"), place)


def start(config: Config, *more: str) -> str:
    """Start the broker as its user does; return what that prints."""
    named = ["--data-dir", str(config.data), "--app-id", config.app_id, "--topic-prefix", config.topic_prefix]
    command = [sys.executable, "-m", "wcsup.cli", "broker", "start", *named, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """A broker of `wcsup broker start --secure`, started by the first test that asks."""
    place = tmp_path_factory.mktemp("locked")
    config = Config(data_dir=place / "its data", app_id="guarded", topic_prefix="guarded.", partitions=2)
    with TokenServer(place, config.app_id) as tokens:
        try:
            options = ["--secure", "--oauth-keys", tokens.keys, "--oauth-issuer", ISSUER]
            yield Locked(config, tokens, start(config, *options))
        finally:
            broker.stop(config.data)


def test_the_application_counts_with_the_listed_rights_alone(locked: Locked, tmp_path: Path) -> None:
    # Given a first start by password, with the command that the broker's start prints
    text = tmp_path / "text"
    text.write_bytes(b"\n".join(LINES) + b"\n")
    printed = re.search(r"^  wcsup (.*)$", locked.said, re.MULTILINE)
    assert printed
    more = ["--partitions", "2", "--state-dir", str(tmp_path / "s"), "--input", str(text), "--exit-when-done"]
    command = [sys.executable, "-m", "wcsup.cli", *shlex.split(printed[1]), *more]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == ExitStatus.DONE, first.stderr

    # Then counts are exact, as who logs in by PLAIN sees
    by_plain = locked.shell(tmp_path / "plain", locked.settings() | {"sasl.mechanism": "PLAIN"})
    assert by_plain("verify --json").json["exact"]

    # And nobody has other rights than `wcsup doctor --acls` lists
    admin = AdminClient(clients.read_properties(Config(kafka_config=locked.security.client_file("admin"))))
    listed = {
        rights.binding("guarded", right) for needed in rights.by_purpose(locked.config).values() for right in needed
    }
    assert acls(admin) == listed


REFUSED: dict[str, tuple[Callable[[Locked], dict[str, str]], str]] = {
    "a secret that the token server refuses": (
        lambda locked: locked.by_token(credential="wrong-41"),
        "does not let this client in: .*the client is not known.*Check sasl.oauthbearer",
    ),
    "a token that the broker refuses": (
        lambda locked: locked.by_token(path="forged"),
        "does not let this client in: .*authentication.*Check sasl.oauthbearer",
    ),
    "no token server": (
        lambda locked: locked.by_token() | {"sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:9/token"},
        "does not let this client in: .*token.*Check sasl.oauthbearer",
    ),
    "no login": (
        lambda locked: {"bootstrap.servers": locked.settings()["bootstrap.servers"]},
        "speaks TLS and wants a login.*set it to SASL_SSL",
    ),
}
COMMANDS = [RUN, "map 0", "gen -", "txn list"]


def test_whoever_is_refused_is_told_so_in_one_line(locked: Locked, tmp_path: Path) -> None:
    calls = [("top", case) for case in REFUSED]
    calls += [(command, "a token that the broker refuses") for command in COMMANDS]

    def call(number: int) -> Done:
        command, case = calls[number]
        return locked.shell(tmp_path / str(number), REFUSED[case][0](locked))(command, stdin=b"a line\n")

    with ThreadPoolExecutor(len(calls)) as threads:
        ends = list(threads.map(call, range(len(calls))))
    for (command, case), done in zip(calls, ends, strict=True):
        assert done.status == ExitStatus.CONFIGURATION, (command, case, done.err)
        lines = done.err.splitlines()
        assert len(lines) == 1, (command, case, done.err)
        assert re.fullmatch(f"wcsup: .*{REFUSED[case][1]}.*", lines[0]), (command, case, done.err)
        assert "wrong-41" not in done.out + done.err


def pages(port: int) -> list[str]:
    """Return what the HTTP server of a run shows."""
    found = []
    for page in ("", "metrics", "status.json", "readyz"):
        with urlopen(f"http://127.0.0.1:{port}/{page}") as answer:
            found.append(answer.read().decode())
    return found


def test_a_run_by_token_counts_and_no_secret_is_shown_anywhere(
    locked: Locked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run by tokens that last for seconds, and clients that log all they do; secrets stand elsewhere
    monkeypatch.setattr(locked.tokens, "lifetime", 4.0)
    monkeypatch.setenv("LOCKED_SECRET", SECRET)
    (tmp_path / "password").write_text(f"{locked.password}\n")
    # With `all` a run logs each request and record, too, which takes most of its time.
    by_token = locked.by_token(credential="${env:LOCKED_SECRET}") | {"debug": "conf,generic,broker,security"}
    by_password = locked.settings() | {"sasl.password": f"${{dir:{tmp_path}:password}}", "debug": "all"}
    place = tmp_path / "place"
    run, other = locked.shell(place, by_token), locked.shell(tmp_path / "other", by_password)
    run.file("text", b"\n".join(LINES) + b"\n")
    port = ports.find_free()
    log = place / "run.log"
    supervisor = run.start(f"{RUN} --input text --http 127.0.0.1:{port} --log-level debug --log-file {log}")
    shown: list[str] = []
    try:
        run.wait_ready()

        # When all is asked for that a run shows, and one of its workers crashes
        workers = psutil.Process(supervisor.pid).children()
        shown += [" ".join(process.cmdline()) for process in [*workers, psutil.Process(supervisor.pid)]]
        shown += pages(port)
        limits = [Path(f"/proc/{process.pid}/limits").read_text() for process in workers]
        assert all(re.search(r"Max core file size +0 ", text) for text in limits)
        restarts = sum(worker["restarts"] for worker in run.status()["workers"])
        os.kill(run.status()["workers"][0]["pid"], signal.SIGSEGV)
        wait_for("it is replaced", lambda: sum(w["restarts"] for w in run.status()["workers"]) > restarts)
        with ThreadPoolExecutor(3) as threads:
            calls = [(run, command) for command in ("status --json", "doctor", "txn list --json")]
            calls += [(other, command) for command in ("doctor --json", "top")]
            answers = list(threads.map(lambda call: call[0](call[1]), calls))
            shown += [done.out + done.err for done in answers]
        # What librdkafka has no call for is asked over connections that log in by token, too
        assert "hangs can't be seen" not in answers[1].out
        assert answers[2].status == ExitStatus.DONE
        assert answers[2].json["hanging"] == []
    finally:
        supervisor.terminate()
        shown += [text.decode() for text in supervisor.communicate(timeout=60)]
    assert supervisor.returncode == ExitStatus.DONE, shown[-1]
    by_certificate = locked.shell(tmp_path / "certificate", locked.settings(certificate=True))
    found = by_certificate("verify --json").json
    assert found["exact"]
    assert found["lines"] >= len(LINES)
    shown += [file.read_text(errors="replace") for file in [log, *place.glob("s/*")] if file.is_file()]
    data = locked.config.data
    shown += [(data / name).read_text() for name in ("broker.log", "broker.out", "broker.json")]
    running = broker.status(data)
    assert running is not None
    shown += [" ".join(psutil.Process(running.pid).cmdline()), repr(locked.config), str(broker.status(data))]

    # Then no secret was there, and clients did log
    said = "\n".join(shown)
    assert "Fatal Python error: Segmentation fault" in said
    assert said.count("SASL") > 100
    for secret in (SECRET, locked.password):
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            assert form not in said, next(line for line in said.splitlines() if form in line)
    assert not re.search(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{20,}", said), "a token was logged"


def test_a_stopped_broker_stays_locked(locked: Locked, tmp_path: Path) -> None:
    # Given the settings of a client
    before, data = locked.settings(), locked.config.data
    assert broker.stop(data)

    # When the broker is started without --secure
    said = start(locked.config)

    # Then it says how to come in, and the client comes in as before, and nobody else
    assert said.splitlines()[1:] == locked.said.splitlines()[1:]
    assert locked.settings() == before
    assert locked.shell(tmp_path / "in", before)("top").status == ExitStatus.DONE
    assert "wants a login" in str(listener.misfit(before["bootstrap.servers"], {}))
    assert (data / "server.properties").stat().st_mode & 0o777 == 0o600
