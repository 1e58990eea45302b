"""How help looks: headings and options in colour on a terminal, and `-h`, which leaves out what all commands share."""

from typing import Any

import click

from wcsup.process.terminal import colored


class Formatter(click.HelpFormatter):
    """Writes headings in bold, and what can be typed in colour. Where there are no colours, click takes them away."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the line of usage."""
        super().write_usage(click.style(prog, bold=True), args, prefix)

    def write_heading(self, heading: str) -> None:
        """Write a heading."""
        super().write_heading(click.style(heading, bold=True))

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of what can be typed, with explanations."""
        super().write_dl([(click.style(typed, fg="cyan"), said) for typed, said in rows], col_max, col_spacing)


class Context(click.Context):
    """The context of every command."""

    formatter_class = Formatter
    short_help = False
    """Whether the help leaves out the options that all commands share."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        if not colored():
            self.color = False


def short() -> click.Option:
    """Return the option -h."""

    def show(ctx: click.Context, _parameter: click.Parameter, given: bool) -> None:
        if given and isinstance(ctx, Context):
            ctx.short_help = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["-h"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show this message without the options that other commands share.",
    )
