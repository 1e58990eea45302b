"""Prints results as one JSON document, for programs."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import click


def print_json(document: Any) -> None:
    """Print one JSON document in one line."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    click.echo(json.dumps(document, ensure_ascii=not unicode))


def totals_json(totals: Iterable[tuple[str, int]]) -> list[dict[str, object]]:
    """Return (word, total) pairs in the form of `--json`."""
    return [{"word": word, "count": total} for word, total in totals]
