"""`wcsup status`: the workers of a running supervisor."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from wcsup.cli.cluster import quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ConfigurationError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient


@define(
    "status",
    section=Section.STEER,
    example="""
    wcsup status
    wcsup status --json            for another program
    """,
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(config: Config, as_json: bool) -> None:
    """Show what each worker of the running wcsup run does, and how much is left to count.

    If no wcsup run is on this machine, it shows no workers, and asks Kafka how much is left to count.
    """
    try:
        snapshot = ask(config, "status")
    except ConfigurationError:
        snapshot = {"workers": [], **_lags(config)}
    if as_json:
        print_json(snapshot)
    else:
        click.echo(_text(config, snapshot))


def _lags(config: Config) -> dict[str, float | None]:
    """Return the lag as Kafka tells it; unknown if Kafka does not run or has no topics."""
    from wcsup import broker
    from wcsup.kafka import clients, progress

    quiet_clients()
    unknown: dict[str, float | None] = {"lines_lag": None, "words_lag": None, "lines_retention_seconds": None}
    if config.bootstrap_servers is None:
        embedded = broker.status(config.data)
        if embedded is None:
            return unknown
        config = replace(config, bootstrap_servers=embedded.bootstrap)
    clients.check_reachable(config)
    admin = clients.admin(config)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    lines = listed.get(config.topic("lines"))
    if lines is None or config.topic("words") not in listed:
        return unknown
    config = replace(config, partitions=len(lines.partitions))
    lag = progress.lag(admin, config)
    left = _retention(admin, config) if lag.lines else None
    return {"lines_lag": lag.lines, "words_lag": lag.words, "lines_retention_seconds": left}


def _retention(admin: "AdminClient", config: Config) -> float | None:
    """Return in how many seconds Kafka may delete an uncounted line, at the earliest; none where not known."""
    from confluent_kafka import KafkaException

    from wcsup.kafka.progress import of_stage
    from wcsup.kafka.retention import Uncounted

    progress = of_stage(admin, config, "lines")
    with closing(Uncounted(config, admin)) as uncounted:
        try:
            found = uncounted.look({partition: one.offset for partition, one in enumerate(progress) if one.lag})
        except KafkaException:  # this user may lack the right to read the topic's configuration
            return None
    return min(found.left(time.time()).values(), default=None)


def _state(worker: dict[str, Any]) -> str:
    from wcsup.observe.figures import restored

    if worker["state"] != "restoring":
        return str(worker["state"])
    return f"{worker['state']}{restored(worker['restoring'], worker['restore_seconds'])}"


def _text(config: Config, snapshot: dict[str, Any]) -> str:
    from wcsup.observe.figures import columns, partition_list, size, span

    left = [
        f"{snapshot[name]:,} {what}"
        for name, what in (("lines_lag", "lines"), ("words_lag", "words records"))
        if snapshot[name] is not None
    ]
    seconds = snapshot.get("lines_retention_seconds")
    if seconds is not None:
        left[0] += f" (Kafka may delete the first of them in {span(seconds)})"
    left_text = "left to count: " + (", ".join(left) or "unknown")
    workers: Sequence[dict[str, Any]] = snapshot["workers"]
    if "pid" not in snapshot:
        return f"no wcsup run has its state in {config.state}\n{left_text}"
    head = [("slot", "pid", "state", "cpu", "memory", "restarts", "records", "partitions")]
    rows = [
        (
            worker["slot"],
            "" if worker["pid"] is None else str(worker["pid"]),
            _state(worker),
            "" if worker["cpu_percent"] is None else f"{worker['cpu_percent']:.0f} %",
            "" if worker["rss_bytes"] is None else size(worker["rss_bytes"]),
            worker["restarts"],
            worker["counters"]["records"],
            partition_list(worker["partitions"]),
        )
        for worker in workers
    ]
    why = [f"{worker['slot']}: {worker['failed']}" for worker in workers if worker.get("failed")]
    condition = snapshot["stopping"] or ("ready" if snapshot["ready"] else "not ready")
    if snapshot["broker"]["reachable"] is False:
        condition += f", no broker answers since {snapshot['broker']['since']}"
    title = f"supervisor {snapshot['pid']}, up {span(snapshot['uptime'])}, {condition}"
    return "\n".join([title, columns(head + rows, "<><>>>><"), *why, *_in_memory(workers), left_text])


def _in_memory(workers: Sequence[dict[str, Any]]) -> list[str]:
    """Say how many words need no look-up in the stores."""
    from wcsup.observe.figures import size

    words, known, taken, bound = (
        sum(worker[name] for worker in workers)
        for name in ("distinct", "words_in_memory", "bytes_in_memory", "state_memory")
    )
    return [f"totals in memory: {known:,} of {words:,} words, {size(taken)} of at most {size(bound)}"] if words else []
