"""`wcsup run`: count with a supervised pool of workers."""

import logging
import pathlib
import sys
from collections import deque
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from wcsup import __version__
from wcsup.cli.cluster import connect
from wcsup.cli.command import Command, Section
from wcsup.cli.options import ALL, Logging, Pattern, Positive, RateType, environment
from wcsup.cli.values import Address, Processors, Size
from wcsup.config import Config
from wcsup.errors import INTERRUPTED, ExitStatus, UsageError

if TYPE_CHECKING:
    from wcsup.observe.lag import LagWatch, Sample
    from wcsup.observe.outcome import Outcome
    from wcsup.observe.plain import PlainView
    from wcsup.observe.screen.view import ScreenView
    from wcsup.observe.web.server import Server
    from wcsup.supervisor import RunOptions, Snapshot

logger = logging.getLogger("wcsup.run")

LEAST_RSS = 64 << 20
"""A worker without work has 50 MB; with a lower limit each one would be replaced for nothing."""
WORKERS = Pattern(r"auto|\d{1,4}(\.\.\d{1,4})?", "expected a number, a range such as 1..8, or auto")


class Run(Command):
    """The command `run`. After `--input`, plain arguments are further files."""

    allow_extra_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and add the remaining arguments to the files."""
        super().parse_args(ctx, args)
        if ctx.args and not ctx.params["input"]:
            raise click.UsageError(f"Got unexpected extra argument ({' '.join(ctx.args)})", ctx)
        option = next(parameter for parameter in self.params if parameter.name == "input")
        ctx.params["input"] += option.type_cast_value(ctx, ctx.args)
        ctx.args = []
        return ctx.args


@click.command(
    "run",
    cls=Run,
    section=Section.COUNT,
    offered=ALL,
    logs=True,
    example="""
    wcsup run                                      as many workers as fit this machine, until Ctrl-C
    wcsup run --mappers 4 --reducers 2             four mappers and two reducers
    wcsup run --input book.txt --exit-when-done    count the words of a file and show the most frequent
    wcsup run --http 127.0.0.1:9090                also a page for browsers and metrics for Prometheus
    wcsup run --mappers 1..8 --bootstrap-servers kafka:9092
    """,
)
@click.option(
    "--mappers",
    type=WORKERS,
    default="auto",
    show_default=True,
    metavar="N|N..M|auto",
    help="How many mappers, no more than partitions; of a range what the load needs, auto is what fits this machine. "
    "0 where other hosts have them.",
)
@click.option(
    "--reducers",
    type=WORKERS,
    default="auto",
    show_default=True,
    metavar="N|N..M|auto",
    help="How many reducers; 0 where other hosts have them.",
)
@click.option(
    "--standby",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="How many other hosts keep a warm store of each partition, so that they take over soon when a host is lost. "
    "Give it on every host.",
)
@click.option(
    "--input",
    type=click.Path(exists=True, dir_okay=False, readable=True),
    multiple=True,
    metavar="FILE…",
    help="Also write the lines of these files to Kafka, as wcsup gen does.",
)
@click.option(
    "--rate", type=RateType(), metavar="N", help="With --input: lines a second, 0 for all it can [default: 0]."
)
@click.option("--exit-when-done", is_flag=True, help="End when every line is counted, and show a summary.")
@click.option(
    "--drain-timeout",
    type=Positive(),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a worker may take to drain before it is killed.",
)
@click.option(
    "--http",
    type=Address(),
    metavar="HOST:PORT",
    help="Serve a page (/), metrics for Prometheus (/metrics) and health (/livez, /readyz) at this address. "
    "There is no login to read: name an address that only those reach who may read the words.",
)
@click.option(
    "--http-name",
    multiple=True,
    metavar="NAME",
    help="With --http: a domain name by which browsers may call it, such as that of a proxy. Addresses, and names of "
    "private networks, need none.",
)
@click.option(
    "--http-token",
    type=click.Path(dir_okay=False, path_type=pathlib.Path),
    metavar="FILE",
    help="With --http: who knows the token in this file can steer the run on the page. Where there is none, one is "
    "made with a random token.",
)
@click.option(
    "--max-rss",
    type=Size(least=LEAST_RSS),
    metavar="SIZE",
    help="Resident memory, such as 300M, above which a worker is drained and replaced, once in ten minutes at most.",
)
@click.option(
    "--cpu-affinity",
    type=Processors(),
    default=(),
    metavar="N,…",
    help="Bind workers to processors, such as 0,1 or 0-3, one each, in turn.",
)
@click.option(
    "--plain", is_flag=True, help="No full screen on a terminal: logs, and a line about the state every 10 s."
)
def command(
    *,
    config: Config,
    log: Logging,
    mappers: str,
    reducers: str,
    standby: int,
    input: tuple[str, ...],
    rate: float | None,
    exit_when_done: bool,
    drain_timeout: float,
    http: tuple[str, int] | None,
    http_name: tuple[str, ...],
    http_token: pathlib.Path | None,
    max_rss: int | None,
    cpu_affinity: tuple[int, ...],
    plain: bool,
) -> int:
    """Count words, with a pool of workers that is kept running.

    Makes missing topics, starts mappers and reducers, and replaces a worker that dies. On a terminal it shows what
    each worker does, and keys steer it: ? lists them. Ctrl-C ends the run in order: first mappers, then reducers commit
    their batches and end. Totals stay in Kafka: the next wcsup run goes on where this one ended. Exit status 130 if a
    run with --exit-when-done was ended before everything was counted.
    """
    from wcsup.feeding.feed import FeedJob
    from wcsup.kafka.lookout import Lookout
    from wcsup.kafka.sighting import Sight
    from wcsup.observe.hosts import HostTeller
    from wcsup.observe.lag import LagWatch
    from wcsup.observe.outcome import Outcome
    from wcsup.observe.owners import reachable_address
    from wcsup.observe.retention import RetentionWatch
    from wcsup.supervisor import Hooks, RunOptions, Task, Workers, automatic, run

    log.start("run")
    map_auto, reduce_auto = automatic(config.partitions)
    options = RunOptions(
        mappers=Workers.parse(mappers, map_auto, config.partitions),
        reducers=Workers.parse(reducers, reduce_auto, config.partitions),
        standby=standby,
        drain_timeout=drain_timeout,
        max_rss=max_rss,
        cpu_affinity=cpu_affinity,
        log_level=log.level,
    )
    _refuse_misfits(
        config, options, rate_only=rate is not None and not input, token_only=http_token is not None and http is None
    )
    snapshots: deque[Snapshot] = deque(maxlen=1)
    with ExitStack() as during:
        # First of all, so that an address that can't be used is reported before anything is started.
        site = during.enter_context(_site(http, http_name, http_token, config)) if http else None
        config = connect(config)
        watch = LagWatch(config)
        host = _prepare(config, bool(input), during)
        if site:
            _hand_in(site, config, during)
        during.enter_context(watch)
        sight = Sight()
        during.enter_context(Lookout(config, sight.see))
        retention = during.enter_context(RetentionWatch(config))
        before = watch.first()
        outcome = Outcome(config, lambda: watch.last)
        teller = during.enter_context(
            HostTeller(config, host, reachable_address(site.address if site else None, config))
        )

        def say_outcome(failure: type[BaseException] | None, *_: object) -> None:
            if failure is None or outcome.worked:
                _say_outcome(outcome, before, watch)

        during.push(say_outcome)  # called when the screen has given the terminal back
        # Last of all: an error before this is seen on the terminal, and signals that end the process are handled now.
        view = _view(config, plain, during)

        def tick(snapshot: "Snapshot") -> None:
            snapshots.append(snapshot)
            outcome.take(snapshot)
            view.show(snapshot)
            teller.show(snapshot)
            if site:
                site.show(snapshot)

        status = run(
            config,
            options,
            tasks=[Task("feed", FeedJob(config, input, rate or 0.0, log.level).command())] if input else [],
            hooks=Hooks(
                lag=lambda: retention.added(watch.lag()),
                sighting=lambda: sight.newest,
                on_tick=tick,
                done=outcome.done if exit_when_done else lambda _: False,
            ),
        )
    if _lines_were_refused(snapshots[-1]):
        return ExitStatus.CHECK_FAILED
    return INTERRUPTED if exit_when_done and outcome.final is None else status


def _prepare(config: Config, feeds: bool, during: ExitStack) -> str:
    """Make what is missing in Kafka, and take the state directory for this run; return the host's name."""
    from wcsup.kafka import application, rights
    from wcsup.observe.hosts import unshared
    from wcsup.state.directory import open_directory
    from wcsup.supervisor import locked

    application.prepare(config, [*rights.of_run(config), *(rights.of_feed(config) if feeds else [])])
    application.check_positions(config)
    directory = open_directory(config)
    during.enter_context(locked(config.state))
    host = unshared(config, directory).host
    logger.info(
        "wcsup %s: application %s of the Kafka at %s, host %s, state in %s",
        __version__,
        config.app_id,
        config.bootstrap_servers,
        host,
        config.state,
    )
    return host


