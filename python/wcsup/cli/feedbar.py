"""The progress of feeding, on a terminal; elsewhere only messages."""

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import TaskID

    from wcsup.feeding.feed import FeedProgress


class FeedBar:
    """A count of lines; if the number of bytes is `known`, also a bar with the time left."""

    def __init__(self, *, known: bool) -> None:
        self._bar = None
        self._task: TaskID | None = None
        if sys.stderr.isatty():
            # Imported only when needed, since the import takes longer than most commands.
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

            bar = (BarColumn(), TransferSpeedColumn(), TimeRemainingColumn()) if known else ()
            self._bar = Progress(
                TextColumn("{task.fields[source]}", markup=False),
                TextColumn("{task.fields[lines]} lines"),
                *bar,
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> "FeedBar":
        """Show the bar."""
        if self._bar:
            self._task = self._bar.add_task("", source="", lines="0", total=None)
            self._bar.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()

    def show(self, progress: "FeedProgress") -> None:
        """Take the progress."""
        if self._bar and self._task is not None:
            self._bar.update(
                self._task,
                total=progress.bytes_known,
                completed=progress.bytes_read,
                source=click.format_filename(progress.source, shorten=True) if progress.source else "made-up text",
                lines=f"{progress.written:,}",
            )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(f"wcsup: {line}", markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(f"wcsup: {line}", err=True)
