"""The command line: help, options and where they come from, and how every bad input ends."""

import dataclasses
import errno
import json
import os
import platform
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import confluent_kafka
import pytest
import terminals
from click.testing import CliRunner
from confluent_kafka import KafkaError, KafkaException

from wcsup import __version__, cli
from wcsup.broker import java
from wcsup.broker.pinned import KAFKA_VERSION
from wcsup.cli import options
from wcsup.cli.app import app
from wcsup.cli.cluster import connect
from wcsup.cli.command import Command, Section
from wcsup.config import Config
from wcsup.errors import ConfigurationError, ExitStatus, FencedError, StoreBrokenError
from wcsup.kafka import clients
from wcsup.kafka.ownership import partition_list
from wcsup.observe.figures import columns, size, span


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it."""

    def below(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        with click.Context(group) as ctx:
            for name in group.list_commands(ctx):
                command = group.get_command(ctx, name)
                assert command is not None
                yield " ".join((*words, name)), command
                if isinstance(command, click.Group):
                    yield from below(command, (*words, name))

    return below(app, ())


COMMANDS = dict(commands())
LEAVES = {words: command for words, command in COMMANDS.items() if isinstance(command, Command)}


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No option comes from this machine's environment, directory or home."""
    for name in list(os.environ):
        if name.startswith("WCSUP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home/data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home/state"))
    monkeypatch.chdir(tmp_path)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Call the command line; return status, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.main(arguments)
        return (status, *capfd.readouterr())

    return run


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `run` was called with, instead of running."""
    values: dict[str, Any] = {}
    monkeypatch.setattr(COMMANDS["run"], "callback", lambda **given: values.update(given))
    return values


# Help


def test_the_commands_of_the_design_are_there() -> None:
    assert set(COMMANDS) >= {
        *("run", "gen", "map", "reduce", "del", "status", "scale", "restart", "drain", "top", "count", "explain"),
        *("broker", "broker start", "broker stop", "broker status", "txn", "txn settle"),
    }


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_explains_itself_with_an_example(words: str, call: Call) -> None:
    status, out, err = call(*words.split(), "--help")

    assert (status, err) == (0, "")
    assert "Usage: wcsup " + words in out
    assert len(COMMANDS[words].get_short_help_str(100)) > 10
    if words in LEAVES:
        example = out.partition("\nExample")[2]
        assert f"wcsup {words}" in example
        assert all(option.help for option in LEAVES[words].params if isinstance(option, click.Option))


@pytest.mark.parametrize("words", LEAVES)
def test_the_short_help_has_the_own_options_and_names_the_shared_ones(words: str, call: Call) -> None:
    _, whole, _ = call(*words.split(), "--help")
    status, out, err = call(*words.split(), "-h")
    assert (status, err) == (0, "")
    own = whole.partition("\nOptions:")[2].partition("\nOptions shared")[0]
    assert own in out
    assert "  --config FILE" in whole and "  --config FILE" not in out
    assert re.search(r"which --help explains:[^:]*--config\b", out)


@pytest.mark.parametrize(
    ("environment", "colored"), [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_help_is_coloured_on_a_terminal_that_shows_colours(environment: dict[str, str], colored: bool) -> None:
    ours, theirs = pty.openpty()
    base = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "wcsup", "top", "-h"], stdout=theirs, env={**base, "TERM": "xterm", **environment}
    )
    os.close(theirs)
    shown = terminals.read_out(ours)
    assert process.wait(30) == 0
    assert (b"\x1b[1mOptions\x1b[0m" in shown) == colored
    assert (b"\x1b" in shown) == colored


def test_help_lists_every_command_in_a_section(call: Call) -> None:
    status, out, _ = call("--help")

    assert status == 0
    assert [line for line in out.splitlines() if line.rstrip(":") in set(Section)] == [f"{name}:" for name in Section]
    for words in COMMANDS:
        assert " " in words or re.search(rf"^  {words} ", out, re.MULTILINE)


@pytest.mark.parametrize("words", LEAVES)
def test_every_command_has_a_use_in_the_reference(words: str) -> None:
    table = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text()
    assert re.search(rf"wcsup {words}\b", table)


@pytest.mark.parametrize("words", LEAVES)
def test_examples_are_accepted_by_their_commands(words: str) -> None:
    for line in LEAVES[words].example.strip().splitlines():
        arguments = re.sub(r"\s{3,}.*", "", line.strip()).rpartition(f"wcsup {words}")[2].split()
        for name in arguments:
            if re.fullmatch(r"[a-z]+\.[a-z]+", name):
                Path(name).touch()
        LEAVES[words].make_context(words, arguments)


def test_the_version_and_those_of_what_it_works_with(call: Call) -> None:
    status, out, err = call("--version")
    assert (status, err) == (0, "")
    own, native, embedded, python = out.splitlines()
    assert own == f"wcsup {__version__}"
    assert native.startswith(f"librdkafka {confluent_kafka.libversion()[0]} with ")
    assert "rocksdict" in native
    assert embedded.startswith(f"embedded broker: Apache Kafka {KAFKA_VERSION} with Java ")
    assert python.startswith(f"Python {platform.python_version()} on ")


def test_the_version_is_told_without_java(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "_candidates", lambda: iter(()))
    assert "with no Java 17 or newer\n" in call("--version")[1]


def test_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from wcsup import cli; cli.main(['--help']); "
        "print({'confluent_kafka', 'rich', 'psutil', 'rocksdict'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# Where options come from


@pytest.mark.parametrize(
    ("line", "environment", "file", "wanted"),
    [
        ((), {}, "", 1.0),
        ((), {}, "commit-interval = 2", 2.0),
        ((), {}, "commit_interval = 2", 2.0),
        ((), {}, "commit-interval = 9\n[run]\ncommit-interval = 2", 2.0),
        ((), {}, "commit-interval = 2\n[map]\ncommit-interval = 9", 2.0),
        ((), {"WCSUP_COMMIT_INTERVAL": "3"}, "", 3.0),
        ((), {"WCSUP_COMMIT_INTERVAL": "3"}, "commit-interval = 2", 3.0),
        (("--commit-interval", "4"), {"WCSUP_COMMIT_INTERVAL": "3"}, "commit-interval = 2", 4.0),
        (("--commit-interval", "4"), {}, "commit-interval = 2", 4.0),
    ],
)
def test_the_command_line_wins_over_the_environment_over_the_file(
    line: tuple[str, ...],
    environment: dict[str, str],
    file: str,
    wanted: float,
    *,
    taken: dict[str, Any],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Path("wcsup.toml").write_text(file)

    assert call("run", *line) == (0, "", "")
    assert taken["config"] == Config(commit_interval=wanted)


def test_a_commands_own_options_come_from_all_three_places(
    taken: dict[str, Any], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("a.txt").touch()
    Path("wcsup.toml").write_text("[run]\nmappers = 3\nreducers = 2\ninput = ['a.txt']\nexit-when-done = true\n")
    monkeypatch.setenv("WCSUP_RUN_REDUCERS", "1..8")
    assert call("run", "--drain-timeout", "7") == (0, "", "")

    assert (taken["mappers"], taken["reducers"], taken["drain_timeout"]) == ("3", "1..8", 7.0)
    assert (taken["input"], taken["exit_when_done"]) == (("a.txt",), True)


def test_input_takes_as_many_files_as_follow(taken: dict[str, Any], call: Call) -> None:
    for name in "abcd":
        Path(name).touch()
    for line in ("--input a b c --plain", "--input a --input b c --plain", "--input a --plain b c", "a --input b c"):
        assert call("run", *line.split()) == (0, "", "")
        assert sorted(taken["input"]) == ["a", "b", "c"]
    Path("wcsup.toml").write_text("[run]\ninput = ['d']\n")
    assert call("run", "a") == (0, "", "")
    assert taken["input"] == ("d", "a")


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("--http 127.0.0.1:9090", "http", ("127.0.0.1", 9090)),
        ("--http [::1]:0", "http", ("::1", 0)),
        ("--http metrics.local:80", "http", ("metrics.local", 80)),
        ("", "http", None),
        ("--max-rss 300M", "max_rss", 300 << 20),
        ("--max-rss 1.5g", "max_rss", 3 << 29),
        ("--max-rss 2GiB", "max_rss", 2 << 30),
        ("--max-rss 123456789", "max_rss", 123456789),
        ("", "max_rss", None),
        ("--cpu-affinity 0", "cpu_affinity", (0,)),
        ("--cpu-affinity 0-0,0", "cpu_affinity", (0,)),
        ("", "cpu_affinity", ()),
    ],
)
def test_values_are_read(line: str, name: str, value: object, *, taken: dict[str, Any], call: Call) -> None:
    assert call("run", *line.split()) == (0, "", "")
    assert taken[name] == value


@pytest.mark.parametrize("words", ["status", "scale --mappers 1", "restart all", "drain", "top", "del", "verify"])
def test_where_the_application_is_can_be_said_to_every_command(words: str, call: Call, tmp_path: Path) -> None:
    Path("kafka.properties").touch()
    said = "--bootstrap-servers 127.0.0.1:1 --app-id a --topic-prefix a. --data-dir d --kafka-config kafka.properties"
    command, *more = words.split()
    status, _, err = call(command, *said.split(), "--state-dir", str(tmp_path / "state"), *more, "--help")
    assert (status, err) == (0, "")


def test_the_address_may_stand_in_the_clients_file(taken: dict[str, Any], call: Call) -> None:
    Path("kafka.properties").write_text("bootstrap.servers=file:9092\n")
    assert call("run", "--kafka-config", "kafka.properties")[0] == 0
    assert taken["config"].bootstrap_servers == "file:9092"
    assert call("run", "--kafka-config", "kafka.properties", "--bootstrap-servers", "named:9092")[0] == 0
    assert taken["config"].bootstrap_servers == "named:9092"


def test_another_file_may_be_named(taken: dict[str, Any], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wcsup.toml").write_text("app-id = 'here'")
    Path("one.toml").write_text("app-id = 'one'")
    Path("two.toml").write_text("app-id = 'two'")
    monkeypatch.setenv("WCSUP_CONFIG", "two.toml")

    assert call("run")[0] == 0
    assert taken["config"].app_id == "two"
    assert call("run", "--config", "one.toml")[0] == 0
    assert taken["config"].app_id == "one"


@pytest.mark.parametrize("field", fields(Config), ids=lambda field: field.name)
def test_every_field_of_the_configuration_comes_from_line_environment_and_file(
    field: dataclasses.Field[Any], taken: dict[str, Any], call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("kafka.properties").touch()
    samples = {"bootstrap_servers": "h:1,i:2", "kafka_config": "kafka.properties"}
    choices = field.metadata["choices"]
    sample = samples.get(field.name, choices[-1] if choices else "7")
    got = []

    assert call("run", options.flag(field.name), sample) == (0, "", "")
    got.append(getattr(taken["config"], field.name))
    Path("wcsup.toml").write_text(f'{field.name} = "{sample}"')
    assert call("run") == (0, "", "")
    got.append(getattr(taken["config"], field.name))
    Path("wcsup.toml").unlink()
    monkeypatch.setenv(f"WCSUP_{field.name.upper()}", sample)
    assert call("run") == (0, "", "")
    got.append(getattr(taken["config"], field.name))

    assert got[0] != field.default
    assert got == [got[0]] * 3
    assert Config.from_json(taken["config"].to_json()) == taken["config"]


def test_a_command_takes_from_the_environment_what_its_line_does_not_offer(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, Any] = {}
    monkeypatch.setattr(COMMANDS["top"], "callback", lambda **given: values.update(given))
    monkeypatch.setenv("WCSUP_WORDS", "unicode")

    assert call("top") == (0, "", "")
    assert values["config"].words == "unicode"
    assert call("top", "--words", "unicode")[0] == ExitStatus.USAGE


# How bad input ends

USAGE = ExitStatus.USAGE
BAD_LINES = [
    ("runn", "No such command 'runn'"),
    ("run --mapers 3", "No such option '--mapers'"),
    ("run --mappers x", "'x': expected a number, a range such as 1..8, or auto"),
    ("run --mappers -1", "'-1': expected a number"),
    ("run --mappers 0..2", "'0..2' is not a number of workers: a range rises, from 1 at least"),
    ("run --mappers 0 --reducers 0", "leave nothing to run"),
    ("run --mappers 8..2", "'8..2' is not a number of workers"),
    ("run --mappers 13", "13 workers of a kind are too many: each works on partitions of its own, and there are 12"),
    ("run --reducers 1..13", "13 workers of a kind are too many"),
    ("run --partitions 3 --reducers 4", "and there are 3"),
    ("run --rate 5", "--rate is how fast --input is written"),
    ("run --commit-interval 0", "0 is not above 0"),
    ("run --commit-interval -1", "-1 is not above 0"),
    ("run --commit-interval nan", "nan is not above 0"),
    ("run --commit-interval inf", "inf is not above 0"),
    ("run --commit-interval soon", "'soon' is not a number"),
    ("run --partitions 0", "0 is not in the range x>=1"),
    ("run --partitions many", "'many' is not a valid integer"),
    ("run --words german", "'german' is not one of 'ascii', 'unicode'"),
    ("run --group-protocol old", "'old' is not one of 'classic', 'consumer'"),
    ("run --input missing.txt", "File 'missing.txt' does not exist"),
    ("run --input .", "File '.' is a directory"),
    ("run --log-format xml", "'xml' is not one of 'text', 'json'"),
    ("run --log-file nowhere/run.log", "--log-file nowhere/run.log can't be written: No such file or directory"),
    ("run --kafka-config missing.properties", "File 'missing.properties' does not exist"),
    ("run --bootstrap-servers=", "expected HOST:PORT"),
    ("run --bootstrap-servers a:b", "expected HOST:PORT"),
    ("run --bootstrap-servers kafka", "expected HOST:PORT"),
    ("run --bootstrap-servers kafka:9092,[::1]", "expected HOST:PORT"),
    ("run --app-id=", "expected letters, digits"),
    ("run --app-id a/b", "'a/b': expected letters, digits"),
    ("run --topic-prefix a,b", "'a,b': expected letters, digits"),
    ("run --state-dir wcsup.txt", "Directory 'wcsup.txt' is a file"),
    ("run surplus", "Got unexpected extra argument (surplus)"),
    ("run wcsup.txt --plain", "Got unexpected extra argument (wcsup.txt)"),
    ("run --input wcsup.txt missing.txt", "File 'missing.txt' does not exist"),
    ("run --input wcsup.txt .", "File '.' is a directory"),
    ("run --http 9090", "'9090': expected HOST:PORT"),
    ("run --http :9090", "':9090': expected HOST:PORT"),
    ("run --http ::1:9090", "'::1:9090': expected HOST:PORT"),
    ("run --http localhost:99999", "'localhost:99999': expected HOST:PORT"),
    ("run --state-memory 0", "'0': expected a size such as 300M"),
    ("run --state-memory 1X", "'1X': expected a size such as 300M"),
    ("run --max-rss 0", "'0': expected a size such as 300M"),
    ("run --max-rss 300X", "'300X': expected a size such as 300M"),
    ("run --cpu-affinity one", "'one': expected numbers of processors"),
    ("run --cpu-affinity 3-", "'3-': expected numbers of processors"),
    ("run --cpu-affinity 2-1", "'2-1': this process may use processors 0"),
    ("run --cpu-affinity 0,9999", "'0,9999': this process may use processors 0"),
    ("run --config missing.toml", "File 'missing.toml' does not exist"),
    ("gen missing.txt", "File 'missing.txt' does not exist"),
    ("gen .", "File '.' is a directory"),
    ("gen --rate -1", "'-1' is not a number from 0 on"),
    ("gen --rate nan", "'nan' is not a number from 0 on"),
    ("gen --lines -1", "-1 is not in the range x>=0"),
    ("gen --lines 5 wcsup.txt", "--lines and --seed are for made-up text"),
    ("gen --demo wcsup.txt", "--demo, --lines and --seed are for made-up text"),
    ("map", "Missing argument 'NAME'"),
    ("map a/b", "'a/b': expected letters and digits"),
    ("top -n 0", "0 is not in the range x>=1"),
    ("top -n 101 --watch", "--watch shows 100 words at most"),
    ("count", "Missing argument 'WORD...'"),
    ("scale", "say how many: --mappers N, --reducers N or both"),
    ("scale --mappers -1", "-1 is not in the range x>=0"),
    ("restart", "Missing argument 'SLOT|all'"),
    ("chaos --late-commit --seed 7", "--minutes and --seed are for trouble by chance"),
    ("chaos --rounds 2", "--rounds are those of --late-commit"),
    ("chaos --late-commit --rounds 0", "0 is not in the range x>=1"),
    ("broker start --port 70000", "70000 is not in the range 1<=x<=65535"),
    ("broker start --heap lots", "heap 'lots' is not a size"),
    ("broker halt", "No such command 'halt'"),
]


@pytest.mark.parametrize(("line", "said"), BAD_LINES, ids=[line for line, _ in BAD_LINES])
def test_a_line_that_cannot_be_meant_ends_with_one_line_and_status_2(line: str, said: str, call: Call) -> None:
    Path("wcsup.txt").touch()
    status, out, err = call(*line.split(" "))

    assert (status, out) == (USAGE, "")
    assert re.fullmatch(r"wcsup: [^\n]+\n", err)
    assert said in err


BAD_FILES = [
    ("app-id = ", "wcsup.toml is not TOML"),
    ("\xff", "wcsup.toml is not TOML"),
    ("mapers = 3", "wcsup.toml: unknown option 'mapers'"),
    ("mappers = 3", "wcsup.toml: unknown option 'mappers'; it belongs under [run] or [scale]"),
    ("[run]\nmapers = 3", "wcsup.toml: unknown option 'mapers' in [run]"),
    ("[gen]\nmappers = 3", "wcsup.toml: unknown option 'mappers' in [gen]"),
    ("[broker.start]\nprt = 1", "wcsup.toml: unknown option 'prt' in [broker.start]"),
    ("[runn]\n", "wcsup.toml: [runn] is no command of wcsup"),
    ("app-id = ['a', 'b']", "wcsup.toml: app-id takes one value, not a list"),
    ("commit-interval = 0", "0 is not above 0 (from wcsup.toml)"),
    ("[run]\nmappers = 'few'", "expected a number, a range such as 1..8, or auto (from wcsup.toml)"),
]


@pytest.mark.parametrize(("text", "said"), BAD_FILES, ids=[said for _, said in BAD_FILES])
def test_a_file_that_cannot_be_meant_is_named_with_what_is_wrong(text: str, said: str, call: Call) -> None:
    Path("wcsup.toml").write_bytes(text.encode("latin-1"))
    status, out, err = call("run")

    assert (status, out) == (USAGE, "")
    assert re.fullmatch(r"wcsup: [^\n]+\n", err)
    assert said in err


def test_a_bad_value_of_the_environment_is_said_to_come_from_there(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WCSUP_PARTITIONS", "none")
    status, _, err = call("run")
    assert status == USAGE
    assert "WCSUP_PARTITIONS" in err


def test_no_command_at_all_shows_help_and_counts_as_wrong_usage(call: Call) -> None:
    status, out, err = call()
    assert (status, out) == (USAGE, "")
    assert "Count words" in err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigurationError("do this\n instead"), 3, "do this instead"),
        (FencedError("another one"), 4, "another one"),
        (StoreBrokenError("broken"), 5, "broken"),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), 6, "(_ALL_BROKERS_DOWN); a broker is away"),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), 6, "_TRANSPORT"),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), 3, "TOPIC_AUTHORIZATION_FAILED"),
        (KafkaException(KafkaError(KafkaError.UNKNOWN)), 7, "UNKNOWN"),
    ],
)
def test_errors_of_the_program_are_one_line_and_their_status(
    error: Exception, status: int, said: str, *, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_values: object) -> None:
        raise error

    monkeypatch.setattr(COMMANDS["run"], "callback", fail)
    found, out, err = call("run")

    assert (found, out) == (status, "")
    assert re.fullmatch(r"wcsup: [^\n]+\n", err)
    assert said in err


def test_an_error_that_nobody_foresaw_keeps_its_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_values: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(COMMANDS["run"], "callback", fail)
    with pytest.raises(ZeroDivisionError):
        call("run")


def test_a_broker_that_does_not_answer_is_status_6(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REACH_SECONDS", 0.5)
    status, out, err = call("top", "--bootstrap-servers", "127.0.0.1:1")

    assert (status, out) == (6, "")
    assert re.fullmatch(r"wcsup: no Kafka broker answered at 127\.0\.0\.1:1 [^\n]+\n", err)


def test_a_host_that_nobody_knows_is_not_waited_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, *_: object) -> list[object]:
        raise socket.gaierror(socket.EAI_AGAIN if host == "later" else socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asked: list[Config] = []
    monkeypatch.setattr(clients, "check_reachable", asked.append)
    told = call("gen", "--lines", "1", "--bootstrap-servers", "nowhere:9092,[::1]:1")
    assert told == (
        ExitStatus.BROKER_UNREACHABLE,
        "",
        "wcsup: nobody knows a host of the name nowhere or ::1: check the address (--bootstrap-servers)\n",
    )
    assert not asked
    assert connect(Config(bootstrap_servers="nowhere:9092,later:9092")) == asked[0]


def test_ctrl_c_while_modules_are_loaded_leaves_no_traceback() -> None:
    program = """
