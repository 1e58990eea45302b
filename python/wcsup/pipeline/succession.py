"""How a worker that is started again gets its partitions back at once in a group of KIP-848.

With the classic protocol a worker is a static member (KIP-345), which takes its dead predecessor's place. Under KIP-848
a broker refuses a second member of one static name until the first one's session ends, which may take 45 s. So members
are dynamic there, and the new worker has its predecessor's member leave the group: a heartbeat with epoch -1 is a
member's word that it leaves, and the broker takes it from everybody who may read the group. By then the predecessor's
producer is fenced, so that it can't commit any more even if it lives.
"""

import logging
import time
from collections.abc import Callable
from contextlib import closing

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from wcsup.config import Config
from wcsup.errors import WcsupError
from wcsup.kafka import failures, groups
from wcsup.kafka.requests import Brokers
from wcsup.state.directory import Claim

log = logging.getLogger("wcsup.succession")

_ANSWER_SECONDS = 2.0
_LOOK_SECONDS = 0.2
_GONE = {KafkaError.UNKNOWN_MEMBER_ID, KafkaError.GROUP_ID_NOT_FOUND}


class Succession:
    """The member that a slot's last process was, and the one that this process is."""

    def __init__(self, config: Config, admin: AdminClient, group: str, claim: Claim) -> None:
        self._config, self._admin, self._group, self._claim = config, admin, group, claim
        self._recorded = ""
        """The id that was recorded last."""

    def relieve(self) -> None:
        """Have the predecessor's member leave the group; where that fails, its session ends it.

        Call it when the predecessor's producer is fenced.
        """
        member = self._claim.member()
        if not member or self._config.group_protocol != "consumer":
            return
        try:
            with closing(Brokers(self._config, answer_seconds=_ANSWER_SECONDS)) as brokers:
                brokers.leave(self._group, member)
        except KafkaException as failed:
            error = failures.of(failed)
            if error.code() not in _GONE:
                log.info("the dead member %s of group %s stays until its session ends: %s", member, self._group, error)
        except WcsupError as error:
            log.info("the dead member %s of group %s stays until its session ends: %s", member, self._group, error)
        else:
            log.info("the dead member %s of group %s has left it", member, self._group)

    def joins(self, name: str, member: str, seconds: float, alive: Callable[[], None]) -> bool:
        """Return whether within `seconds` the group has another member under the name of this process.

        A successor joins soon after it has fenced this process's producer. `member` is this process's member.
        """
        deadline = time.monotonic() + seconds
        while True:
            alive()
            try:
                if groups.others(self._admin, self._group, name, member):
                    return True
            except KafkaException as failed:
                log.info("who is in group %s is not known: %s", self._group, failures.of(failed))
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)

    def record(self, id_of_member: Callable[[], str]) -> None:
        """Record this process's member for its successor."""
        if self._config.group_protocol == "consumer" and (member := id_of_member()) not in {"", self._recorded}:
            self._recorded = member
            self._claim.record_member(member)
