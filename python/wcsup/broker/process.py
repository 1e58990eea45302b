"""The broker's process: its command line, its detached start, its end, and why it ended."""

import base64
import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from wcsup.broker import archive, settings
from wcsup.broker.java import Java
from wcsup.broker.record import PROPERTIES
from wcsup.errors import ConfigurationError, UsageError
from wcsup.process.files import write_private

OUTPUT = "broker.out"
"""The file with the output of the Java runtime, in the data directory; the broker logs to `settings.LOG_FILE`."""
_ARCHIVE_OUTPUT = "archive.out"
_LOG4J = "log4j2.properties"
_FORMATTING = "formatting"
_PAUSE = 0.02

# Starts a program and ends, so the program is no child of this process, and no zombie of it after its death.
_SHELL = '"$@" </dev/null >"$0" 2>&1 & echo $!'

_JVM = (
    "-XX:+IgnoreUnrecognizedVMOptions",  # the host's Java may be another one than OpenJDK
    "-XX:+UseG1GC",
    # Without Java's second compiler. Tried on two cores shared with the clients: it took 5 s of processor time in the
    # first seconds of load, and after a minute the broker was no faster. For a broker that commits all day the second
    # compiler is better (set it in KAFKA_OPTS): a commit in 12 partitions takes 7 ms instead of 10.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-XX:ErrorFile=hs_err.log",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    f"-Dlog4j2.configurationFile={_LOG4J}",
)

_NO_RUNTIME = "Error occurred during initialization of VM"
"""A line of Java's output that only announces the next line."""
_ERROR = re.compile(
    rf"^(?:.* (?:ERROR|FATAL) |Error: |{_NO_RUNTIME}|Exception in thread |Terminating due to (?:java\.lang\.)?"
    r"|# (?=A fatal error|There is insufficient memory))"
)
_EXCEPTION = re.compile(r"^(?:Caused by: )?(?:[a-z][\w$]*\.)+[A-Z][\w$]*(?:Exception|Error)\b(?:: )?")


@dataclass(frozen=True, slots=True)
class Kafka:
    """The means to run Kafka's programs on a data directory."""

    data: Path
    java: Java
    class_path: Sequence[Path]

    def command(self, *program: str | Path, options: Sequence[str] = ()) -> list[str | Path]:
        """Return the command line for a Java class with arguments. Run it in the data directory."""
        class_path = ":".join(map(str, self.class_path))
        return [self.java.program, *_JVM, *archive.use(self.java), *options, "-cp", class_path, *program]


def prepare(kafka: Kafka, *, more: str = "", cluster: str | None = None) -> None:
    """Write what every program needs, and make the log directory of a new node, whole or not at all.

    `more` are lines of its properties. Without the id of its `cluster` it becomes one of its own. A log directory that
    is there is left as it is. Raises ConfigurationError with what Kafka's tool said.
    """
    (kafka.data / _LOG4J).write_text(settings.log4j())
    if (kafka.data / settings.LOGS).exists():
        return
    properties = kafka.data / f"{_FORMATTING}.properties"
    write_private(properties, settings.server(port=1, controller_port=2, logs=_FORMATTING) + more)
    if cluster is None:
        cluster = new_cluster()
    tool = kafka.command("kafka.tools.StorageTool", "format", "--ignore-formatted")
    form = [*tool, f"--cluster-id={cluster}", "--config", properties]
    done = subprocess.run(form, cwd=kafka.data, capture_output=True, text=True, check=False)
    if done.returncode:
        said = decisive(done.stderr) or done.stderr.strip().rpartition("\n")[2]
        raise ConfigurationError(f"{kafka.data} can't be made a Kafka data directory: {said}")
    (kafka.data / _FORMATTING).rename(kafka.data / settings.LOGS)
    properties.unlink()


