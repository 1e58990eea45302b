"""Hosts for tests: network namespaces, each with a cable to one switch, which can be pulled out.

Making them takes the rights of root. Without these, a host is its processes alone, and one that is cut off is stopped.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import brokers
import psutil
from brokers import Doors
from shell import Shell

from wcsup.config import Config

_NUMBERS = range(1, 250)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _may_make_networks() -> bool:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    space, cable = f"wcsup-try-{os.getpid()}", f"try{os.getpid()}"
    make = ["ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space]
    if subprocess.run(["ip", "netns", "add", space], check=False, capture_output=True).returncode:
        return False
    made = subprocess.run(make, check=False, capture_output=True).returncode == 0
    if made:
        _ip("link", "del", cable)
    _ip("netns", "del", space)
    return made


def _free() -> int:
    """Return a number that no network of this machine has: a test that was killed leaves some."""
    links = _ip("-oneline", "link")
    return next(number for number in _NUMBERS if not re.search(rf"\bwcsup{number}\b", links))


class Switch:
    """What the hosts are connected by. Its address is that of the machine which the test runs on."""

    def __init__(self) -> None:
        self.real = _may_make_networks()
        """Whether there are network namespaces."""
        self.number = _free() if self.real else 0
        self.name = f"wcsup{self.number}"
        self.address = f"10.213.{self.number}.1" if self.real else "127.0.0.1"
        if self.real:
            _ip("link", "add", self.name, "type", "bridge")
            _ip("addr", "add", f"{self.address}/24", "dev", self.name)
            _ip("link", "set", self.name, "up")
        print("hosts are", "network namespaces" if self.real else "processes: this user may make no networks")

    def close(self) -> None:
        if self.real:
            _ip("link", "del", self.name)


class TestHost(Shell):
    """A machine of its own, on which commands are called."""

    __test__ = False

    def __init__(self, switch: Switch, number: int, config: Config, place: Path) -> None:
        self._switch = switch
        self._name = f"{switch.name}-{number}"
        self._cable = f"{switch.name}.{number}"
        self.address = f"10.213.{switch.number}.{number + 1}" if switch.real else switch.address
        if switch.real:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._name)
            _ip("link", "set", self._cable, "master", switch.name, "up")
            _ip("-n", self._name, "addr", "add", f"{self.address}/24", "dev", "eth0")
            for link in ("eth0", "lo"):
                _ip("-n", self._name, "link", "set", link, "up")
        super().__init__(config, place, ["ip", "netns", "exec", self._name] if switch.real else [])

    def cut_off(self) -> None:
        """Lose every packet from now on; connections hear nothing of it."""
        if self._switch.real:
            _ip("link", "set", self._cable, "down")
        else:
            self._signal(signal.SIGSTOP)

    def connect(self) -> None:
        if self._switch.real:
            _ip("link", "set", self._cable, "up")
        else:
            self._signal(signal.SIGCONT)

    def crash(self) -> None:
        """Lose all processes at once, and say nothing of it."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for started in self.running:
            with suppress(psutil.NoSuchProcess):
                for process in [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]:
                    process.send_signal(number)

    def stop(self) -> None:
        super().stop()
        if self._switch.real:
            _ip("link", "del", self._cable)  # at once; with the namespace it would go some time later
            _ip("netns", "del", self._name)


@contextmanager
def hosts(count: int, place: Path, **changes: object) -> Iterator[list[TestHost]]:
    """Yield so many hosts that share an application, and reach a broker on the machine that the test runs on."""
    switch = Switch()
    made: list[TestHost] = []
    try:
        with brokers.broker(place / "broker", Doors.find(), address=switch.address) as running:
            for number in range(1, count + 1):
                home = place / f"host{number}"
                home.mkdir()
                config = Config(bootstrap_servers=running.address, app_id="shared", state_dir=home / "state", **changes)  # type: ignore[arg-type]
                made.append(TestHost(switch, number, config, home))
            try:
                yield made
            finally:
                for host in made:
                    host.connect()
                    host.stop()
    finally:
        switch.close()
