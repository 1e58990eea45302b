"""The one frozen configuration object, and the one declaration of every option.

Each field of `Config` declares one option: the command line with its `--help`, the environment (`WCSUP_…`) and
`wcsup.toml` are made from it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

WordRule = Literal["ascii", "unicode"]


def option(default: Any, text: str, *, metavar: str | None = None, choices: tuple[str, ...] = ()) -> Any:
    """Declare a configuration field: its default, its help text, and the name of its value in `--help`."""
    return field(default=default, metadata={"help": text, "metavar": metavar, "choices": choices})


def _home(variable: str, fallback: str) -> Path:
    """Return wcsup's folder under an XDG base directory (freedesktop.org basedir specification)."""
    base = os.environ.get(variable)
    return (Path(base) if base else Path.home() / fallback) / "wcsup"


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one wcsup application, the same for all of its processes."""

    bootstrap_servers: str | None = option(
        None, "Kafka's address; without it the embedded broker in --data-dir.", metavar="HOST:PORT,…"
    )
    app_id: str = option("wcsup", "Name of the application: consumer groups and transactions carry it.")
    topic_prefix: str = option("", "Put before the names of the application's topics.", metavar="TEXT")
    state_dir: Path | None = option(
        None, "Stores and control socket [default: $XDG_STATE_HOME/wcsup/APP-ID].", metavar="DIR"
    )
    host: str | None = option(
        None,
        "This host's name in Kafka, which no other host of the application has [default: a random one, kept in "
        "--state-dir].",
        metavar="NAME",
    )
    data_dir: Path | None = option(None, "The embedded broker's data [default: $XDG_DATA_HOME/wcsup].", metavar="DIR")
    kafka_config: Path | None = option(
        None,
        "librdkafka's settings (SASL, TLS, tuning), as key=value lines. A value may refer to a secret: ${env:NAME}, "
        "${file:PATH:KEY}, ${dir:PATH:NAME}.",
        metavar="FILE",
    )
    partitions: int = option(12, "Partitions of the topics; wcsup repartition gives them more.")
    replication: int | None = option(
        None, "Copies of each topic that is made [default: as many as brokers are up, at most 3].", metavar="N"
    )
    words: WordRule = option(
        "ascii", "What a word is: a-z, A-Z and _, or Unicode's rules (UAX 29).", choices=("ascii", "unicode")
    )
    state_memory: int | None = option(
        None,
        "Memory for totals, such as 2G, shared evenly by the partitions; other totals are looked up in the stores "
        "[default: an eighth of this machine's, or of its container's].",
        metavar="SIZE",
    )
    commit_interval: float = option(1.0, "Longest time between two commits, in seconds.", metavar="SECONDS")
    session_timeout: float = option(
        6.0,
        "How long the partitions of a dead worker that is not replaced stay assigned to it, in seconds.",
        metavar="SECONDS",
    )
    transaction_timeout: float = option(
        10.0,
        "Longest time that a dead worker's transaction can hold readers back, in seconds.",
        metavar="SECONDS",
    )
    group_protocol: Literal["classic", "consumer"] = option(
        "classic", "Consumer group protocol; consumer is KIP-848.", choices=("classic", "consumer")
    )
    trace: Path | None = option(
        None,
        "Append the protocol steps of all workers to a file, as JSON lines, which make proof can check.",
        metavar="FILE",
    )

    @property
    def state(self) -> Path:
        """The state directory: stores, locks, control socket."""
        return self.state_dir or _home("XDG_STATE_HOME", ".local/state") / self.app_id

    @property
    def data(self) -> Path:
        """The embedded broker's data directory."""
        return self.data_dir or _home("XDG_DATA_HOME", ".local/share")

    def topic(self, name: str) -> str:
        """Return the full name of one of the six topics."""
        return self.topic_prefix + name

    @property
    def map_group(self) -> str:
        """The mappers' consumer group."""
        return f"{self.app_id}-map"

    @property
    def reduce_group(self) -> str:
        """The reducers' consumer group."""
        return f"{self.app_id}-reduce"

    @property
    def hosts_topic(self) -> str:
        """The full name of the topic in which hosts tell of themselves; it is none of those that are counted with."""
        return f"{self.topic_prefix}{self.app_id}-hosts"

    def to_json(self) -> str:
        """Return the configuration as JSON, for a child process."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls.from_mapping(json.loads(text))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Make a configuration of values by field name; paths may be strings."""
        paths = {"state_dir", "data_dir", "kafka_config", "trace"}
        known = {f.name for f in fields(cls)}
        typed: dict[str, Any] = {
            name: Path(value) if name in paths and value is not None else value
            for name, value in values.items()
            if name in known
        }
        return cls(**typed)
