"""Prints results as one JSON document, for programs."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from wcsup.process.printable import printable_json


def print_json(document: Any) -> None:
    """Print one JSON document in one line; what a terminal would act on in it is an escape of JSON."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    click.echo(printable_json(json.dumps(document, ensure_ascii=not unicode)))


def totals_json(totals: Iterable[tuple[str, int]]) -> list[dict[str, object]]:
    """Return (word, total) pairs in the form of `--json`."""
    return [{"word": word, "count": total} for word, total in totals]
