"""Writes a made-up corpus of compressed files: `make_corpus.py FOLDER [FILES] [LINES]`."""

import gzip
import random
import sys
from pathlib import Path

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "whale",
    "ship",
)


def write(folder: Path, files: int, lines: int) -> None:
    """Write `files` files with `lines` lines each; equal numbers give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        chance = random.Random(number)  # noqa: S311 - nothing is kept secret by it
        text = "".join(" ".join(chance.choices([*WORDS, f"file{number}"], k=12)) + "\n" for _ in range(lines))
        (folder / f"part-{number:03}.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, (sys.argv[2:] + ["12", "2000"][len(sys.argv[2:]) :])[:2]))
