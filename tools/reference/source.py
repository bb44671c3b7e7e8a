"""The source of layerzoo as it is written: names, signatures and docstrings, read by griffe; nothing of it runs."""

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
    "layerzoo.runtime",
    "layerzoo.weights",
    "layerzoo.plugins.hookspecs",
    "layerzoo.media.text",
    "layerzoo.errors",
)
"""The modules that programs and plugins may import from. What each offers is its ``__all__``."""


@cache
def package() -> griffe.Module:
    """The whole package."""
    found = griffe.load("layerzoo", search_paths=[ROOT / "src"])
    if not isinstance(found, griffe.Module):
        raise TypeError(f"layerzoo is a {found.kind.value}, not a module")
    return found


def module(path: str) -> griffe.Module:
    """A module by its dotted path."""
    found = _member(path)
    if not isinstance(found, griffe.Module):
        raise TypeError(f"{path} is a {found.kind.value}, not a module")
    return found


def public_names(path: str) -> list[str]:
    """The ``__all__`` of a module, sorted as it is written."""
    exports = module(path).exports
    if exports is None:
        raise LookupError(f"{path} has no __all__")
    return [str(name) for name in exports]


def definition(path: str) -> griffe.Object:
    """What a dotted path means, wherever it is defined: imports are followed.

    A name that is imported wins over a submodule of the same name, as it does in Python.
    """
    parent, _, name = path.rpartition(".")
    if (imported := module(parent).imports.get(name)) is not None:
        return definition(imported)
    return _member(path)


def attribute(path: str) -> griffe.Attribute:
    """A constant, or an attribute of a class, by its dotted path."""
    found = _member(path)
    if not isinstance(found, griffe.Attribute):
        raise TypeError(f"{path} is a {found.kind.value}, not an attribute")
    return found


def function(path: str) -> griffe.Function:
    """A function by its dotted path."""
    found = _member(path)
    if not isinstance(found, griffe.Function):
        raise TypeError(f"{path} is a {found.kind.value}, not a function")
    return found


def public_members(owner: griffe.Class) -> Iterator[griffe.Object]:
    """What a class offers by itself: public names, and the special methods that have something to say."""
    for name, member in owner.members.items():
        if isinstance(member, griffe.Object) and name != "__init__":
            is_told = name.startswith("__") and member.docstring is not None
            if is_told or not name.startswith("_"):
                yield member


def constructor(owner: griffe.Class) -> griffe.Function | None:
    """The ``__init__`` of a class where one is written; that of a dataclass is its fields."""
    found = owner.members.get("__init__")
    return found if isinstance(found, griffe.Function) and "dataclass" not in owner.labels else None


def is_alias_of_types(found: griffe.Object) -> bool:
    """Whether this is a name for a type, such as ``Modality``."""
    return isinstance(found, griffe.Attribute) and isinstance(
        found.value, griffe.ExprSubscript | griffe.ExprBinOp | griffe.ExprName
    )


def _member(path: str) -> griffe.Object:
    found = package()[path.split(".")[1:]] if "." in path else package()
    if not isinstance(found, griffe.Object):
        raise LookupError(f"{path} is not defined where it is looked for")
    return found
