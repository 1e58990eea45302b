"""The group of all commands: each is a module of `wcsup.cli.commands`, imported when it is needed."""

import importlib
import pkgutil
import platform
from typing import ClassVar

import click

from wcsup import __version__
from wcsup.cli import commands
from wcsup.cli.command import Section
from wcsup.cli.help import Context


class Commands(click.Group):
    """The commands, found by their modules' names. A module ends with an underscore if Python reserves the name."""

    context_class = Context
    _modules: ClassVar[dict[str, str]] = {
        module.name.rstrip("_"): f"{commands.__name__}.{module.name}"
        for module in pkgutil.iter_modules(commands.__path__)
    }

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click has it
        """Return the names of all commands."""
        return sorted(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the `command` of the module of that name."""
        if cmd_name not in self._modules:
            return None
        found: click.Command = importlib.import_module(self._modules[cmd_name]).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a misspelt name, the error says which one may be meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            if not (near := get_close_matches(args[0], self._modules, n=1)):
                raise
            raise click.UsageError(f"No such command {args[0]!r}: did you mean {near[0]}?", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their sections' headings."""
        for section in Section:
            rows = []
            for name in self.list_commands(ctx):
                command = self.get_command(ctx, name)
                if command is not None and getattr(command, "section", None) is section:
                    rows.append((name, command.get_short_help_str(100)))
            if rows:
                with formatter.section(section):
                    formatter.write_dl(rows)


app = Commands(
    "wcsup",
    help="""Count words in a stream of lines, exactly once, for as long as lines keep coming.

    `wcsup run` starts mappers, which split lines into words, and reducers, which add them up; Kafka
    carries the lines, the words and the counts. Give it the address of a Kafka with
    --bootstrap-servers, or none, and it starts one of its own on this machine.""",
    epilog="""\b
Examples:
  wcsup run --input book.txt --exit-when-done    count the words of a file
  wcsup top                                      the most frequent words
  wcsup count whale                              how often a word was there
\b
Any option may also come from the environment (--app-id as WCSUP_APP_ID, run's own
--mappers as WCSUP_RUN_MAPPERS) or from a file wcsup.toml (app-id = "books" at its
top, mappers = 8 under [run]). The command line wins over the environment, the
environment over the file.
\b
Exit status: 0 done, 1 a check failed, 2 wrong usage, 3 configuration, 4 another
process has this one's name, 6 no broker answers; wcsup.errors has the rest.""",
    context_settings={
        "auto_envvar_prefix": "WCSUP",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
)


def _show_version(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    """Print wcsup's version, and below it the versions of libraries, broker, Java and Python."""
    if not given:
        return
    from wcsup.broker import java, pinned
    from wcsup.errors import ConfigurationError
    from wcsup.kafka import libraries

    try:
        found = f"Java {java.find().version}"
    except ConfigurationError:
        found = f"no Java {java.OLDEST} or newer"
    click.echo(f"wcsup {__version__}")
    click.echo(libraries.told())
    click.echo(f"embedded broker: Apache Kafka {pinned.KAFKA_VERSION} with {found}")
    click.echo(f"Python {platform.python_version()} on {platform.platform()}")
    context.exit()


click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the versions of wcsup and of what it works with, and exit.",
)(app)
