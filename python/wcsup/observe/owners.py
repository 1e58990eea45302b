"""Which host's reducer owns a partition of `counts`, as the hosts tell it, and the totals that another host tells."""

import http.client
import json
import logging
import socket
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from confluent_kafka import KafkaException

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients
from wcsup.observe.hosts import Host, Hosts

log = logging.getLogger("wcsup.owners")

HERE = "here"
"""The query of `GET /counts/{word}` by which a host answers for its own reducers alone."""
_ANSWER_SECONDS = 2.0
_LONGEST_ANSWER = 1 << 21
"""A word has up to a million bytes, and JSON may take two for one."""
_OLD_SECONDS = 60.0
"""What a host told longer ago may be true of nothing any more."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The reducer that has a partition."""

    host: str
    slot: str
    address: str | None
    """Where its host answers (`--http`), as HOST:PORT; none where other hosts can't reach it."""
    restoring: bool
    """Whether it is opening the partition's store: until then nothing more is counted in it."""

    @property
    def name(self) -> str:
        """How it is called among all hosts."""
        return f"{self.host}/{self.slot}"


def owners(config: Config) -> dict[int, Owner]:
    """Return the owner of each partition, as far as hosts have told of one in the last minute."""
    try:
        with closing(Hosts(config, clients.admin(config))) as hosts:
            hosts.read()
            told = sorted((host for host, _ in hosts.all(heard=True) if host.ended is None), key=lambda host: host.told)
    except (KafkaException, WcsupError) as error:
        log.debug("who owns a partition is not known: %s", error)
        return {}
    return {p: owner for host in told if time.time() - host.told / 1000 < _OLD_SECONDS for p, owner in _of(host)}


def _of(host: Host) -> list[tuple[int, Owner]]:
    found = []
    for worker in host.state.get("workers", ()):
        if worker["role"] == "reduce":
            restoring = {int(partition) for partition in worker["restoring"]}
            for partition in {*worker["partitions"], *restoring}:
                owner = Owner(host.host, worker["slot"], host.address, partition in restoring)
                found.append((partition, owner))
    return found


def ask(owner: Owner, word: bytes) -> dict[str, Any] | None:
    """Return what the owner's host answers for a word; none where it does not tell its total."""
    if owner.address is None:
        return None
    connection = http.client.HTTPConnection(owner.address, timeout=_ANSWER_SECONDS)
    try:
        with closing(connection):
            connection.request("GET", f"/counts/{quote(word, safe='')}?{HERE}")
            answer = connection.getresponse()
            body = answer.read(_LONGEST_ANSWER)
        found = json.loads(body) if answer.status == http.client.OK else None
    except (OSError, ValueError, http.client.HTTPException) as error:
        log.debug("%s does not answer at %s: %s", owner.name, owner.address, error)
        return None
    is_answer = isinstance(found, dict) and isinstance(found.get("count"), int) and isinstance(found.get("offset"), int)
    return found if is_answer else None


def reachable_address(listens: tuple[str, int] | None, config: Config) -> str | None:
    """Return the address by which other hosts can ask a server that listens here; none where they can't.

    `listens` is the server's address, none where there is no server. One that listens at every address is told by the
    address from which this host reaches Kafka.
    """
    if listens is None:
        return None
    host, port = listens
    if ip_address(host).is_unspecified:
        host = _own_address(config) or "127.0.0.1"
    if ip_address(host).is_loopback:
        return None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _own_address(config: Config) -> str | None:
    """Return this machine's address on the way to the first broker; nothing is sent."""
    name, _, port = (config.bootstrap_servers or "").split(",")[0].rpartition(":")
    with suppress(OSError, ValueError):
        found = socket.getaddrinfo(name.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return None
