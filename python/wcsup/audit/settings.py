"""The doctor's checks of the settings of brokers and topics that the guarantees rest on (docs/guarantees.md).

Each check says what follows from a setting that does not fit, and how to change it. Settings that a broker does not
tell are not judged.
"""

from collections.abc import Iterator

from wcsup.audit.checks import Check
from wcsup.audit.cluster import Cluster
from wcsup.audit.commands import configure_brokers, configure_topics
from wcsup.feeding.feed import GIVE_UP_SECONDS
from wcsup.kafka import clients, topics
from wcsup.observe.figures import size, span
from wcsup.pipeline.records import LETTER_BYTES

LETTER_EXTRA_BYTES = 4_096
"""What a dead letter adds to its record: headers with place and error, and a batch's overhead."""
REQUEST_BYTES = clients.MAX_RECORD_BYTES + (64 << 10)
"""About the largest request of a worker: one batch, which is at most as large as the largest record, and overhead."""
_SESSION, _LEAST_SESSION = "group.consumer.session.timeout.ms", "group.consumer.min.session.timeout.ms"
_SHORT_MS = 3_600_000
"""With less than an hour, brokers may forget a producer during a pause or an outage."""


def timeouts(cluster: Cluster) -> Iterator[Check]:
    """Check that the brokers allow the time-outs that workers ask for."""
    config, name = cluster.config, "timeouts"
    given = clients.read_properties(config)
    transaction = _transaction_ms(cluster)
    session = int(given.get("session.timeout.ms", config.session_timeout * 1000))
    longest = min(cluster.numbers("transaction.max.timeout.ms"), default=None)
    bad = False
    if longest is not None and transaction > longest:
        bad = True
        yield Check.failed(
            name,
            f"--transaction-timeout is {transaction} ms, transaction.max.timeout.ms of the brokers {longest}: lower it",
        )
    if cluster.protocol == "classic":
        low = max(cluster.numbers("group.min.session.timeout.ms"), default=None)
        high = min(cluster.numbers("group.max.session.timeout.ms"), default=None)
        if (low is not None and session < low) or (high is not None and session > high):
            bad = True
            yield Check.failed(
                name,
                f"--session-timeout is {session} ms and the brokers allow {low} to {high}: "
                "choose one within, or change group.min.session.timeout.ms or group.max.session.timeout.ms",
            )
        says = f"sessions of {session} ms"
    else:
        kept = max(cluster.sessions.values(), default=max(cluster.numbers(_SESSION), default=None))
        low = max(cluster.numbers(_LEAST_SESSION), default=None)
        says = f"sessions of {kept} ms" if kept is not None else "sessions that the brokers do not tell"
        if low is not None and session < low:
            bad = True
            yield Check.warning(
                name,
                f"--session-timeout is {session} ms, and {_LEAST_SESSION} of the brokers {low}: a dead worker's "
                f"partitions rest for {kept} ms. Lower it in server.properties, or raise --session-timeout to "
                f"{low / 1000:g} s",
            )
        elif kept is not None and kept > session:
            bad = True
            yield Check.warning(
                name,
                f"--session-timeout is {session} ms, and the groups keep sessions of {kept}, for which a dead worker's "
                "partitions rest: the next wcsup run changes that, with the right ALTER_CONFIGS to both groups "
                "(wcsup doctor --acls)",
            )
    if not bad:
        yield Check.ok(name, f"transactions of {transaction} ms, {says}")


def expiry(cluster: Cluster) -> Iterator[Check]:
    """Check how long brokers remember producers, `transactional.id`s and the groups' offsets."""
    name, bad = "expiry", False
    producers = min(cluster.numbers("producer.id.expiration.ms"), default=None)
    names = min(cluster.numbers("transactional.id.expiration.ms"), default=None)
    offsets = min(cluster.numbers("offsets.retention.minutes"), default=None)
    resent = max(_transaction_ms(cluster), GIVE_UP_SECONDS * 1000)
    if producers is not None and producers < _SHORT_MS:
        bad = True
        fewest = producers <= resent
        follows = (
            f"less than the {span(resent / 1000)} for which a line is sent again, so it may be written twice"
            if fewest
            else "what a worker sends that stood still for longer is not known to be a dead one's"
        )
        yield (Check.failed if fewest else Check.warning)(
            name,
            f"producer.id.expiration.ms is {span(producers / 1000)}: {follows}. Set it: "
            + configure_brokers(cluster, "producer.id.expiration.ms=86400000"),
        )
    if names is not None and names < _SHORT_MS:
        bad = True
        yield Check.warning(
            name,
            f"transactional.id.expiration.ms is {span(names / 1000)}: a worker without lines for that long loses its "
            "name and counts its next batch after an abort, with a new producer. Set it to 604800000, Kafka's default, "
            "in server.properties of the brokers",
        )
    if not bad:
        known = [
            f"{what} for {span(seconds)}"
            for what, seconds in (
                ("producers", (producers or 0) / 1000),
                ("their names", (names or 0) / 1000),
                ("offsets of a group at rest", (offsets or 0) * 60),
            )
            if seconds
        ]
        then = "; after that counting goes on from topic positions" if offsets else ""
        yield Check.ok(name, f"brokers remember {', '.join(known)}{then}" if known else "the brokers do not tell")


