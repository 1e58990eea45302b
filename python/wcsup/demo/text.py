"""The text of the demonstration: the source of this Python's standard library, and a recount in plain Python."""

import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wcsup.demo.commands import DemoError

_NO_WORD = re.compile(rb"[^a-zA-Z_]+")
_EXAMPLE_BYTES = 1 << 18
"""How much of the text is searched for an example."""
_EXAMPLE_LONGEST = 22
"""Characters of a line that is shown as an example."""


@dataclass(frozen=True, slots=True)
class DemoText:
    """The text, as bytes, and the files that it was read from."""

    sources: Sequence[Path]
    data: bytes
    lines: int

    @classmethod
    def read(cls, sources: Iterable[Path]) -> Self:
        """Read files one after the other; raise `DemoError` where there is none with text."""
        files = list(sources)
        texts = [text if text.endswith(b"\n") or not text else text + b"\n" for text in map(Path.read_bytes, files)]
        data = b"".join(texts)
        if not data:
            raise DemoError(
                "the text is to be the source of Python's standard library, but this Python came without it"
            )
        return cls(files, data, data.count(b"\n"))

    def __str__(self) -> str:
        return (
            f"the source of Python {sys.version.split()[0]}'s standard library, {len(self.sources):,} files, "
            f"{self.lines:,} lines, {len(self.data) / 1e6:.0f} MB"
        )

    def example(self, line: int) -> tuple[str, Counter[bytes]]:
        """Return a short line with a repeated word, the next one from a line's number on, and its words."""
        begin = len(self.data) * line // self.lines
        for raw in self.data[begin : begin + _EXAMPLE_BYTES].splitlines()[1:]:
            found = words(raw)
            text = raw.strip().decode("ascii", "replace")
            plain = text.isprintable() and len(text) <= _EXAMPLE_LONGEST and not re.search(r"\d", text)
            if plain and 1 < len(found) < found.total() <= 4:
                return text, found
        return "for line in lines", words(b"for line in lines")

    def recount(self) -> Counter[bytes]:
        """Count the words of the files, which are read again."""
        counts: Counter[bytes] = Counter()
        for source in self.sources:
            counts.update(words(source.read_bytes()))
        return counts


def standard_library() -> Iterator[Path]:
    """Yield the source files of this Python's standard library, in order."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if path.is_file() and not {"site-packages", "dist-packages"} & set(path.parts):
            yield path


def words(text: bytes) -> Counter[bytes]:
    """Count the words of a text in plain Python."""
    counts = Counter(_NO_WORD.split(text.lower()))
    del counts[b""]
    return counts
