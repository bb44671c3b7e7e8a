"""The plugins of this repository import only what the reference documents."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module

import pytest
from tests.readme import ROOT
from tools.reference.source import PUBLIC_MODULES

SOURCES = sorted(ROOT.glob("plugins/*/src/**/*.py"))


@pytest.mark.parametrize("plugin", sorted({path.relative_to(ROOT / "plugins").parts[0] for path in SOURCES}))
def test_a_plugin_imports_only_the_documented_names_of_layerzoo(plugin: str):
    sources = [path for path in SOURCES if path.is_relative_to(ROOT / "plugins" / plugin)]
    private = [
        f"{path.relative_to(ROOT)}: {name}" for path in sources for name in private_names(path.read_text("utf-8"))
    ]
    assert private == []


def test_every_name_of_a_public_module_exists():
    names = [(path, name) for path in PUBLIC_MODULES for name in import_module(path).__all__]
    assert [f"{path}.{name}" for path, name in names if not hasattr(import_module(path), name)] == []


@pytest.mark.parametrize(
    ("program", "private"),
    [
        ("import layerzoo.spec", []),
        ("import layerzoo.runtime.construct", ["layerzoo.runtime.construct"]),
        ("from layerzoo.runtime import build", []),
        ("from layerzoo.runtime import naming", ["layerzoo.runtime.naming"]),
        ("from layerzoo import runtime, spec", []),
        ("from layerzoo import disk", ["layerzoo.disk"]),
        ("from layerzoo.spec import _freeze", ["layerzoo.spec._freeze"]),
        ("import layerzoo\nlayerzoo.load('toy/next-word')", []),
        ("def f():\n    import layerzoo as zoo\n    zoo.disk.cache_dir()", ["layerzoo.disk"]),
        ("from importlib import import_module\nimport_module('layerzoo.disk')", ["layerzoo.disk"]),
        ("from layerzoo_hf.text import tokenizer\ntokenizer.disk", []),
    ],
)
def test_a_private_import_is_found_in_every_form(program: str, private: list[str]):
    assert list(private_names(program)) == private


def private_names(source: str) -> Iterator[str]:
    """Yield the dotted name of everything of layerzoo that a module uses and the reference does not document."""
    for module, name in names_of_layerzoo(ast.parse(source)):
        dotted = f"{module}.{name}" if name else module
        is_listed = name and module in PUBLIC_MODULES and name in import_module(module).__all__
        if dotted not in PUBLIC_MODULES and not is_listed:
            yield dotted


def names_of_layerzoo(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each module of layerzoo that a module imports, with the imported name, or an empty one for the module."""
    aliases = {"layerzoo"}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                modules = [alias for alias in node.names if alias.name.split(".")[0] == "layerzoo"]
                aliases |= {alias.asname for alias in modules if alias.asname and alias.name == "layerzoo"}
                yield from ((alias.name, "") for alias in modules)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] == "layerzoo":
                yield from ((module, alias.name) for alias in node.names)
            case ast.Call(args=[ast.Constant(value=str(module)), *_]) if module.startswith("layerzoo."):
                yield module, ""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in aliases:
                yield "layerzoo", attribute