def new_cluster() -> str:
    """Return the id of a new cluster."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def spawn(
    kafka: Kafka, *, port: int, controller_port: int, heap: str, more: str = "", options: Sequence[str] = ()
) -> int:
    """Start the broker detached from this process, its terminal and its files; return its pid.

    `more` are lines of its properties, and `options` are Java's.
    """
    properties = kafka.data / PROPERTIES
    # For its owner alone, since a secured broker's has passwords.
    write_private(properties, settings.server(port=port, controller_port=controller_port) + more)
    _set_old_output_aside(kafka.data)
    options = [f"-Xmx{heap}", *archive.record(kafka.java), *options, *_java_options()]
    return _detached(kafka.command("kafka.Kafka", properties, options=options), kafka.data, OUTPUT)


def _java_options() -> list[str]:
    """Return the user's options for Java, from KAFKA_OPTS, as Kafka's own scripts do."""
    try:
        return shlex.split(os.environ.get("KAFKA_OPTS", ""))
    except ValueError as error:
        raise UsageError(f"KAFKA_OPTS can't be read: {error}") from error


def _set_old_output_aside(data: Path) -> None:
    """Rename old output files, so that an error in the new ones is of the new program."""
    for name in (settings.LOG_FILE, OUTPUT):
        with suppress(FileNotFoundError):
            (data / name).replace(data / f"{name}.previous")


def make_archive(kafka: Kafka) -> None:
    """Make the archive of the broker's classes in the background, if this start listed them."""
    listed = kafka.data / archive.CLASS_LIST
    with suppress(OSError):  # without a writable cache each start takes a second longer, nothing else
        if listed.exists():
            classes = listed.read_text()
            listed.unlink()
            _detached(archive.making(kafka.java, classes), kafka.data, _ARCHIVE_OUTPUT)


def _detached(command: Sequence[str | Path], data: Path, output: str) -> int:
    shell = ["/bin/sh", "-c", _SHELL, output, *command]
    started = subprocess.run(shell, cwd=data, start_new_session=True, stdout=subprocess.PIPE, check=True)
    return int(started.stdout)


def ask_to_end(pid: int) -> None:
    """Have a broker begin to end. Raises as `end` does."""
    try:
        psutil.Process(pid).terminate()
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise _of_another_user(pid) from error


def _of_another_user(pid: int) -> ConfigurationError:
    return ConfigurationError(f"the broker (pid {pid}) is another user's: it can't be stopped by you")


def end(pid: int, running: Callable[[], bool], *, patience: float) -> None:
    """End the broker: SIGTERM, at which it flushes and closes, then SIGKILL after `patience` seconds.

    Raises ConfigurationError where the broker is another user's.
    """
    deadline = time.monotonic() + patience
    try:
        process = psutil.Process(pid)
        process.terminate()
        while running():
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(_PAUSE)
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied as error:
        raise _of_another_user(pid) from error


def reason_of_end(data: Path) -> tuple[str, Path]:
    """Return the line of the broker's last output that says why the broker ended, and the line's file."""
    log = data / settings.LOG_FILE
    for file in (data / OUTPUT, log):
        with suppress(FileNotFoundError):
            if line := decisive(file.read_text(errors="replace")):
                return line, file
    return "it gave no reason, so it was killed", log


def decisive(output: str) -> str | None:
    """Return the deepest cause of the last error in a Java program's output; none where there is no error."""
    lines = output.splitlines()
    errors = [number for number, line in enumerate(lines) if _ERROR.search(line)]
    if not errors:
        return None
    after = lines[errors[-1] + 1 :]
    if lines[errors[-1]].startswith(_NO_RUNTIME) and after:
        return after[0]
    trace = [line for line in after if _EXCEPTION.match(line)]
    causes = [line for line in trace if line.startswith("Caused by: ")]
    line = (causes or trace[:1] or [_ERROR.sub("", lines[errors[-1]])])[-1]
    return _EXCEPTION.sub("", line).strip() or line
