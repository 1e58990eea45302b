"""`wcsup status`: what a running supervisor's workers do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from wcsup.cli.cluster import quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ConfigurationError


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
    """Show what each worker of the running wcsup run does, and how much there is left to count.

    Where none runs on this machine it has no workers, and what is left to count is asked from Kafka.
    """
    try:
        snapshot = ask(config, "status")
    except ConfigurationError:
        snapshot = {"workers": [], **_lags(config)}
    if as_json:
        print_json(snapshot)
    else:
        click.echo(_text(config, snapshot))


def _lags(config: Config) -> dict[str, int | None]:
    """Return what is left to count, asked from Kafka; nothing is known where it does not run or has no topics."""
    from wcsup.kafka import broker, clients, progress

    quiet_clients()
    unknown: dict[str, int | None] = {"lines_lag": None, "words_lag": None}
    if config.bootstrap_servers is None:
        embedded = broker.status(config.data)
        if embedded is None:
            return unknown
        config = replace(config, bootstrap_servers=embedded.bootstrap)
    admin = clients.admin(config)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    lines = listed.get(config.topic("lines"))
    if lines is None or config.topic("words") not in listed:
        return unknown
    lag = progress.lag(admin, replace(config, partitions=len(lines.partitions)))
    return {"lines_lag": lag.lines, "words_lag": lag.words}


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
    condition = snapshot["stopping"] or ("ready" if snapshot["ready"] else "not ready yet")
    title = f"supervisor {snapshot['pid']}, up {span(snapshot['uptime'])}, {condition}"
    return "\n".join([title, columns(head + rows, "<><>>>><"), *why, left_text])
