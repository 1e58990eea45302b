"""A standby: keeps stores warm for partitions whose reducers are on other hosts.

When a host is lost, its partitions go to reducers of other hosts. A reducer whose host has a warm store reads only the
last seconds of `counts` from it, in place of all of it. That is what Kafka Streams calls a standby replica.

A standby is no member of the group, and writes nothing to Kafka. Every few seconds it opens the stores of the
partitions it follows, reads into them what `counts` got meanwhile (`wcsup.state.restore`, the steps of a reducer's
start), and closes them: so that a reducer that is assigned the partition finds the store's lock free, or free in a
moment.
"""

import logging
import time
import zlib
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaException, TopicPartition

from wcsup.config import Config
from wcsup.errors import RefusedError
from wcsup.kafka import clients, failures, topics
from wcsup.kafka.asking import Asking
from wcsup.kafka.ownership import partition_list
from wcsup.kafka.sighting import Sight, Sighting
from wcsup.pipeline.report import Job, Phase, Report
from wcsup.process import logs
from wcsup.state.directory import open_directory
from wcsup.state.restore import Restore

log = logging.getLogger("wcsup.standby")

ROUND_SECONDS = 2.0
"""How often the stores are brought up to date: so much of `counts` is left to read when a host is lost."""
_TURN_SECONDS = 0.05
_REPORT_SECONDS = 0.5


class Follower:
    """Which partitions this host follows: each is followed by some of the hosts that do not own it."""

    def __init__(self, config: Config, sight: Sight, host: str, copies: int) -> None:
        """Choose for this `host`; `copies` is how many other hosts are to follow a partition."""
        self._group, self._sight, self._host, self._copies = config.reduce_group, sight, host, copies
        self._before, self._after = f"{config.app_id}-", "-reduce-"
        self._last: Sighting | None = None
        self._found: set[int] | None = None
        """What the last sighting led to: it is asked for in every turn, and changes once a second at most."""

    def partitions(self) -> set[int] | None:
        """Return the partitions to follow; none while the owners are not known, as during a rebalance.

        All hosts come to the same choice by themselves: the hosts are ordered anew for each partition by a hash of both
        (rendezvous hashing, Thaler and Ravishankar, 1998), so that a host that comes or goes moves few partitions.
        """
        newest = self._sight.newest
        if newest is not self._last:
            self._last, self._found = newest, self._choose(newest)
        return self._found

    def _choose(self, newest: Sighting | None) -> set[int] | None:
        owners = newest.owners[self._group] if newest is not None and newest.owners else {}
        owned = {host: partitions for host, partitions in self._by_host(owners).items() if host}
        if not owned:
            return None
        hosts = owned.keys() | {self._host}
        return {
            partition
            for owner, partitions in owned.items()
            if owner != self._host
            for partition in partitions
            if self._host in self._first(hosts - {owner}, partition)
        }

    def _by_host(self, owners: Mapping[str, set[int]]) -> dict[str, set[int]]:
        """Return the partitions by host. A static member's id begins with its name (KIP-345), as `wcsup-HOST-…`."""
        found: dict[str, set[int]] = {}
        for member, partitions in owners.items():
            host = member.removeprefix(self._before).rpartition(self._after)[0]
            found.setdefault(host, set()).update(partitions)
        return found

    def _first(self, hosts: set[str], partition: int) -> list[str]:
        order = sorted(hosts, key=lambda host: (zlib.crc32(f"{partition} {host}".encode()), host))
        return order[: self._copies]


class Standby:
    """The loop of a standby, from its start to its drain."""

    def __init__(
        self,
        job: Job,
        send: Callable[[Report], None],
        sight: Sight,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Find the topics. `send` takes a report twice a second; `sight` has the owners of the partitions."""
        self._config, self._send, self._clock, self._sleep = job.config, send, clock, sleep
        directory = open_directory(self._config)
        directory.check_room()
        self._admin = clients.admin(self._config)
        identity = topics.identity(self._admin, self._config)
        self._restore = Restore(self._config, directory, self._admin, identity, log_level=logging.DEBUG)
        self._follower = Follower(self._config, sight, directory.host, job.copies)
        self._topic = self._config.topic("counts")
        self._ends: Asking[dict[tuple[str, int], int]] = Asking("ends")
        self._followed: set[int] = set()
        self._opening: set[int] = set()
        self._read_up_to: dict[int, int] = {}
        """The end of `counts` when a partition's store was last up to date."""
        self._round = 0
        self._round_at = 0.0
        self._report = Report()
        self._sent = 0.0
        self._ended = False

    def drain(self, *, leave: bool = False) -> None:  # noqa: ARG002 - it is in no group that it could leave
        """Ask the loop to end; safe to call from a signal handler."""
        self._ended = True

    def run(self) -> None:
        """Follow until drained. Raises the `WcsupError` that ends the process otherwise."""
        self._enter(Phase.RUNNING)
        try:
            while not self._ended:
                self._turn()
                self._beat()
        finally:
            self._restore.close()

    def _turn(self) -> None:
        followed = self._follower.partitions()
        if followed is None:
            self._let_go(self._opening)  # a reducer of this host may be about to open them
        elif followed != self._followed:
            log.info("following partitions %s of %s", partition_list(followed) or "none", self._topic)
            self._let_go(self._followed - followed)
            self._followed = followed
            self._round_at = 0.0
        if self._opening:
            self._go_on()
        elif followed and self._clock() >= self._round_at:
            self._begin()
        else:
            self._sleep(_TURN_SECONDS)

    def _let_go(self, partitions: Iterable[int]) -> None:
        """Close stores that are being brought up to date; what was read into them stays."""
        for partition in list(partitions):
            self._restore.abandon(partition)
            self._opening.discard(partition)
            self._read_up_to.pop(partition, None)

    def _begin(self) -> None:
        """Begin to open the stores whose partitions of `counts` have grown."""
        wanted = [TopicPartition(self._topic, partition) for partition in sorted(self._followed)]
        try:
            ends = self._ends.answer((self._round, *sorted(self._followed)), lambda: topics.ends(self._admin, wanted))
        except KafkaException as failed:
            error = failures.of(failed)
            log.debug("the ends of %s are not known: %s", self._topic, error.str())
            self._sleep(_TURN_SECONDS)
            return
        if ends is None:
            return
        self._round += 1
        self._round_at = self._clock() + ROUND_SECONDS
        for (_, partition), end in ends.items():
            if self._read_up_to.get(partition) != end:
                self._read_up_to[partition] = end
                self._opening.add(partition)
                self._restore.begin(partition)

    def _go_on(self) -> None:
        try:
            # No input is read behind these totals, so it does not matter where a reducer would resume.
            opened = self._restore.step(lambda partitions: dict.fromkeys(partitions, 0))
        except RefusedError:
            self._let_go(self._opening)
            raise
        for partition, state in opened.items():
            self._opening.discard(partition)
            state.close(keep=False)

    def _beat(self) -> None:
        self._report.beat += 1
        now = self._clock()
        if now - self._sent < _REPORT_SECONDS:
            return
        self._sent = now
        report = self._report
        report.ready = True
        report.partitions = sorted(self._followed)
        report.restoring = self._restore.progress()
        report.restore_seconds = self._restore.remaining() if report.restoring else None
        report.counters.restored = self._restore.read
        self._send(report)

    def _enter(self, phase: Phase) -> None:
        self._report.phase = phase
        logs.enter(phase)
