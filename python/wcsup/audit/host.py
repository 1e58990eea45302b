"""The doctor's checks of this machine: settings, directories, disk, the embedded Kafka."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wcsup import broker
from wcsup.audit.checks import Check, Health
from wcsup.broker import java
from wcsup.config import Config
from wcsup.errors import ConfigurationError, UsageError
from wcsup.kafka import clients, libraries, properties
from wcsup.state.directory import open_directory
from wcsup.state.memory import host_memory, state_memory

_LITTLE_BYTES = 2 << 30
_LEAST_BYTES = 256 << 20
_WORD_BYTES = 10


def examine(config: Config) -> Iterator[Check]:
    """Make the checks that need no broker."""
    found = _libraries()
    yield found
    if found.health is Health.OK:
        settings = _settings(config)
        yield settings
        if settings.health is Health.OK:
            yield from _secrets(config)
    yield _state(config)
    yield _memory(config)
    if config.bootstrap_servers is None:
        yield from _disk({"state": config.state, "data": config.data})
    else:
        yield from _disk({"state": config.state})


def embedded(config: Config) -> tuple[str | None, Check]:
    """Return the embedded broker's address if it runs, and the check whether it runs or can run."""
    running = broker.status(config.data)
    if running and config.kafka_config is None and (locked := broker.locked_out(config)):
        return None, Check.failed("embedded", locked)
    if running:
        return running.bootstrap, Check.ok(
            "embedded", f"Apache Kafka {running.version} runs at {running.bootstrap} with its data in {config.data}"
        )
    try:
        runtime = java.find()
    except ConfigurationError as error:
        return None, Check.failed("embedded", str(error))
    return None, Check.ok(
        "embedded", f"no Kafka runs in {config.data}; wcsup run starts one with Java {runtime.version}"
    )


def _libraries() -> Check:
    name = "libraries"
    try:
        libraries.plugin()
    except ConfigurationError as error:
        return Check.failed(name, str(error))
    return Check.ok(name, libraries.told())


def _settings(config: Config) -> Check:
    """Make the clients that a worker makes: librdkafka refuses settings that it does not know."""
    name = "settings"
    try:
        given = clients.read_properties(config)
        probe = replace(config, bootstrap_servers=config.bootstrap_servers or "127.0.0.1:9")  # no broker is asked
        clients.transactional_producer(probe, f"{config.app_id}-doctor")
        clients.group_reader(probe, config.map_group, f"{config.app_id}-doctor").close()
    except UsageError as error:
        return Check.failed(name, str(error))
    if config.kafka_config is None:
        return Check.ok(name, "wcsup's own, without --kafka-config")
    return Check.ok(name, f"librdkafka takes the {len(given)} settings of {config.kafka_config}")


def _secrets(config: Config) -> Iterator[Check]:
    """Say where secrets can be read by every user of this machine."""
    if config.kafka_config is None:
        return
    name = "secrets"
    written, given = properties.written_secrets(config.kafka_config), clients.read_properties(config)
    files = {config.kafka_config: ", ".join(written)} if written else {}
    if key := given.get("ssl.key.location"):
        files[Path(key)] = "a private key"
    found = [f"{what} in {file}" for file, what in files.items() if file.exists() and file.stat().st_mode & 0o004]
    if found:
        yield Check.warning(
            name, f"all users of this machine can read {' and '.join(found)}: chmod o-r, or refer to a file of your own"
        )


def _state(config: Config) -> Check:
    name = "state"
    path = config.state
    if not (path / "application.json").exists():
        above = _existing(path)
        if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
            return Check.failed(name, f"{path} can't be made: {above} is not writable; choose another --state-dir")
        return Check.ok(name, f"{path} is made by the first wcsup run")
    try:
        rule = json.loads((path / "application.json").read_text()).get("words", config.words)
        host = open_directory(replace(config, words=rule)).host
        if rule != config.words:
            return Check.warning(name, f"{path} was made for --words {rule}; this is {config.words}")
    except (ConfigurationError, ValueError, OSError) as error:
        return Check.failed(name, str(error))
    stores = sum(1 for _ in (path / "stores").iterdir())
    return Check.ok(name, f"{path} belongs to {config.app_id} (host {host}), {stores} stores")


def _memory(config: Config) -> Check:
    """Say how much memory totals may take. With more than the machine has, the kernel would kill workers."""
    name = "state memory"
    bound, there = state_memory(config), host_memory()
    says = f"{bound / 1e9:.1f} GB for totals, some {bound // _WORD_BYTES / 1e6:,.0f} million words"
    if bound > there:
        return Check.failed(name, f"{says}, of {there / 1e9:.1f} GB that are there; choose a smaller --state-memory")
    return Check.ok(name, f"{says}; what does not fit is looked up in the stores")


def _disk(directories: dict[str, Path]) -> Iterator[Check]:
    for what, path in directories.items():
        name = f"disk ({what})"
        free = shutil.disk_usage(_existing(path)).free
        says = f"{free / 1e9:.1f} GB free for {path}"
        if free < _LEAST_BYTES:
            yield Check.failed(name, f"{says}; make room or choose another --{what}-dir")
        elif free < _LITTLE_BYTES:
            yield Check.warning(name, f"{says}, which is little")
        else:
            yield Check.ok(name, says)


def _existing(path: Path) -> Path:
    """Return the path or the nearest directory above it that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
