"""Kafka's own command-line tools, so that a test can type what a message of wcsup advises."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from wcsup.broker import jars, java, maven, pinned
from wcsup.broker.locking import exclusive
from wcsup.broker.pinned import Jar

# The broker does without this one; what it needs itself is among the broker's.
_JAR = Jar(
    f"org.apache.kafka:kafka-tools:{pinned.KAFKA_VERSION}",
    751_995,
    "4eb9a7fbfd63badfd8d1a677aa2d54b47b2b2d442ff7d68fd223972afea1954c",
)

_PROGRAMS = {
    "kafka-configs.sh": "org.apache.kafka.tools.ConfigCommand",
    "kafka-reassign-partitions.sh": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}

_SCRIPT = """\
#!/bin/sh
exec {java} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp {class_path} {program} "$@"
"""


class Tools:
    """A folder with the programs that Kafka's distribution has in `bin`, and with `wcsup`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        class_path = ":".join(map(str, [*jars.fetch(quiet=True), _fetch()]))
        runtime = java.find().program
        for name, program in _PROGRAMS.items():
            self._script(name, _SCRIPT.format(java=runtime, class_path=class_path, program=program))
        self._script("wcsup", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m wcsup.cli "$@"\n')

    def type(self, line: str) -> str:
        """Run a line as a person does who copies it to a shell in this folder; return what it printed.

        Fails with what it said where a command of it does.
        """
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WCSUP_")}
        environment["PATH"] = f"{self._place}:{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=self._place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _script(self, name: str, text: str) -> None:
        (self._place / name).write_text(text)
        (self._place / name).chmod(0o755)


def _fetch() -> Path:
    home = jars.cache_home()
    path = home / _JAR.filename
    with exclusive(home / "fetch.lock"):
        if not _JAR.is_at(path):
            maven.download([_JAR], home, title="Kafka's tools", quiet=True)
    return path
