"""Every class name is defined once, so that a search for it leads to one place."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def class_names() -> dict[str, list[str]]:
    """Map each class name, without leading underscores, to the places that define it, as ``file:line``."""
    definitions: dict[str, list[str]] = defaultdict(list)
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]
    for path in sorted(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                definitions[node.name.lstrip("_")].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return definitions


def test_no_two_classes_share_a_name() -> None:
    duplicates = {name: places for name, places in class_names().items() if len(places) > 1}
    if duplicates:
        lines = [f"{name}: {', '.join(places)}" for name, places in sorted(duplicates.items())]
        pytest.fail("classes that share a name (_Name counts as Name):\n" + "\n".join(lines), pytrace=False)


def test_no_module_defines_a_name_twice() -> None:
    """A second definition would silently change what the code above it uses."""
    repeated = []
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]:
        names: list[str] = []
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.append(node.name)
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            names += [target.id for target in targets if isinstance(target, ast.Name)]
        repeated += [f"{path.relative_to(ROOT)}: {name}" for name in sorted({n for n in names if names.count(n) > 1})]
    assert not repeated
