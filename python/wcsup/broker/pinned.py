"""The jars of Kafka, which `jars.lock` lists.

`python -m wcsup.broker.maven` writes `jars.lock` anew from the coordinates below.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

KAFKA_VERSION = "4.4.0"
# kafka_2.13 is the whole server. It logs through slf4j 1.7 and brings log4j2, but not the bridge between them.
# "!" keeps the bridge's own parent POM from managing versions: jgo would then take kafka-clients 3.9.
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5!")
LOCK = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: a jar's coordinate, size and hash."""

    coordinate: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's name in the cache, as Maven names it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_at(self, path: Path) -> bool:
        """Tell whether `path` has this jar, complete and unchanged."""
        try:
            if path.stat().st_size != self.size:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except (FileNotFoundError, NotADirectoryError):
            return False


def locked() -> list[Jar]:
    """Read the lock: every jar of the broker, in the order of its class path."""
    lines = (line.split() for line in LOCK.read_text().splitlines() if line and not line.startswith("#"))
    return [Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in lines]
