"""Who watches the demonstration: captions on the live view of a run, or a line for each where there is no terminal."""

import shutil
import textwrap
import time
from types import TracebackType
from typing import Protocol, Self

from wcsup.observe.screen.errands import Means
from wcsup.observe.screen.scene import Caption, Tie
from wcsup.observe.screen.view import ScreenView
from wcsup.supervisor import Snapshot

_LEAST_SECONDS = 1.0
_CHARACTERS_A_SECOND = 32.0
"""How fast captions are read, with a look at what they tell of."""
_WIDEST = 100


class Audience(Protocol):
    """Is shown the run and told what happens, during a `with` block."""

    def __enter__(self) -> Self:
        """Begin to watch."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""

    def tell(self, caption: Caption) -> None:
        """Tell what happens from now on."""

    def show(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""

    @property
    def reading(self) -> float:
        """How many seconds it takes to read the last caption."""

    @property
    def left(self) -> bool:
        """Whether nobody watches any more."""


class Transcript:
    """Writes captions as lines, those of one act below its heading, each with its time."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._heading = ""

    def lines(self, caption: Caption) -> list[str]:
        """Return the lines for the next caption."""
        anew = caption.heading != self._heading
        self._heading = caption.heading
        time_column = f"  {time.monotonic() - self._began:5.1f} s  "
        width = max(40, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns - 1))
        text = textwrap.wrap(caption.text, width, initial_indent=time_column, subsequent_indent=" " * len(time_column))
        return [*(["", caption.heading] if anew else []), *text]


class Listeners:
    """Get lines on standard output, at once, and need no time to read."""

    reading = 0.0
    left = False

    def __init__(self) -> None:
        self._transcript = Transcript()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """End."""

    def tell(self, caption: Caption) -> None:
        """Print the lines of a caption."""
        say("\n".join(self._transcript.lines(caption)))

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""


class Onlookers:
    """See the live view with the caption on it; what they were told is printed when it has ended."""

    def __init__(self, title: str, means: Means) -> None:
        self._view = ScreenView(title, means, tie=Tie.DEMO)
        self._transcript, self._told = Transcript(), [""]
        self._caption = Caption("", "")

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._view.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back, and leave on it what was told."""
        self._view.__exit__(kind, error, trace)
        say("\n".join(self._told[1:]))

    def tell(self, caption: Caption) -> None:
        """Put a caption in the place of the last one."""
        self._caption = caption
        self._told += self._transcript.lines(caption)
        self._view.tell(caption)

    def show(self, snapshot: Snapshot) -> None:
        """Show the run as it is now."""
        self._view.show(snapshot)

    @property
    def reading(self) -> float:
        """How many seconds it takes to read the caption."""
        return _LEAST_SECONDS + len(self._caption.text) / _CHARACTERS_A_SECOND

    @property
    def left(self) -> bool:
        """Whether the key for it was pressed."""
        return self._view.left.is_set()


def say(text: str) -> None:
    """Print and flush, since standard output may be a pipe."""
    print(text, flush=True)
