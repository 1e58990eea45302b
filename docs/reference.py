"""The parts of pages that are made from the program's own declarations, and from the examples.

A page has a marker such as `<!-- made: metrics -->` on a line of its own. `fill` puts the part of that name there.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path

import click
from prometheus_client import Metric
from snapshots import snapshot, worker

import wcsup
from wcsup.cli import options
from wcsup.cli.app import app
from wcsup.cli.command import Command, Section
from wcsup.errors import ExitStatus
from wcsup.kafka import topics
from wcsup.observe.metrics import RunCollector

SOURCE = Path(wcsup.__file__).parent

EXAMPLES = Path(__file__).parents[1] / "examples"

MARKER = re.compile(r"^<!-- made: ([a-z-]+) -->$", re.MULTILINE)


def fill(page: str) -> str:
    """Return a page with what its markers name."""
    return MARKER.sub(lambda found: PARTS[found[1]](), page)


def cell(text: object) -> str:
    """Return a text as a cell of a table. A stroke between backticks is left as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join(str(text).split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def table(head: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *(tuple(map(cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# Commands


def leaves(group: click.Group = app, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Command]]:
    """Yield each command that does something, with the words that call it."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            if isinstance(command, click.Group):
                yield from leaves(command, (*above, name))
            elif isinstance(command, Command):
                yield " ".join((*above, name)), command


def _placeholder(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.IntRange | click.types.IntParamType):
        return f" {option.metavar or 'N'}"
    return f" {option.metavar or option.type.name.upper()}"


def _default(option: click.Option) -> str:
    shown = option.show_default not in {None, False} and option.default is not None
    return f"`{option.default}`" if shown else ""


def _row(words: str, option: click.Option) -> tuple[object, ...]:
    typed = ", ".join(f"`{name}`" for name in option.opts)
    own = f"WCSUP_{words.replace(' ', '_')}_{option.name}".upper()
    variable = option.envvar if isinstance(option.envvar, str) else own
    value = _placeholder(option)
    shown = typed.removesuffix("`") + f"{value}`"
    return shown, f"`{variable}`", _default(option), option.help or ""


_HEAD = ("option", "in the environment", "default", "what it does")


def _of_command(words: str, command: Command) -> str:
    usage = " ".join(
        [words]
        + [
            argument.make_metavar(click.Context(command))
            for argument in command.params
            if isinstance(argument, click.Argument)
        ]
    )
    named = [one for one in command.params if isinstance(one, click.Option)]
    own = [one for one in named if one.name not in {*command.shared_names, "config", "h"}]
    shared = [one for one in named if one.name in {*command.shared_names, "config"} and not one.hidden]
    text = cleandoc(command.help or "").replace("\f", "")
    parts = [f"### wcsup {words}", f"```\nwcsup {usage} [OPTIONS]\n```", text]
    if own:
        parts.append(table(_HEAD, (_row(words, one) for one in own)))
    parts.append("It also takes: " + ", ".join(f"`{one.opts[0]}`" for one in shared) + ".")
    lines = [re.split(r"\s{3,}", line.strip(), maxsplit=1) for line in command.example.strip().splitlines()]
    examples = "\n".join("$ " + "    # ".join(line) for line in lines)
    parts.append(f"```console\n{examples}\n```")
    return "\n\n".join(parts)


def commands() -> str:
    """Return a section for each command, in the order of `wcsup --help`."""
    found = list(leaves())
    sections: dict[Section, list[str]] = {section: [] for section in Section}
    for words, command in found:
        group = app.get_command(click.Context(app), words.split()[0])
        sections[getattr(group, "section", None) or Section.AROUND].append(_of_command(words, command))
    return "\n\n".join(f"## {section}\n\n" + "\n\n".join(sections[section]) for section in Section)


def shared_options() -> str:
    """Return the table of the options that mean the same in every command."""
    found = [*options.config_options(options.ALL), *options.log_options()]
    return table(_HEAD, (_row("", one) for one in found))


# Statuses, topics, metrics, HTTP, events


def exit_statuses() -> str:
    """Return the table of exit statuses."""
    tree = ast.parse((SOURCE / "errors.py").read_text())
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ExitStatus")
    said = {
        ast.unparse(name.targets[0]): text.value.value
        for name, text in pairwise(body)
        if isinstance(name, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    rows = ((f"`{int(status)}`", f"`{status.name}`", said[status.name]) for status in ExitStatus)
    return table(("status", "name", "meaning"), rows)


def topic_settings() -> str:
    """Return the table of the settings that wcsup gives to topics that it makes."""
    rows = (
        (f"`{name}`", ", ".join(f"`{key}={value}`" for key, value in given.items()))
        for name, given in topics.CONFIGS.items()
    )
    return table(("topic", "settings that it is made with"), rows)


def families() -> list[Metric]:
    """Return all metrics of a run."""
    full = snapshot(worker("map"), worker("reduce"))
    return list(RunCollector("books", lambda: full).collect())


def metrics() -> str:
    """Return the table of metrics."""

    def rows() -> Iterator[tuple[object, ...]]:
        for family in families():
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            labels = ", ".join(f"`{name}`" for name in getattr(family, "_labelnames", ()))
            yield f"`{family.name}{suffix}`", family.type, labels, family.documentation

    return table(("metric", "type", "labels", "what it says"), rows())


def http_paths() -> str:
    """Return the table of paths, from the description that the server itself gives at /openapi.json."""
    described = SOURCE / "observe" / "web" / "openapi.json"
    if not described.exists():
        return ""
    paths = json.loads(described.read_text())["paths"]
    rows = (
        (f"`{method.upper()} {path}`", operation.get("summary", ""))
        for path, operations in paths.items()
        for method, operation in operations.items()
        if method in {"get", "post", "put", "delete"}
    )
    return table(("request", "what it answers"), rows)


_EVENTS = {
    "started": "A process was started in a slot.",
    "works": "A worker has its partitions and their stores, and counts.",
    "ended": "A worker's process ended; the reason says how.",
    "waits": "A slot waits before its next start, since its processes end soon again and again.",
    "left down": "A slot is given up: a restart would not help. The reason says what to do.",
    "hung": "A worker did not come around its loop in time. Its stacks are in the log, and it is killed.",
    "too large": "A worker uses more memory than `--max-rss` soon after a restart.",
    "ready": "All workers are at work.",
    "scaled": "The number of workers of a kind was changed.",
    "stopping": "The run is ending, and why.",
    "broker gone": "No broker answers; counting rests.",
    "broker back": "A broker answers again.",
}
"""What each event means."""


def events() -> str:
    """Return the table of events: each call of `RunEvents.add` is one. Raises `KeyError` for one without a meaning."""
    calls = (
        node
        for path in sorted((SOURCE / "supervisor").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_events.add")
    )
    of = {
        str(call.args[0].value): "a worker" if len(call.args) > 2 else "the run"
        for call in calls
        if isinstance(call.args[0], ast.Constant)
    }
    order = list(_EVENTS)
    rows = ((f"`{name}`", of[name], _EVENTS[name]) for name in sorted(of, key=order.index))
    return table(("event", "of what", "meaning"), rows)


_FIELDS = {
    "aborts_in_row": "Transactions aborted since the last commit, by Kafka's error.",
    "application": "The name of the application.",
    "beat": "How often the process has said that it is alive.",
    "bootstrap_servers": "Kafka's address.",
    "broker": "Whether a broker answered in the last 5 s (`reachable`), and `since` when that is so.",
    "bytes_in_memory": "What these totals take.",
    "cpu_percent": "Processor time, in percent of one processor.",
    "distinct": "Distinct words.",
    "failed": "Why the slot is given up, if it is.",
    "kept_words": "Words whose new totals are yet to be written to the stores.",
    "lag": "What is left to count, by topic and partition.",
    "last_exit": "How the last process of the slot ended.",
    "lines_per_second": "Lines that were committed, over the last few seconds.",
    "mismatches": "How many totals are wrong.",
    "null_lines": "Lines without a value.",
    "open_files": "Open file descriptors.",
    "partitions": "The partitions that the slot has.",
    "phase": "What the process says that it does.",
    "pid": "The number of the process.",
    "ready": "Whether the slot has its partitions, and their stores are open.",
    "rejected_lines": "Lines in `dead-letters`.",
    "restarts": "How many processes of the slot were replaced.",
    "restoring": "For each store that is being opened, how many records are read, and of how many.",
    "role": "`map`, `reduce` or `standby`.",
    "rss_bytes": "Resident memory.",
    "rule": "The rule that says what a word is.",
    "seconds": "How long it took.",
    "spares": "Processes that wait to take a dead one's place.",
    "state": "See below.",
    "state_bytes": "The size of the open stores on disk.",
    "state_memory": "What totals in memory may take.",
    "supervisor": "What the supervisor itself uses.",
    "tasks": "Other processes of the run, such as the one that writes `--input`.",
    "threads": "Threads of the process.",
    "top": "The most frequent words of the slot's partitions.",
    "total": "The sum of all totals.",
    "uptime": "The age of the run, in seconds.",
    "words": "Words in these lines.",
    "words_in_memory": "Words whose totals need no look-up in the stores.",
    "workers": "See below.",
}
"""What fields mean that have no docstring, since their names say it where they stand."""

_IN_JSON = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "None": "null",
    "Kind": "text",
    "Role": "text",
    "Phase": "text",
    "SlotState": "text",
    "WordRule": "text",
}


def in_json(annotation: ast.expr) -> str:
    """Return in words what a field's type is in JSON."""
    match annotation:
        case ast.BinOp(left=left, right=right):
            return f"{in_json(left)} or {in_json(right)}"
        case ast.Subscript(value=ast.Name(id="list")):
            return "list"
        case _:
            return _IN_JSON.get(ast.unparse(annotation), "object")


def fields_of(module: str, name: str) -> str:
    """Return the table of the fields of a class. Raises `KeyError` for one whose meaning is said nowhere."""
    tree = ast.parse((SOURCE / module).read_text())
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)

    def rows() -> Iterator[tuple[object, ...]]:
        for node, after in pairwise([*body, ast.Pass()]):
            if isinstance(node, ast.AnnAssign):
                field = ast.unparse(node.target)
                said = (
                    after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
                )
                yield f"`{field}`", in_json(node.annotation), said or _FIELDS[field]

    return table(("field", "in JSON", "what it is"), rows())


def example(path: str) -> str:
    """Return a program of `examples/` as a block of code."""
    language = "java" if path.endswith(".java") else "python"
    return f'```{language} title="examples/{path}"\n{(EXAMPLES / path).read_text().rstrip()}\n```'


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "shared-options": shared_options,
    "exit-statuses": exit_statuses,
    "topic-settings": topic_settings,
    "metrics": metrics,
    "http-paths": http_paths,
    "events": events,
    "example-producer": lambda: example("producer.py"),
    "example-java": lambda: example("LineProducer.java"),
    "example-totals": lambda: example("totals.py"),
    "example-log": lambda: example("live_log/make_log.py"),
    "example-corpus": lambda: example("corpus/feed.py"),
    "example-database": lambda: example("database/into_sqlite.py"),
    "json-run": lambda: fields_of("supervisor/snapshot.py", "Snapshot"),
    "json-worker": lambda: fields_of("supervisor/snapshot.py", "WorkerView"),
    "json-verdict": lambda: fields_of("audit/verdict.py", "Verdict"),
    "json-history": lambda: fields_of("audit/history.py", "HistoryReport"),
    "json-anomaly": lambda: fields_of("audit/transactions.py", "Anomaly"),
    "json-seen": lambda: fields_of("audit/history.py", "TopicSeen"),
    "json-event": lambda: fields_of("supervisor/events.py", "RunEvent"),
}
"""Every part, by the name in its marker."""
