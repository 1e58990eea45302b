"""Follows what the hosts tell for as long as somebody asks: the page shows them, `GET /hosts.json` lists them."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from confluent_kafka import KafkaException

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import clients
from wcsup.observe.hosts import LISTEN_SECONDS, Hosts
from wcsup.process.times import utc

log = logging.getLogger("wcsup.hosts")

_WANTED_SECONDS = 60.0
"""How long after the last question it goes on to follow."""
_FIRST_SECONDS = 10.0
_TURN_SECONDS = 1.0


class HostWatch:
    """Reads the topic of the hosts in a thread, which begins with the first question and ends when nobody asks."""

    def __init__(self, config: Config, open_hosts: Callable[[Config], Hosts] | None = None) -> None:
        """`open_hosts` is for tests."""
        self._config = config
        self._open = open_hosts or (lambda config: Hosts(config, clients.admin(config)))
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._following = False
        self._asked = 0.0
        self._newest: dict[str, Any] | None = None
        self._failed: Exception | None = None

    def look(self) -> dict[str, Any]:
        """Return the hosts as `wcsup status --all --json` has them, and when they were looked at.

        Waits for the first time that the topic is read. Raises what it can't be read for.
        """
        with self._lock:
            self._asked = time.monotonic()
            if not self._following:
                self._following, self._newest, self._failed = True, None, None
                self._told.clear()
                threading.Thread(target=self._follow, name="hosts-page", daemon=True).start()
        self._told.wait(_FIRST_SECONDS)
        newest, failed = self._newest, self._failed
        if failed is not None:
            raise failed
        if newest is None:
            raise WcsupError("what the hosts tell is being read: ask again in a moment")
        return newest

    def _follow(self) -> None:
        try:
            with closing(self._open(self._config)) as hosts:
                hosts.read()
                heard_at = time.monotonic() if hosts.hear(LISTEN_SECONDS) else None
                while self._is_wanted():
                    heard = heard_at is not None and time.monotonic() - heard_at <= LISTEN_SECONDS
                    self._newest = {
                        "hosts": [host.to_json(silent=silent) for host, silent in hosts.all(heard=heard)],
                        "looked_at": utc(time.time()),
                    }
                    self._told.set()
                    if hosts.hear(_TURN_SECONDS):
                        heard_at = time.monotonic()
        except (KafkaException, WcsupError) as error:
            log.debug("the hosts can't be followed: %s", error)
            self._failed = error
        finally:
            with self._lock:
                self._following = False
            self._told.set()

    def _is_wanted(self) -> bool:
        return time.monotonic() - self._asked < _WANTED_SECONDS
