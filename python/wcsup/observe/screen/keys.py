"""Keys: from a terminal's bytes to names, and from a name to what follows, as a pure function."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from wcsup.observe.screen.scene import Controls, Pane, Tie, selected
from wcsup.pipeline.report import Role
from wcsup.supervisor import Snapshot

_SEQUENCES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b[Z": "tab",
}
_SINGLE = {
    b"\t": "tab",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\b": "backspace",
    b"\x0c": "redraw",
    b"\x15": "clear",
    b"\x04": "",
}
_LENGTHS = (((0xC0, 0xE0), 2), ((0xE0, 0xF0), 3), ((0xF0, 0xF8), 4))
"""How many bytes a character of UTF-8 has by its first one, where it has more than one."""
_PASTE, _PASTED = b"\x1b[200~", b"\x1b[201~"
_LONGEST_WORD = 200


class KeyDecoder:
    """Makes names of keys out of bytes that come in any portions.

    A key that is a character is named by it. What is pasted is one name, `paste:TEXT`: a pasted text is no command.
    """

    def __init__(self) -> None:
        self._rest = b""

    @property
    def waits(self) -> bool:
        """Whether the bytes so far are the beginning of a key, or the key Escape."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are complete now."""
        self._rest += data
        names = []
        while self._rest:
            name, length = self._next(self._rest)
            if not length:
                break
            self._rest = self._rest[length:]
            if name:
                names.append(name)
        return names

    def flush(self) -> list[str]:
        """Return what is left once nothing followed for a moment: the key Escape, where it began a sequence."""
        rest, self._rest = self._rest, b""
        return ["escape"] if rest == b"\x1b" else []

    def _next(self, data: bytes) -> tuple[str, int]:
        """Return the first key and its length; a length of 0 where more bytes are needed."""
        if data.startswith(_PASTE):
            end = data.find(_PASTED)
            if end < 0:
                return "", 0
            return f"paste:{data[len(_PASTE) : end].decode('utf-8', 'replace')}", end + len(_PASTED)
        if data[0] == 0x1B:
            return self._sequence(data)
        if data[:1] in _SINGLE:
            return _SINGLE[data[:1]], 1
        length = next((length for lead, length in _LENGTHS if lead[0] <= data[0] < lead[1]), 1)
        if len(data) < length:
            return "", 0
        text = data[:length].decode("utf-8", "ignore")
        return (text, length) if text.isprintable() and text else ("", 1 if not text else length)

    def _sequence(self, data: bytes) -> tuple[str, int]:
        if len(data) == 1:
            return "", 0
        if data[1:2] not in {b"[", b"O"}:
            return "escape", 1
        for place in range(2, len(data)):
            if 0x40 <= data[place] <= 0x7E:
                return _SEQUENCES.get(data[: place + 1], ""), place + 1
        return "", 0


class Deed(StrEnum):
    """What the view does itself at a key."""

    VERIFY = "verify"
    LOOK_UP = "look up"
    LEAVE = "leave"
    REDRAW = "redraw"


@dataclass(frozen=True, slots=True)
class Errand:
    """What follows from a key: a command for the supervisor's control socket, or a deed of the view."""

    command: Mapping[str, Any] | None = None
    deed: Deed | None = None
    word: str = ""
    says: str = ""
    """What the user is told while it is under way."""


def press(key: str, controls: Controls, snapshot: Snapshot, *, tie: Tie = Tie.OWN) -> tuple[Controls, Errand | None]:
    """Return what the controls are after a key, and what is to be done."""
    if controls.typed is not None:
        return _type(key, controls, controls.typed)
    if key == "redraw":
        return controls, Errand(deed=Deed.REDRAW)
    if controls.help:
        return replace(controls, help=False), None
    return _look(key, controls, snapshot, tie=tie), _errand(key, controls, snapshot, tie=tie)


def _look(key: str, controls: Controls, snapshot: Snapshot, *, tie: Tie) -> Controls:
    """Return what the controls are after a key that changes only what is shown or selected."""
    match key:
        case "up" | "down" | "home" | "end":
            controls = _move(key, controls, snapshot)
        case "tab":
            controls = replace(controls, slot=None, role="reduce" if controls.role == "map" else "map")
        case "?":
            controls = replace(controls, help=True)
        case "/":
            controls = replace(controls, typed="")
        case "l" if tie is Tie.OWN:  # the log is another process's
            controls = replace(controls, pane=Pane.EVENTS if controls.pane is Pane.LOG else Pane.LOG)
    return controls


def _errand(key: str, controls: Controls, snapshot: Snapshot, *, tie: Tie) -> Errand | None:
    worker, errand = selected(controls, snapshot), None
    match key:
        case "+" | "=" | "-":
            errand = _scale(controls.role, -1 if key == "-" else 1)
        case "r" if worker:
            errand = Errand({"command": "restart", "slot": worker.slot}, says=f"{worker.slot} is restarted")
        case "R":
            errand = Errand({"command": "restart", "slot": "all"}, says="all workers are restarted, one after another")
        case "k" if worker:
            errand = Errand({"command": "kill", "slot": worker.slot}, says=f"{worker.slot} is killed by SIGKILL")
        case "v":
            errand = Errand(deed=Deed.VERIFY)
        case "q" if tie is not Tie.OWN:
            errand = Errand(deed=Deed.LEAVE)
        case "q" | "D" if tie is not Tie.DEMO:
            errand = Errand({"command": "drain"}, says="the run ends: workers commit what they have, and drain")
    return errand


def _scale(role: Role, by: int) -> Errand | None:
    name = {"map": "mappers", "reduce": "reducers"}.get(role)
    if name is None:
        return None
    what = f"one {name[:-1]} {'more' if by > 0 else 'fewer'}"
    return Errand({"command": "scale", f"{name}_by": by}, says=what)


def _type(key: str, controls: Controls, typed: str) -> tuple[Controls, Errand | None]:
    """Take a key while a word is typed."""
    match key:
        case "escape":
            return replace(controls, typed=None), None
        case "enter":
            word = typed.strip()
            errand = Errand(deed=Deed.LOOK_UP, word=word, says=f"{word}: looking it up") if word else None
            return replace(controls, typed=None), errand
        case "backspace":
            return replace(controls, typed=typed[:-1]), None
        case "clear":
            return replace(controls, typed=""), None
        case "redraw":
            return controls, Errand(deed=Deed.REDRAW)
    text = key.removeprefix("paste:") if key.startswith("paste:") else key if len(key) == 1 else ""
    kept = "".join(character for character in text if character.isprintable())
    return replace(controls, typed=(typed + kept)[:_LONGEST_WORD]), None


def _move(key: str, controls: Controls, snapshot: Snapshot) -> Controls:
    workers = snapshot.workers
    now = selected(controls, snapshot)
    if now is None:
        return controls
    place = {"home": 0, "end": len(workers) - 1}.get(key, workers.index(now) + (1 if key == "down" else -1))
    worker = workers[max(0, min(place, len(workers) - 1))]
    return replace(controls, slot=worker.slot, role=worker.role)
