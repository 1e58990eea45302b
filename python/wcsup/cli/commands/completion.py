"""`wcsup completion`: completion of command lines in a shell."""

import click

from wcsup.cli.command import Section, define
from wcsup.config import Config

_SHELLS = ("bash", "zsh", "fish")


@define(
    "completion",
    section=Section.AROUND,
    offered=(),
    example="""
    wcsup completion bash          for ~/.local/share/bash-completion/completions/wcsup
    wcsup completion zsh           for ~/.zfunc/_wcsup
    wcsup completion fish          for ~/.config/fish/completions/wcsup.fish
    """,
)
@click.argument("shell", type=click.Choice(_SHELLS))
def command(config: Config, shell: str) -> None:  # noqa: ARG001 - every command gets it
    """Print the script by which a shell completes commands, options and the names of workers."""
    from click.shell_completion import get_completion_class

    from wcsup.cli.app import app

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows all of `_SHELLS`
    click.echo(kind(app, {}, "wcsup", "_WCSUP_COMPLETE").source())
