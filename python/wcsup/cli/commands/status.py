"""`wcsup status`: the workers of a running supervisor."""

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from wcsup.cli.attach import attach
from wcsup.cli.cluster import connect, quiet_clients
from wcsup.cli.command import Section, define
from wcsup.cli.show import print_json
from wcsup.cli.steer import ask
from wcsup.config import Config
from wcsup.errors import ConfigurationError

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

    from wcsup.kafka.progress import PartitionProgress

WATCH_SECONDS = 1.0
PEEK_SECONDS = 3.0
"""How long the oldest uncounted line is waited for."""


@define(
    "status",
    section=Section.STEER,
    example="""
    wcsup status
    wcsup status --all             every host of the application
    wcsup status --watch           the screen of wcsup run, with its keys
    wcsup status --json            for another program
    """,
)
@click.option("--all", "everywhere", is_flag=True, help="Show all hosts of the application, as they tell it in Kafka.")
@click.option(
    "--watch",
    is_flag=True,
    help="Show it as it changes, until Ctrl-C: on a terminal as wcsup run does, with its keys; else every second.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch one a line.")
def command(config: Config, everywhere: bool, watch: bool, as_json: bool) -> None:
    """Show what each worker of the running wcsup run does, and how much is left to count.

    If no wcsup run is on this machine, it shows no workers, and asks Kafka how much is left to count. With --all it
    shows the same on each host: what every host told a moment ago, and since when a host says nothing any more.
    """
    try:
        if watch and not (everywhere or as_json) and attach(config):
            return
        _show(config, everywhere, as_json, in_place=False)
        while watch:
            time.sleep(WATCH_SECONDS)
            _show(config, everywhere, as_json, in_place=sys.stdout.isatty() and not as_json)
    except KeyboardInterrupt:
        return  # Ctrl-C is the way to end it


def _show(config: Config, everywhere: bool, as_json: bool, *, in_place: bool) -> None:
    """Print the state once; `in_place` clears the terminal first."""
    from wcsup.cli import status_text

    if everywhere:
        found = _everything(config)
        text = "" if as_json else status_text.of_all(found)
    else:
        try:
            found = ask(config, "status")
        except ConfigurationError:
            found = {"workers": [], **_lags(config)}
        text = "" if as_json else status_text.of_host(found, config.state)
    if in_place:
        click.clear()
    if as_json:
        print_json(found)
    else:
        click.echo(text)


def _everything(config: Config) -> dict[str, Any]:
    """Return the hosts of the application, the lag, and the partitions that no host tells of a worker for."""
    from wcsup.kafka import clients
    from wcsup.observe.hosts import LISTEN_SECONDS, Hosts

    quiet_clients()
    config = connect(config, start=False)
    with closing(Hosts(config, clients.admin(config))) as hosts:
        hosts.read()
        heard = hosts.hear(LISTEN_SECONDS)
        found = [host.to_json(silent=silent) for host, silent in hosts.all(heard=heard)]
    workers = [worker for host in found if not host["silent"] for worker in host.get("workers", ())]
    listed = clients.admin(config).list_topics(timeout=clients.REACH_SECONDS).topics
    unowned = {}
    for role, name in (("map", "lines"), ("reduce", "words")):
        owned = {partition for worker in workers if worker["role"] == role for partition in worker["partitions"]}
        unowned[name] = sorted({*listed[config.topic(name)].partitions} - owned)
    return {"hosts": found, "unowned": unowned, **_lags(config)}


def _lags(config: Config) -> dict[str, float | None]:
    """Return the lag as Kafka tells it; unknown if Kafka does not run or has no topics."""
    from wcsup import broker
    from wcsup.kafka import clients
    from wcsup.kafka.progress import of_stage

    quiet_clients()
    names = ("lines_lag", "words_lag", "lines_retention_seconds", "oldest_uncounted_seconds")
    unknown: dict[str, float | None] = dict.fromkeys(names)
    if config.bootstrap_servers is None:
        embedded = broker.status(config.data)
        if embedded is None:
            return unknown
        config = replace(config, bootstrap_servers=embedded.bootstrap)
    clients.check_reachable(config)
    admin = clients.admin(config)
    listed = clients.unreachable(config, lambda: admin.list_topics(timeout=clients.REACH_SECONDS)).topics
    topic = listed.get(config.topic("lines"))
    if topic is None or config.topic("words") not in listed:
        return unknown
    config = replace(config, partitions=len(topic.partitions))
    lines, words = (of_stage(admin, config, stage) for stage in ("lines", "words"))
    lags = [sum(one.lag for one in stage) for stage in (lines, words)]
    left = _retention(admin, config, lines) if lags[0] else None
    return dict(zip(names, (*lags, left, _oldest(config, lines, words)), strict=True))


def _oldest(config: Config, lines: "Sequence[PartitionProgress]", words: "Sequence[PartitionProgress]") -> float | None:
    """Return the age of the oldest line that no total has yet; none where it can't be read."""
    from confluent_kafka import KafkaException

    from wcsup.observe.oldest import Oldest, uncounted

    with closing(Oldest(config, patience=PEEK_SECONDS)) as oldest:
        try:
            return oldest.age(uncounted(lines, words))
        except KafkaException:  # this user may lack the right to read the topics
            return None


def _retention(admin: "AdminClient", config: Config, progress: "Sequence[PartitionProgress]") -> float | None:
    """Return in how many seconds Kafka may delete an uncounted line, at the earliest; none where not known."""
    from confluent_kafka import KafkaException

    from wcsup.kafka.retention import Uncounted

    with closing(Uncounted(config, admin)) as uncounted:
        try:
            found = uncounted.look({partition: one.offset for partition, one in enumerate(progress) if one.lag})
        except KafkaException:  # this user may lack the right to read the topic's configuration
            return None
    return min(found.left(time.time()).values(), default=None)
