"""What keys make happen: commands for the supervisor, looking up a word, a recount; none holds up the screen."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from wcsup.errors import WcsupError
from wcsup.observe.figures import age
from wcsup.observe.screen.keys import Deed, Errand
from wcsup.observe.screen.scene import Note
from wcsup.observe.words import WordTotal

log = logging.getLogger(__name__)

_SHORT_SECONDS = 6.0
"""How long it is shown that a command was taken."""


@dataclass(frozen=True, slots=True)
class Means:
    """How errands are done; each waits, and raises a `WcsupError` where it fails."""

    ask: Callable[[Mapping[str, Any]], Any]
    """Sends a command to the supervisor's control socket, as `wcsup scale` and its like do."""
    look_up: Callable[[str], WordTotal]
    """Returns the total of a word, as `wcsup count` does."""
    verify: Callable[[], tuple[bool, str]]
    """Recounts as `wcsup verify` does; returns whether nothing disagrees, and the verdict in words."""


class Errands:
    """Does one errand after the other in a thread; a recount, which takes long, in another one."""

    def __init__(self, means: Means, tell: Callable[[Note | None], None]) -> None:
        self._means, self._tell = means, tell
        self._queue: queue.SimpleQueue[Errand] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._verifying: threading.Thread | None = None

    def do(self, errand: Errand) -> None:
        """Begin an errand, and tell what comes of it."""
        if errand.deed is Deed.VERIFY:
            if self._verifying is None or not self._verifying.is_alive():
                self._verifying = threading.Thread(target=self._verify, name="verify", daemon=True)
                self._verifying.start()
            return
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="errands", daemon=True)
            self._worker.start()
        if errand.says:
            self._tell(Note(errand.says, "cyan", until=time.monotonic() + _SHORT_SECONDS))
        self._queue.put(errand)

    def _work(self) -> None:
        while True:
            self._attempt(partial(self._one, self._queue.get()))

    def _one(self, errand: Errand) -> None:
        if errand.command is not None:
            self._means.ask(errand.command)
        elif errand.deed is Deed.LOOK_UP:
            self._tell(Note(found_text(self._means.look_up(errand.word), time.time()), "bold"))

    def _verify(self) -> None:
        self._tell(Note("verify: recounting the committed lines in a process of its own …", "cyan"))

        def recount() -> None:
            holds, text = self._means.verify()
            first, *further = text.strip().splitlines() or ["no verdict"]
            self._tell(Note(f"verify: {first}", "bold green" if holds else "bold red", () if holds else further))

        self._attempt(recount)

    def _attempt(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except WcsupError as error:
            self._tell(Note(str(error), "bold red"))
        except Exception as error:
            log.warning("what a key asked for failed", exc_info=True)
            self._tell(Note(f"{type(error).__name__}: {error}", "bold red"))


def found_text(found: WordTotal, now: float) -> str:
    """Return the total of a word in words."""
    text = f"{found.word}: {found.count:,}"
    if found.owner is not None:
        text += f" in {found.owner}"
    if found.committed_at is not None:
        text += f", committed {age(max(0.0, now - datetime.fromisoformat(found.committed_at).timestamp()))} ago"
    text += f", up to offset {found.offset:,} of counts"
    return f"{text}; it is behind: the store is being opened" if found.behind else text