import os, runpy, signal, sys

class Finder:
    def find_spec(name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
sys.argv = ["wcsup", "--version"]
runpy.run_module("wcsup", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.parametrize("line", ["top", "count whale"])
def test_without_any_kafka_nothing_was_counted_yet(line: str, call: Call) -> None:
    status, out, err = call(*line.split())
    assert (status, out) == (3, "")
    assert re.fullmatch(r"wcsup: nothing was counted yet: [^\n]+\n", err)


@pytest.mark.parametrize("line", ["scale --mappers 2", "restart all", "drain"])
def test_without_a_supervisor_there_is_nothing_to_steer(line: str, call: Call) -> None:
    status, out, err = call(*line.split())
    assert (status, out) == (3, "")
    assert re.fullmatch(r"wcsup: no supervisor runs in [^\n]+; start one with wcsup run\n", err)


@pytest.mark.parametrize(
    ("arguments", "environment", "file", "wanted"),
    [
        ((), {}, "", None),
        ((), {}, "state-memory = '2G'", 2 << 30),
        ((), {"WCSUP_STATE_MEMORY": "300M"}, "state-memory = '2G'", 300 << 20),
        (("--state-memory", "1.5g"), {"WCSUP_STATE_MEMORY": "300M"}, "", 3 << 29),
        (("--state-memory", "1000000"), {}, "", 1_000_000),
    ],
)
def test_memory_for_totals_is_a_size(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    file: str,
    wanted: int | None,
    *,
    taken: dict[str, Any],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Path("wcsup.toml").write_text(file)
    assert call("run", *arguments) == (0, "", "")
    assert taken["config"].state_memory == wanted


def test_status_without_anything_is_no_error(call: Call) -> None:
    status, out, err = call("status", "--json")
    assert (status, err) == (0, "")
    unknown = ("lines_lag", "words_lag", "lines_retention_seconds", "oldest_uncounted_seconds")
    assert json.loads(out) == {"workers": [], **dict.fromkeys(unknown)}
    status, out, err = call("status")
    assert (status, err) == (0, "")
    assert out.startswith("no wcsup run has its state in ")


def test_del_without_anything_is_no_error_and_leaves_strangers_files(call: Call, tmp_path: Path) -> None:
    assert call("del") == (0, "nothing was there to delete\n", "")
    state = tmp_path / "state"
    (state / "stores/3").mkdir(parents=True)
    (state / "application.json").touch()
    (state / "thesis.tex").touch()

    assert call("del", "--state-dir", str(state)) == (0, f"deleted local state {state}\n", "")
    assert list(state.iterdir()) == [state / "thesis.tex"]


def test_broker_status_without_one(call: Call) -> None:
    status, out, err = call("broker", "status")
    assert (status, err) == (1, "")
    assert out.startswith("no broker runs in ")


def test_ctrl_c_ends_with_130_and_no_traceback(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_values: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    monkeypatch.setattr(COMMANDS["run"], "callback", interrupted)
    status, out, err = call("run")
    assert (status, out.strip(), err.strip()) == (130, "", "")


def test_nothing_is_said_once_nobody_reads() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    line = [sys.executable, "-m", "wcsup.cli", "broker", "status"]
    done = subprocess.run(line, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_output_that_cannot_be_written_is_said_in_a_line() -> None:
    line = [sys.executable, "-m", "wcsup.cli", "broker", "status"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, env=buffered, check=False)
    assert done.returncode == ExitStatus.CONFIGURATION
    assert done.stderr == b"wcsup: standard output can't be written: No space left on device\n"


def test_a_command_needs_no_standard_output() -> None:
    line = f"exec {sys.executable} -m wcsup.cli broker status >&-"
    done = subprocess.run(["/bin/sh", "-c", line], stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (ExitStatus.CHECK_FAILED, b"")


def test_an_error_of_the_system_is_not_taken_for_a_closed_pipe(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_values: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(COMMANDS["run"], "callback", full)
    with pytest.raises(OSError, match="No space left"):
        call("run")


# How numbers look


@pytest.mark.parametrize(
    ("partitions", "text"), [([], ""), ([3], "3"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8"), ([8, 1, 0], "0-1,8")]
)
def test_partitions_in_short(partitions: list[int], text: str) -> None:
    assert partition_list(partitions) == text


def test_lengths_and_sizes() -> None:
    assert [span(seconds) for seconds in (0.9, 59, 61, 3599, 7380)] == [
        *("0 s", "59 s", "1 min 1 s", "59 min 59 s", "2 h 3 min")
    ]
    assert [size(count) for count in (0, 120_000_000, 2_500_000_000)] == ["0 MB", "120 MB", "2.5 GB"]


def test_columns_are_aligned_and_one_long_word_does_not_spread_the_others() -> None:
    assert columns([("a", 1), ("bcd", 1234)], "<>") == "a        1\nbcd  1,234"
    assert columns([("x" * 60, 1), ("b", 2)], "<>").splitlines()[1] == "b" + " " * 47 + "  2"
    assert columns([], "<>") == ""


def test_click_finds_the_commands_in_its_own_way_too() -> None:
    assert CliRunner().invoke(app, ["broker", "--help"]).exit_code == 0
