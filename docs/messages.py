"""The messages that users can get, as the program's source has them.

A message is the text of an error of `wcsup.errors`, a warning or an error of the log, or the reason for which a
supervisor gives up. What is put in at run time is shown as `…`.
"""

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import wcsup
from wcsup import errors

SOURCE = Path(wcsup.__file__).parent

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}

SAID_BY = {
    "broker/lifecycle.py": ("locked_out",),
    "kafka/groups.py": ("_unchanged",),
    "kafka/listener.py": ("misfit",),
    "kafka/positions.py": ("_set_by_hand",),
    "kafka/refusals.py": (
        *("_forbidden", "_session", "_transaction", "_protocol", "_moving", "_full", "_size", "_time", "_anything"),
    ),
    "kafka/replication.py": ("remarks",),
    "kafka/topics.py": ("misfit", "miscount"),
    "observe/retention.py": ("warning",),
    "supervisor/options.py": ("too_many",),
}
"""Functions that return whole messages, by module."""

REASONS = {"LeaveDown": 0, "StopAll": 1}
"""What a supervisor's policy decides: the place of the reason among the arguments."""

MADE_ELSEWHERE = {
    "audit/verify.py: what",
    "broker/lifecycle.py: locked",
    "cli/means.py: error.strip().splitlines()[-1]",
    "kafka/refusals.py: say(config, error, about)",
    "kafka/refusals.py: _forbidden(config, found)",
    "kafka/positions.py: _set_by_hand(config, stage, found, None)",
    "kafka/positions.py: _set_by_hand(config, stage, found, offset)",
    *("kafka/topic_guard.py: reason", "kafka/topics.py: reason"),
    "moving/cut.py: str(error)",
    "pipeline/membership.py: reason or ''",
    "supervisor/control.py: reply['error']",
    "supervisor/options.py: too_many(high, partitions)",
    "supervisor/steering.py: too_many(count, self._partitions)",
    "supervisor/supervisor.py: stop.reason",
}
"""Errors whose text comes from a function of `SAID_BY`, or from another error."""


_PUT_IN = re.compile("…{2,}")
_PLACEHOLDER = re.compile(r"%[-+0-9.]*[a-z]")
"""Where the log puts something in."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and where it is in the source."""

    text: str
    place: str


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _constants(path: Path) -> dict[str, ast.expr]:
    """Return the values of names that are assigned once in a module, or in modules of wcsup that it imports from."""
    found: dict[str, ast.expr] = {}
    for node in _tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("wcsup."):
            module = SOURCE.parent / Path(*node.module.split(".")).with_suffix(".py")
            if module.exists():
                theirs = _constants(module)
                found |= {one.name: theirs[one.name] for one in node.names if one.name in theirs}
    assigned = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Assign)]
    names = [node.targets[0].id for node in assigned if isinstance(node.targets[0], ast.Name)]
    values = [node.value for node in assigned if isinstance(node.targets[0], ast.Name)]
    return found | {name: value for name, value in zip(names, values, strict=True) if names.count(name) == 1}


class NotATextError(Exception):
    """The expression is no text that stands in the source."""


def _text(node: ast.expr, constants: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = (_text(one, constants) if isinstance(one, ast.Constant) else "…" for one in node.values)
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return "".join(_text(one, constants) if _is_text(one) else "…" for one in (node.left, node.right))
    if isinstance(node, ast.Name) and node.id in constants:
        with suppress(NotATextError):
            return _text(constants[node.id], constants)
    raise NotATextError(ast.unparse(node))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)


def _branches(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.IfExp):
        yield from _branches(node.body)
        yield from _branches(node.orelse)
    else:
        yield node


def _expressions(path: Path, name: str) -> Iterator[tuple[int, ast.expr, bool]]:
    """Yield what may be a message: its line, the expression, and whether it has to be one."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            if node.func.id in ERRORS:
                yield node.lineno, node.args[0], True
            elif node.func.id in REASONS:
                yield node.lineno, node.args[REASONS[node.func.id]], True
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"log.warning", "log.error"}:
            text = node.args[0]
            if (
                isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value != "%s"
            ):  # else it is an error's text
                yield node.lineno, ast.Constant(_PLACEHOLDER.sub("…", text.value)), True
        if isinstance(node, ast.FunctionDef) and node.name in SAID_BY.get(name, ()):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield inner.lineno, inner.value, False
                if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "found.append":
                    yield inner.lineno, inner.args[0], False


def messages() -> Iterator[Message]:
    """Yield every message. Raises `NotATextError` for one that is made in a way that is not known here."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = str(path.relative_to(SOURCE))
        constants = _constants(path)
        for line, expression, has_to_be in _expressions(path, name):
            for node in _branches(expression):
                try:
                    text = _text(node, constants)
                except NotATextError as made:
                    if has_to_be and f"{name}: {made}" not in MADE_ELSEWHERE:
                        raise NotATextError(f"{name}:{line}: {made}") from None
                    continue
                yield Message(_PUT_IN.sub("…", " ".join(text.split())), f"{name}:{line}")
