"""The common parts of all commands: shared options, an example in the help, and the handling of errors."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import click

from wcsup.cli import options
from wcsup.cli.file import read_file
from wcsup.cli.help import Context, short
from wcsup.errors import ConfigurationError
from wcsup.kafka.properties import address
from wcsup.process import cores


class Section(StrEnum):
    """The headings of `wcsup --help`, in order."""

    COUNT = "Count words"
    LOOK = "Look at the counts"
    STEER = "Steer a running wcsup run"
    AROUND = "Around it"


class Command(click.Command):
    """A command that takes the application's configuration and passes it to its function as `config`.

    `offered` are the fields of `Config` that are options on its command line. With `logs` it also takes the options of
    logging, and passes a `Logging` to its function as `log`. The help shows the lines of `example`.
    """

    context_class = Context

    def __init__(
        self,
        name: str,
        *,
        section: Section | None = None,
        example: str,
        offered: tuple[str, ...] = options.SHARED,
        logs: bool = False,
        **attributes: Any,
    ) -> None:
        super().__init__(name, **attributes)
        self.section = section
        self.example = example
        self.logs = logs
        self._asks_kafka = "bootstrap_servers" in offered
        shared = options.config_options(offered) + (options.log_options() if logs else [])
        self.shared_names = {option.name for option in shared}
        self.params += [*shared, _config_file(), short()]

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function with `config`; end silently once nobody reads standard output.

        Raises `ConfigurationError` where standard output can't be written.
        """
        config = options.take_config(ctx.params)
        if self._asks_kafka and config.kafka_config is not None:
            cores.leave_none()
            if config.bootstrap_servers is None:
                config = replace(config, bootstrap_servers=address(config.kafka_config))
        ctx.params["config"] = config
        if self.logs:
            ctx.params["log"] = options.take_logging(ctx.params)
        try:
            result = super().invoke(ctx)
            _flush()
        except BrokenPipeError:
            _discard_output()
            raise click.exceptions.Exit(141) from None  # as a shell reports a death by SIGPIPE
        except OSError:
            try:
                _flush()
            except OSError as error:  # output is left in the buffer, so standard output is what fails
                _discard_output()
                raise ConfigurationError(f"standard output can't be written: {error.strerror}") from error
            raise
        return result

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options and the shared options, each under its heading."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                (shared if parameter.name in {*self.shared_names, "config"} else own).append(record)
        with formatter.section("Options"):
            formatter.write_dl(own)
        if isinstance(ctx, Context) and ctx.short_help:
            names = " ".join(typed.split()[0] for typed, _ in shared)
            formatter.write_paragraph()
            formatter.write_text(f"Options shared with other commands, which --help explains: {names}")
            return
        with formatter.section("Options shared with other commands"):
            formatter.write_dl(shared)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the example."""
        with formatter.section("Example" if "\n" not in self.example.strip() else "Examples"):
            for line in self.example.strip().splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")


def define(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a `Command` of a function, whose docstring is the help."""
    return click.command(name, cls=Command, **attributes)


def _flush() -> None:
    """Flush standard output, if there is one: a caller may have closed it."""
    output: TextIO | None = sys.stdout
    if output is not None:
        output.flush()


def _discard_output() -> None:
    """Discard standard output, so that the interpreter's flush at its end does not fail, too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _config_file() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="WCSUP_CONFIG",
        allow_from_autoenv=False,
        metavar="FILE",
        help="Take options from FILE; by default from wcsup.toml in the current directory, if it exists.",
        is_eager=True,
        expose_value=False,
        callback=read_file,
    )
