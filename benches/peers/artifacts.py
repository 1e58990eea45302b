"""What the peers are made of: fetched, checked against locks, compiled, kept in the user's cache.

`python -m benches.peers.artifacts` writes the locks of the jars anew.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from wcsup.broker import maven, pinned
from wcsup.errors import ConfigurationError

HERE = Path(__file__).parent
FLINK, CONNECTOR, STREAMS, QUIX = "2.2.1", "5.0.0-2.2", "4.4.0", "3.28.1"
FLINK_SQL = "2.2.0"
"""Maven Central has no flink-table-planner-loader 2.2.1."""
_FLINK_PARTS = ("streaming-java", "clients", "connector-base", "runtime", "core", "statebackend-rocksdb")
_SQL_PARTS = ("table-api-java-bridge", "table-planner-loader", "table-runtime")
# "!" keeps a jar's parent POM from managing the versions of the others (see wcsup.broker.pinned).
ROOTS = {
    "flink": (
        *(f"org.apache.flink:flink-{part}:{FLINK}" for part in _FLINK_PARTS),
        f"org.apache.flink:flink-connector-kafka:{CONNECTOR}!",
        "org.slf4j:slf4j-nop:1.7.36!",
    ),
    "sql": (
        *(f"org.apache.flink:flink-{part}:{FLINK_SQL}" for part in (*_FLINK_PARTS, *_SQL_PARTS)),
        f"org.apache.flink:flink-connector-kafka:{CONNECTOR}!",
        "org.slf4j:slf4j-nop:1.7.36!",
    ),
    "streams": (f"org.apache.kafka:kafka-streams:{STREAMS}", "org.slf4j:slf4j-nop:1.7.36!"),
}
# What Flink's own start scripts open for Java 17 (env.java.opts.all in its config.yaml).
_OPENED = (
    *("java.lang", "java.net", "java.io", "java.nio", "java.lang.reflect", "java.text", "java.time", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
)


class MissingError(Exception):
    """Something that a peer needs is not to be had here; the message says what."""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wcsup" / "peers"


@dataclass(frozen=True, slots=True)
class Jdk:
    """A Java development kit of the host: the peers in Java are compiled and run with it."""

    java: Path
    javac: Path
    version: str

    @classmethod
    def find(cls) -> "Jdk":
        """Return the one of JAVA_HOME, else that of the PATH."""
        home, on_path = os.environ.get("JAVA_HOME"), shutil.which("javac")
        for javac in (home and Path(home, "bin", "javac"), on_path and Path(on_path)):
            if javac and javac.exists():
                javac = javac.resolve()  # noqa: PLW2901 - java stands beside the real one
                said = subprocess.run([javac, "-version"], capture_output=True, text=True, check=True).stdout
                version = said.split()[-1]
                if int(version.split(".")[0]) >= 17:
                    return cls(javac.with_name("java"), javac, version)
        raise MissingError(
            "Flink and Kafka Streams are compiled here and need a JDK of 17 or newer with javac (JAVA_HOME or PATH); "
            "none was found, and the Java runtime that wcsup brings has no compiler"
        )


@dataclass(frozen=True, slots=True)
class Program:
    """A peer in Java, compiled."""

    jdk: Jdk
    class_path: str

    def command(self, heap: str, *arguments: object) -> list[str]:
        """Return how it is started."""
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        options = [f"-Xmx{heap}", "-XX:+UseG1GC", *opened]
        return [str(self.jdk.java), *options, "-cp", self.class_path, "WordCount", *map(str, arguments)]


def program(name: str) -> Program:
    """Return the peer of the folder `name`, fetched and compiled where it is not yet."""
    jdk = Jdk.find()
    home = _cache() / name
    home.mkdir(parents=True, exist_ok=True)
    locked = _locked(name)
    absent = [jar for jar in locked if not jar.is_at(home / jar.filename)]
    if absent:
        try:
            maven.download(absent, home, title=f"the jars of {name}")
        except ConfigurationError as error:
            raise MissingError(str(error)) from error
    class_path = os.pathsep.join(str(home / jar.filename) for jar in locked)
    sources = sorted((HERE / name).glob("*.java"))
    text = b"".join(source.read_bytes() for source in sources)
    classes = home / f"classes-{hashlib.sha256(text + class_path.encode() + jdk.version.encode()).hexdigest()[:12]}"
    if not classes.exists():
        new = classes.with_suffix(f".{os.getpid()}")
        compiling: list[str | Path] = [jdk.javac, "--release", "17", "-nowarn", "-cp", class_path, "-d", new, *sources]
        done = subprocess.run(compiling, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"{name} does not compile:\n{done.stderr}")
        new.rename(classes)
    return Program(jdk, os.pathsep.join([str(classes), class_path]))


def quix() -> Path:
    """Return the Python of an environment that has Quix Streams, whose confluent-kafka is another one than ours."""
    requirements = HERE / "quix" / "requirements.txt"
    home = _cache() / f"quix-{hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"installing Quix Streams {QUIX}", file=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        done = subprocess.run([*install, "-r", str(requirements)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingError(f"Quix Streams can't be installed:\n{done.stderr}")
        (home / "complete").touch()
    return python


def _locked(name: str) -> list[pinned.Jar]:
    lines = (HERE / name / "jars.lock").read_text().splitlines()
    fields = (line.split() for line in lines if line and not line.startswith("#"))
    return [pinned.Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in fields]


def _lock() -> None:
    for name, roots in ROOTS.items():
        _, _, locked = maven.resolve_lock(roots).partition("\n")
        head = "# Written by `python -m benches.peers.artifacts`: coordinate, bytes, SHA-256.\n"
        (HERE / name / "jars.lock").write_text(head + locked)


if __name__ == "__main__":
    _lock()