def _lines_were_refused(last: "Snapshot") -> bool:
    """Return whether lines of the input were left out, and say how many."""
    refused = sum(task.progress.get("refused", 0) for task in last.tasks)
    if refused:
        click.echo(f"wcsup: {refused:,} lines of the input were left out", err=True)
    return bool(refused)


def _refuse_misfits(config: Config, options: "RunOptions", *, rate_only: bool, token_only: bool) -> None:
    """Raise `UsageError` for options that make no sense together."""
    if rate_only:
        raise UsageError("--rate is how fast --input is written: give it files, or leave the rate out")
    if token_only:
        raise UsageError("--http-token is for the page of --http: name its address, or leave the token out")
    if not options.mappers.high and not options.reducers.high:
        raise UsageError("--mappers 0 and --reducers 0 leave nothing to run: have at least one of a kind")
    if options.standby and config.group_protocol != "classic":
        raise UsageError(
            "--standby needs --group-protocol classic: else Kafka does not tell which host has a partition"
        )


def _say_outcome(outcome: "Outcome", before: "Sample", watch: "LagWatch") -> None:
    """Print the summary of a run. If not everything was counted, it begins with what was read and what is left."""
    end = watch.refresh() or before
    lines = end.lines - before.lines
    if outcome.final:
        click.echo(outcome.summary(lines).text())
        return
    lag = watch.lag()
    left = lag.lines if lag else None
    for_next = (
        "how many are left for the next run is not known" if left is None else f"{left:,} are left for the next run"
    )
    click.echo(f"{lines:,} lines were read, {for_next}")
    click.echo(outcome.so_far(lines).text())