def late(cluster: Cluster) -> Iterator[Check]:
    """Check that brokers refuse records that arrive after the end of their transaction."""
    name, key = "late requests", "transaction.partition.verification.enable"
    told = _flags(cluster, key)
    if not all(told):
        yield Check.warning(
            name,
            f"{key} is false: a record that arrives after the end of its transaction is taken, and holds readers of "
            f"its partition back until somebody ends it (KIP-890). Set it: {configure_brokers(cluster, f'{key}=true')}",
        )
    elif told:
        yield Check.ok(name, "brokers refuse records that arrive after the end of their transaction")


def elections(cluster: Cluster) -> Iterator[Check]:
    """Check that no broker without all committed records becomes a leader."""
    name, key = "elections", "unclean.leader.election.enable"
    unclean = [topic for topic, entries in cluster.topics.items() if entries.get(key) == "true"]
    follows = "a broker that lacks committed records may become leader: lines, totals and offsets are lost or go back"
    if any(_flags(cluster, key)):
        yield Check.warning(
            name,
            f"{key} of the brokers is true, which holds for topics that don't say otherwise: {follows}. Set it: "
            + configure_brokers(cluster, f"{key}=false"),
        )
    elif unclean:
        yield Check.warning(
            name,
            f"{', '.join(unclean)}: {key} is true: {follows}. Set it: "
            + configure_topics(cluster, unclean, f"{key}=false"),
        )
    else:
        yield Check.ok(name, "only a broker that has all committed records becomes leader")


def sizes(cluster: Cluster) -> Iterator[Check]:
    """Check that the largest record that one topic takes fits into the next one."""
    found = [*_made_too_small(cluster), *_letters(cluster), *_requests(cluster)]
    yield from found
    if not found:
        limits = _limits(cluster)
        takes = ", ".join(f"{cluster.config.topic(topic)} {size(most)}" for topic, most in limits.items())
        copied = max(cluster.numbers("replica.fetch.max.bytes"), default=None)
        alone = (
            "" if copied is None else f"; a copy is fetched whole even above replica.fetch.max.bytes ({size(copied)})"
        )
        yield Check.ok("sizes", f"records of up to: {takes}{alone}" if takes else "records fit wherever they go")


def _limits(cluster: Cluster) -> dict[str, int]:
    """Return the largest record that each topic takes, by plain name."""
    entries = {name: cluster.topics.get(cluster.config.topic(name)) for name in cluster.known}
    return {name: int(settings["max.message.bytes"] or 0) for name, settings in entries.items() if settings}


def _made_too_small(cluster: Cluster) -> Iterator[Check]:
    """Find topics that are not made yet and would get a limit from the brokers that is too low."""
    missing = [cluster.config.topic(name) for name in topics.NEEDING_BYTES if name not in cluster.known]
    brokers = min(cluster.numbers("message.max.bytes"), default=None)
    if missing and brokers is not None and brokers < topics.NEEDED_RECORD_BYTES:
        yield Check.failed(
            "sizes",
            f"message.max.bytes of the brokers is {brokers:,}, which {', '.join(missing)} will be made with, and the "
            f"longest word needs {topics.NEEDED_RECORD_BYTES:,}. Set it: "
            + configure_brokers(cluster, "message.max.bytes=1048588"),
        )


def _letters(cluster: Cluster) -> Iterator[Check]:
    """Find that `dead-letters` is too small for records that can't be counted; longer dead letters are cut."""
    limits = _limits(cluster)
    needed = max((min(limits[name], LETTER_BYTES) for name in ("lines", "words") if name in limits), default=0)
    if "dead-letters" in limits and limits["dead-letters"] < needed + LETTER_EXTRA_BYTES:
        topic = cluster.config.topic("dead-letters")
        yield Check.warning(
            "sizes",
            f"{topic} takes records of {limits['dead-letters']:,} bytes, and a line or a record of words that can't be "
            f"counted may have {needed:,} and {LETTER_EXTRA_BYTES:,} of headers. Set it: "
            + configure_topics(cluster, [topic], f"max.message.bytes={needed + LETTER_EXTRA_BYTES}"),
        )


def _requests(cluster: Cluster) -> Iterator[Check]:
    """Find that a worker's largest request is too large for the brokers, which would close the connection."""
    request = min(cluster.numbers("socket.request.max.bytes"), default=None)
    if request is not None and request < REQUEST_BYTES:
        yield Check.failed(
            "sizes",
            f"socket.request.max.bytes is {request:,}: brokers break the connection at a larger request, and workers "
            f"send up to {REQUEST_BYTES:,}. Set it to 104857600, Kafka's default, in server.properties of the brokers",
        )


def _transaction_ms(cluster: Cluster) -> int:
    config = cluster.config
    return int(clients.read_properties(config).get("transaction.timeout.ms", config.transaction_timeout * 1000))


def _flags(cluster: Cluster, key: str) -> list[bool]:
    """Return a boolean setting of each broker that tells it."""
    found = [settings.get(key) for settings in cluster.settings.values()]
    return [value == "true" for value in found if value is not None]
