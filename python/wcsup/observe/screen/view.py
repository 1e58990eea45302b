"""The thread that has the terminal: it draws what it was last shown, and reads keys.

Nothing of it runs in the supervisor's loop: `show` leaves a snapshot for the thread, and the handlers of signals only
wake the thread. A paused terminal (Ctrl-S) holds up the thread alone.
"""

import logging
import os
import select
import signal
import threading
import time
from contextlib import suppress
from types import FrameType
from typing import Any, Self

from rich.text import Text

from wcsup.observe.screen.errands import Errands, Means
from wcsup.observe.screen.history import History
from wcsup.observe.screen.incidents import Incidents
from wcsup.observe.screen.keys import Deed, Errand, KeyDecoder, press
from wcsup.observe.screen.layout import draw
from wcsup.observe.screen.scene import Caption, Controls, Note, Scene, Tie
from wcsup.observe.screen.terminal import Terminal, suspend
from wcsup.process.logtail import LogTail
from wcsup.supervisor import Snapshot

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 0.5
"""How often the screen is drawn where nothing happens: times on it go on."""
_ESCAPE_SECONDS = 0.05
"""How long the rest of a key's bytes may take; without it, it was the key Escape."""
_CONTINUE_SECONDS = 5.0
"""How long a process that was not stopped after all, as one without a shell, waits for the signal to go on."""
_WAKING = (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
_DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class ScreenView:
    """Shows snapshots of a run on the whole terminal during the `with` block, which is in the main thread."""

    def __init__(self, title: str, means: Means, *, terminal: Terminal | None = None, tie: Tie = Tie.OWN) -> None:
        self.left = threading.Event()
        """Set when the user leaves the screen of a run that does not end with it by itself."""
        self._title, self._tie = title, tie
        self._caption: Caption | None = None
        self._terminal = terminal or Terminal()
        self._errands = Errands(means, self._tell)
        self._tail = LogTail("supervisor")
        self._decoder, self._controls = KeyDecoder(), Controls()
        self._history, self._incidents = History(), Incidents()
        self._snapshot: Snapshot | None = None
        self._came = time.monotonic()
        self._note: Note | None = None
        self._lock = threading.Lock()
        """Held while a snapshot is taken, and while lines are made of one."""
        self._over = self._stop = False
        self._continued = threading.Event()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._handlers: dict[int, Any] = {}
        self._thread = threading.Thread(target=self._work, name="screen", daemon=True)

    def __enter__(self) -> Self:
        """Take the terminal, and begin to draw."""
        self._tail.__enter__()
        for number in _WAKING:
            self._handlers[number] = signal.signal(number, self._note_signal)
        for number in _DEADLY:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, self._die)
        self._terminal.enter()
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Give the terminal back. What was logged at warning or above is written to it."""
        self._over = True
        self._wake()
        self._terminal.unpause()
        self._thread.join(timeout=2)
        self._terminal.leave()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._tail.__exit__()
        for end in (self._read_end, self._write_end):
            os.close(end)

    def show(self, snapshot: Snapshot) -> None:
        """Show this snapshot from now on."""
        with self._lock:
            self._snapshot, self._came = snapshot, time.monotonic()
            self._history.take(snapshot)
            self._incidents.take(snapshot.events)
        self._wake()

    def tell(self, caption: Caption) -> None:
        """Show this caption from now on."""
        self._caption = caption
        self._wake()

    def _note_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            self._stop = True
        elif number == signal.SIGCONT:
            self._terminal.forget()
            self._continued.set()
        self._wake()

    def _die(self, number: int, _frame: FrameType | None) -> None:
        """Give the terminal back before a signal ends the process that nobody else handles."""
        self._over = True
        self._terminal.leave(for_good=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _wake(self) -> None:
        with suppress(OSError):
            os.write(self._write_end, b".")

    def _tell(self, note: Note | None) -> None:
        self._note = note
        self._wake()

    def _work(self) -> None:
        try:
            while not self._over:
                self._turn()
        except Exception:
            self._terminal.leave()
            log.exception("the screen can't be shown any more; the run goes on")

    def _turn(self) -> None:
        """Wait for a key, a snapshot, a signal or time; then draw."""
        if self._stop:
            self._suspend()
        if not self._terminal.foreground:  # continued by `bg`: the terminal is the shell's
            self._terminal.leave()
            self._wait(keys=False)
            return
        self._terminal.enter()
        self._draw()
        for key in self._wait(keys=True):
            self._press(key)

    def _suspend(self) -> None:
        """Stop the process as Ctrl-Z does, with the terminal as the shell wants it meanwhile.

        This thread may run for a moment after the signal was sent, when the terminal is not the shell's yet. So it
        waits for the signal to go on.
        """
        self._stop = False
        self._continued.clear()
        self._terminal.leave()
        suspend()
        self._continued.wait(_CONTINUE_SECONDS)

    def _wait(self, *, keys: bool) -> list[str]:
        """Wait for something to happen; return the keys that were pressed."""
        descriptors = [self._read_end]
        if keys and self._terminal.keys is not None:
            descriptors.append(self._terminal.keys)
        patience = _ESCAPE_SECONDS if self._decoder.waits else _REFRESH_SECONDS
        ready, _, _ = select.select(descriptors, [], [], patience)
        if self._read_end in ready:
            with suppress(BlockingIOError):
                os.read(self._read_end, 4096)
        if self._terminal.keys is None or self._terminal.keys not in ready:
            return [] if ready else self._decoder.flush()
        try:
            data = os.read(self._terminal.keys, 4096)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._terminal.keys = None
        return self._decoder.feed(data)

    def _press(self, key: str) -> None:
        if self._snapshot is None:
            return
        if self._note and self._note.until is None and key != "redraw":
            self._note = None
        self._controls, errand = press(key, self._controls, self._snapshot, tie=self._tie)
        if errand is not None:
            self._do(errand)

    def _do(self, errand: Errand) -> None:
        match errand.deed:
            case Deed.REDRAW:
                self._terminal.forget()
            case Deed.LEAVE:
                self.left.set()
            case _:
                self._errands.do(errand)

    def _draw(self) -> None:
        width, height = self._terminal.size
        with self._lock:
            lines = self._lines(width, height)
        self._terminal.show(lines)  # without the lock: a paused terminal must not hold up who shows a snapshot

    def _lines(self, width: int, height: int) -> list[Text]:
        now = time.monotonic()
        if self._note and self._note.until is not None and now >= self._note.until:
            self._note = None
        if self._snapshot is None:
            lines = [Text.assemble((" wcsup ", "bold reverse"), f" {self._title}"), Text(" starting …", "dim")]
            return [*lines, *(Text() for _ in range(height - 2))][:height]
        scene = Scene(
            self._title,
            self._snapshot,
            self._history,
            time.time(),
            incidents=[*self._incidents.lines],
            log=[*self._tail.lines],
            controls=self._controls,
            note=self._note,
            quiet=now - self._came,
            keys=self._terminal.keys is not None,
            tie=self._tie,
            caption=self._caption,
            glyphs=self._terminal.glyphs,
        )
        return draw(scene, width, height)
