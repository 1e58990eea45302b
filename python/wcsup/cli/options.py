"""Click options made from `Config`'s fields: one declaration serves command line, environment and file."""

import math
import re
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from wcsup.cli.values import Size
from wcsup.config import Config
from wcsup.errors import UsageError
from wcsup.process import logs

SHARED = ("bootstrap_servers", "app_id", "topic_prefix", "state_dir", "data_dir", "kafka_config")
"""Options that every command has on its command line: where the application is."""
TOPICS = (*SHARED, "partitions", "replication")
"""For commands that make the topics."""
ALL = tuple(field.name for field in fields(Config))
"""For commands that count: also how the application counts."""


class Positive(click.ParamType[float]):
    """A number above zero; not infinite, not NaN."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number or fail with one line."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not a number", param, ctx)
        if not (math.isfinite(number) and number > 0):
            self.fail(f"{value} is not above 0", param, ctx)
        return number


class RateType(click.ParamType[float]):
    """Lines a second; 0 means as fast as possible."""

    name = "rate"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the rate or fail with one line."""
        try:
            rate = float(str(value))
        except ValueError:
            rate = -1.0
        if not 0 <= rate < float("inf"):
            self.fail(f"{value!r} is not a number from 0 on", param, ctx)
        return rate


class Pattern(click.ParamType[str]):
    """A text that matches a pattern as a whole."""

    name = "text"

    def __init__(self, pattern: str, wanted: str) -> None:
        self.pattern = re.compile(pattern)
        self.wanted = wanted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text or fail with what is wanted; wcsup.toml may have a plain number."""
        text = value if isinstance(value, str) else str(value)
        if not self.pattern.fullmatch(text):
            self.fail(f"{text!r}: {self.wanted}", param, ctx)
        return text


_TEXTS = {
    "bootstrap_servers": Pattern(
        r"([^\s,:\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5}(,([^\s,:\[\]]+|\[[0-9a-fA-F:]+\]):\d{1,5})*",
        "expected HOST:PORT, several with commas between",
    ),
    # Both become parts of topic, group and file names.
    "app_id": Pattern(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", "expected letters, digits, '.', '_' or '-'"),
    "host": Pattern(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", "expected letters, digits, '.', '_' or '-'"),
    "topic_prefix": Pattern(r"[A-Za-z0-9._-]{0,200}", "expected letters, digits, '.', '_' or '-'"),
}


class FromElsewhere(click.Option):
    """An option that this command takes only from the environment and the file, not on its command line."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Do nothing, so that the option does not exist on the command line."""


def _type(field: Field[Any], kind: Any) -> click.ParamType[Any]:
    if field.metadata["choices"]:
        return click.Choice(field.metadata["choices"])
    if field.metadata["metavar"] == "SIZE":
        return Size()
    if kind in {int, int | None}:
        return click.IntRange(min=1)
    if kind is float:
        return Positive()
    if kind == Path | None:
        file = field.metadata["metavar"] == "FILE"
        return click.Path(exists=file and field.name != "trace", file_okay=file, dir_okay=not file, path_type=Path)
    return _TEXTS[field.name]


def config_options(offered: tuple[str, ...]) -> list[click.Option]:
    """Return an option for each field of `Config`; options that are not `offered` are only in environment and file."""
    kinds = get_type_hints(Config)
    return [
        (click.Option if field.name in offered else FromElsewhere)(
            [flag(field.name)],
            type=_type(field, kinds[field.name]),
            default=field.default,
            show_default=field.default not in {None, ""},
            help=field.metadata["help"],
            metavar=field.metadata["metavar"],
            envvar=f"WCSUP_{field.name.upper()}",
            allow_from_autoenv=False,
            hidden=field.name not in offered,
        )
        for field in fields(Config)
    ]


def flag(name: str) -> str:
    """Return the option that sets a field."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class Logging:
    """The logging of a long-running command."""

    form: logs.LogFormat
    level: str
    file: Path | None

    def start(self, slot: str) -> None:
        """Start to log as `slot`."""
        try:
            logs.configure(slot, self.form, self.level, self.file)
        except OSError as error:
            raise UsageError(f"--log-file {self.file} can't be written: {error.strerror}") from error


def log_options() -> list[click.Option]:
    """Return the logging options of long-running commands."""

    def option(name: str, **attributes: Any) -> click.Option:
        return click.Option([flag(name)], envvar=f"WCSUP_{name.upper()}", allow_from_autoenv=False, **attributes)

    return [
        option(
            "log_format",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="Logs as lines for a reader or as JSON objects, one a line.",
        ),
        option(
            "log_level",
            type=click.Choice(["debug", "info", "warning", "error"]),
            default="info",
            show_default=True,
            help="The least important events to log.",
        ),
        option(
            "log_file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="The log file [default: standard error]; SIGUSR1 reopens it.",
        ),
    ]


def take_logging(values: dict[str, Any]) -> Logging:
    """Take the values of `log_options` out of a command's values."""
    return Logging(values.pop("log_format"), values.pop("log_level"), values.pop("log_file"))


def take_config(values: dict[str, Any]) -> Config:
    """Take the fields of `Config` out of a command's values and return them as a configuration."""
    return Config(**{field.name: values.pop(field.name) for field in fields(Config)})


def environment(config: Config) -> dict[str, str]:
    """Return the environment variables that give a command of wcsup this configuration."""
    values = {field.name: getattr(config, field.name) for field in fields(Config)}
    return {f"WCSUP_{name.upper()}": str(value) for name, value in values.items() if value is not None}


def file_options(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by their names in `wcsup.toml`, with underscores for dashes."""
    return {
        parameter.name: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in {None, "help", "config"}
    }


def is_shared(option: click.Option) -> bool:
    """Tell whether an option means the same in every command that has it."""
    return not option.allow_from_autoenv
