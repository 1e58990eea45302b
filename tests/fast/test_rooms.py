"""Which room of the program may import which: docs/architecture.md has the picture."""

import ast
from collections.abc import Iterator
from pathlib import Path

import wcsup

ROOT = Path(wcsup.__file__).parent

BASE = {"_core", "config", "errors", "process"}
"""What knows no other room."""

MAY_IMPORT = {
    "errors": set[str](),
    "config": {"errors"},
    "process": {"errors"},
    "kafka": BASE,
    "broker": BASE | {"kafka"},
    "feeding": BASE | {"kafka"},
    "state": BASE | {"kafka"},
    "pipeline": BASE | {"kafka", "state"},
    "supervisor": BASE | {"kafka", "state", "pipeline"},
    "observe": BASE | {"kafka", "state", "pipeline", "supervisor"},
    "audit": BASE | {"kafka", "broker", "feeding", "state", "pipeline", "supervisor", "observe"},
    "moving": BASE | {"kafka", "audit"},
}
"""By room. `cli` and `demo` may import all, and nothing imports them."""


def imports(source: str) -> Iterator[str]:
    """Yield the modules below `wcsup` that a source names in its imports, wherever they stand."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are whole"
            names = [f"{node.module}.{one.name}" for one in node.names]
        else:
            continue
        yield from (name.removeprefix("wcsup.") for name in names if name.startswith("wcsup."))


def violations(module: tuple[str, ...], source: str) -> list[str]:
    """Return what a module imports and may not."""
    own = module[0]
    allowed = MAY_IMPORT.get(own)
    found = {name.partition(".")[0] for name in imports(source)} - {own, "__version__"}
    return [] if allowed is None else sorted(found - allowed)


def test_each_room_says_what_is_in_it() -> None:
    for name in MAY_IMPORT:
        place = ROOT / name / "__init__.py" if (ROOT / name).is_dir() else ROOT / f"{name}.py"
        assert ast.get_docstring(ast.parse(place.read_text())), name


def test_a_room_knows_only_the_rooms_below_it() -> None:
    wrong: dict[str, list[str]] = {}
    for path in ROOT.rglob("*.py"):
        module = path.relative_to(ROOT).with_suffix("").parts
        if module[0] in {"cli", "demo", "__init__", "__main__"}:
            continue
        assert module[0] in MAY_IMPORT, f"{path} is in no room"
        if found := violations(module, path.read_text()):
            wrong[".".join(module)] = found
    assert wrong == {}


def test_an_import_from_above_is_found_wherever_it_stands() -> None:
    assert violations(("state", "store"), "def f():\n    from wcsup.pipeline import worker\n") == ["pipeline"]
    assert violations(("kafka", "topics"), "from wcsup.broker import java\nimport wcsup.cli") == ["broker", "cli"]
    assert violations(("state", "store"), "from wcsup import _core\nfrom wcsup.kafka import topics\nimport os") == []


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for path in [*ROOT.rglob("*.py"), ROOT / "_core.pyi"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
