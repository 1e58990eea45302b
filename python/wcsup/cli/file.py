"""`wcsup.toml`: shared options at the top, and a table for each command's own options."""

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from wcsup.cli.options import file_options, is_shared
from wcsup.errors import UsageError

DEFAULT = Path("wcsup.toml")
META_KEY = "wcsup.file"
"""The context's key for the path of the file that was read, for error messages."""

Words = tuple[str, ...]
"""The words that call a command, such as ("broker", "start")."""


def read_file(ctx: click.Context, _option: click.Parameter, path: Path | None) -> None:
    """Make the file's values the defaults of the command that runs next (an eager option's callback)."""
    if path is None and not DEFAULT.exists():
        return
    path = path or DEFAULT
    ctx.meta[META_KEY] = path
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read: {os.strerror(error.errno or 0)}") from error
    except ValueError as error:  # TOML's syntax or UTF-8's
        raise UsageError(f"{path} is not TOML: {error}") from error
    ctx.default_map = _defaults(ctx, path, document)


def _defaults(ctx: click.Context, path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Check that every key of the document is an option; return the values for the command of `ctx`."""
    root = ctx.find_root()
    commands = dict(_commands(root.command, root))
    shared = {
        key: option
        for command in commands.values()
        for key, option in file_options(command).items()
        if is_shared(option)
    }
    this = tuple(ctx.command_path.split()[1:])
    defaults: dict[str, Any] = {}

    def take(table: dict[str, Any], words: Words) -> None:
        options = file_options(commands[words]) if words else shared
        # Plain keys at the top first, since a command's table goes before them.
        for name, value in sorted(table.items(), key=lambda item: isinstance(item[1], dict)):
            below = (*words, name)
            if isinstance(value, dict):
                if below not in commands:
                    raise UsageError(f"{path}: [{'.'.join(below)}] is no command of wcsup")
                take(value, below)
                continue
            option = options.get(name.replace("-", "_"))
            if option is None:
                where = f" in [{'.'.join(words)}]" if words else ""
                raise UsageError(f"{path}: unknown option {name!r}{where}{_hint(name, commands)}")
            if isinstance(value, list) and not option.multiple:
                raise UsageError(f"{path}: {name} takes one value, not a list")
            if words in {(), this} and option.name:
                defaults[option.name] = [value] if option.multiple and not isinstance(value, list) else value

    take(document, ())
    return defaults


def _hint(name: str, commands: dict[Words, click.Command]) -> str:
    """Return where in the file a misplaced option belongs."""
    tables = [
        f"[{'.'.join(words)}]" for words, command in commands.items() if name.replace("-", "_") in file_options(command)
    ]
    return f"; it belongs under {' or '.join(tables)}" if tables else ""


def _commands(command: click.Command, ctx: click.Context) -> Iterator[tuple[Words, click.Command]]:
    """Yield every command under a group with the words that call it."""
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(ctx):
        child = command.get_command(ctx, name)
        if child is None:
            continue
        yield (name,), child
        for words, below in _commands(child, ctx):
            yield (name, *words), below
