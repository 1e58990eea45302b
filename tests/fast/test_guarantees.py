"""docs/guarantees.md names tests that exist, and every check of the doctor that it speaks of."""

import ast
import re
from pathlib import Path

import pytest

from wcsup.audit.doctor import CHECKS

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(\w+/\w+\.py)::(\w+)`", TEXT)))


def tables() -> list[tuple[list[str], list[list[str]]]]:
    """The tables: the head, and the rows below it."""
    found: list[tuple[list[str], list[list[str]]]] = []
    rows: list[list[str]] = []
    for line in [*TEXT.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append((rows[0], rows[2:]))
            rows = []
    return found


def test_every_row_is_shown_by_a_test() -> None:
    assert len(tables()) == 3
    for head, rows in tables():
        assert head[-1] == "shown by"
        for row in rows:
            assert len(row) == len(head), row
            assert re.search(r"`\w+/\w+\.py::test_\w+`", row[-1]), row


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_the_checks_are_the_doctors() -> None:
    head, rows = next(table for table in tables() if "check" in table[0])
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row[head.index("check")])}
    assert named <= set(CHECKS)
    # What these look at is no setting.
    assert set(CHECKS) - named <= {"broker", "application", "groups", "clock"}
