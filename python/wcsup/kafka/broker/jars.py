"""Kafka's jars: pinned by `jars.lock`, kept in the user's cache, verified before every use.

`python -m wcsup.kafka.broker.maven` writes the lock anew from the coordinates below.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wcsup.errors import ConfigurationError
from wcsup.kafka.broker.locking import exclusive

KAFKA_VERSION = "4.4.0"
# kafka_2.13 is the whole server. It logs through slf4j 1.7 and brings log4j2, but not the bridge between them.
# "!" keeps the bridge's own parent POM from managing versions: jgo would then take kafka-clients 3.9.
ROOTS = (f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5!")
LOCK = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: what to fetch, and what it must be."""

    coordinate: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The jar's name in the cache, as Maven names it."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_at(self, path: Path) -> bool:
        """Tell whether `path` holds this jar, whole and unchanged."""
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


def cache_home() -> Path:
    """Return the folder of what can be fetched or made again, under XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wcsup" / f"kafka-{KAFKA_VERSION}"


def fetch(*, quiet: bool = False) -> list[Path]:
    """Return the class path, after fetching whatever the cache lacks or has damaged.

    Every jar is hashed on every call: 30 ms for 45 MB, and only the start of a broker calls it.
    Raises ConfigurationError where jgo or a writable cache is missing, BrokerUnreachableError where a jar is
    neither in the local Maven repository nor to be had from Maven Central.
    """
    home = cache_home()
    if _absent(home):
        try:
            home.mkdir(parents=True, exist_ok=True)
            with exclusive(home / "fetch.lock"):
                if absent := _absent(home):  # another process may have fetched them while we waited
                    from wcsup.kafka.broker import maven

                    maven.download(absent, home, title=f"Apache Kafka {KAFKA_VERSION}", quiet=quiet)
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep Kafka's jars in {error.filename or home} ({error.strerror}): "
                "set XDG_CACHE_HOME to a folder that has room and can be written"
            ) from error
    return [home / jar.filename for jar in locked()]


def _absent(home: Path) -> list[Jar]:
    jars = locked()
    with ThreadPoolExecutor(2) as pool:
        present = pool.map(lambda jar: jar.is_at(home / jar.filename), jars)
        return [jar for jar, there in zip(jars, present, strict=True) if not there]
