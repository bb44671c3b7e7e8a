"""Read names, signatures and docstrings of layerzoo with griffe, without importing it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[2]

PUBLIC_MODULES = (
    "layerzoo",
    "layerzoo.spec",
    "layerzoo.layers",
    "layerzoo.pooling",
    "layerzoo.registry",
    "layerzoo.features",
    "layerzoo.runs",
    "layerzoo.ray",
    "layerzoo.runtime",
    "layerzoo.sklearn",
    "layerzoo.weights",
    "layerzoo.plugins.hookspecs",
    "layerzoo.authoring",
    "layerzoo.testing",
    "layerzoo.media.text",
    "layerzoo.errors",
)
"""The modules that programs and plugins may import. Their public names are those of ``__all__``."""


@cache
def package() -> griffe.Module:
    """Return the whole package."""
    loaded = griffe.load("layerzoo", search_paths=[ROOT / "src"])
    if not isinstance(loaded, griffe.Module):
        raise TypeError(f"layerzoo is a {loaded.kind.value}, not a module")
    return loaded


def module(path: str) -> griffe.Module:
    """Return a module by its dotted path."""
    member = _member(path)
    if not isinstance(member, griffe.Module):
        raise TypeError(f"{path} is a {member.kind.value}, not a module")
    return member


def public_names(path: str) -> list[str]:
    """Return the ``__all__`` of a module, in the order of the source."""
    exports = module(path).exports
    if exports is None:
        raise LookupError(f"{path} has no __all__")
    return [str(name) for name in exports]


def definition(path: str) -> griffe.Object:
    """Return the definition of a dotted path, following imports.

    An imported name takes precedence over a submodule of the same name, as in Python.
    """
    parent, _, name = path.rpartition(".")
    if (imported := module(parent).imports.get(name)) is not None:
        return definition(imported)
    return _member(path)


def attribute(path: str) -> griffe.Attribute:
    """Return a constant, or an attribute of a class, by its dotted path."""
    member = _member(path)
    if not isinstance(member, griffe.Attribute):
        raise TypeError(f"{path} is a {member.kind.value}, not an attribute")
    return member


def function(path: str) -> griffe.Function:
    """Return a function by its dotted path."""
    member = _member(path)
    if not isinstance(member, griffe.Function):
        raise TypeError(f"{path} is a {member.kind.value}, not a function")
    return member


def public_members(owner: griffe.Class) -> Iterator[griffe.Object]:
    """Yield the public members that a class defines, and its special methods with a docstring."""
    for name, member in owner.members.items():
        if isinstance(member, griffe.Object) and name != "__init__":
            is_documented = name.startswith("__") and member.docstring is not None
            if is_documented or not name.startswith("_"):
                yield member


def constructor(owner: griffe.Class) -> griffe.Function | None:
    """Return the ``__init__`` that a class defines; None for a dataclass, whose fields describe it."""
    init = owner.members.get("__init__")
    return init if isinstance(init, griffe.Function) and "dataclass" not in owner.labels else None


def is_alias_of_types(candidate: griffe.Object) -> bool:
    """Return whether this is a type alias, such as ``Modality``."""
    return isinstance(candidate, griffe.Attribute) and isinstance(
        candidate.value, griffe.ExprSubscript | griffe.ExprBinOp | griffe.ExprName
    )


def _member(path: str) -> griffe.Object:
    member = package()[path.split(".")[1:]] if "." in path else package()
    if not isinstance(member, griffe.Object):
        raise LookupError(f"{path} is imported, not defined there")
    return member