def _hand_in(site: "Server", config: Config, during: ExitStack) -> None:
    """Give the page what it asks Kafka, the stores and the supervisor with, until `during` ends."""
    from wcsup.observe.deadletters import newest
    from wcsup.observe.hostwatch import HostWatch
    from wcsup.observe.web.recount import AskedRecount
    from wcsup.observe.web.site import Sources
    from wcsup.observe.words import look_up_here, look_up_text
    from wcsup.supervisor import request
    from wcsup.supervisor.events import EventsReader

    def here(text: str) -> dict[str, Any] | None:
        found = look_up_here(config, text)
        return None if found is None else found.to_json()

    recount = AskedRecount([sys.executable, "-m", "wcsup.cli", "verify", "--json"], environment(config))
    during.callback(recount.end)
    site.answer_from(
        Sources(
            words=lambda word: look_up_text(config, word).to_json(),
            words_here=here,
            hosts=HostWatch(config).look,
            letters=lambda most: [letter.to_json() for letter in newest(config, most)],
            events=lambda most: [asdict(event) for event in EventsReader(config.state).read()[-most:]],
            recount=recount.told,
        )
    )
    site.steer(lambda command: request(config.state, command), recount.start)


def _site(http: tuple[str, int], names: tuple[str, ...], token: pathlib.Path | None, config: Config) -> "Server":
    from wcsup.observe.web.server import Server

    return Server(*http, config.app_id, names, token)


def _view(config: Config, plain: bool, during: ExitStack) -> "ScreenView | PlainView":
    """Begin to show the run: on the whole screen of a terminal, as log lines elsewhere."""
    if not plain and sys.stdout.isatty():
        from wcsup.cli.means import means_of
        from wcsup.observe.screen import terminal, view

        if terminal.usable():
            title = f"{config.app_id} on {config.bootstrap_servers}"
            return during.enter_context(view.ScreenView(title, during.enter_context(means_of(config, lambda: config))))
    from wcsup.observe.plain import PlainView

    return during.enter_context(PlainView())
