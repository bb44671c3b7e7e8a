"""Generate the page of the errors."""

from __future__ import annotations

from collections.abc import Iterator

import griffe
from tools.reference.api import attribute_line
from tools.reference.markdown import bullets, link, page, prose
from tools.reference.source import definition, module, public_members

from layerzoo import errors

_MODULE = "layerzoo.errors"


def errors_page() -> str:
    """Draw the tree of errors, then document each error with its exit code and attributes."""
    docstring = module(_MODULE).docstring
    tree = list(_tree(errors.LayerzooError, 0))
    return page(
        "Errors",
        prose(docstring.value.partition("; it is next to")[0] + ".") if docstring else "",
        "\n".join(f"{'  ' * depth}- {link(error.__name__)} · exit code {error.exit_code}" for error, depth in tree),
        *(part for error in dict.fromkeys(error for error, _ in tree) for part in _error_parts(error)),
    )


def _tree(error: type[errors.LayerzooError], depth: int) -> Iterator[tuple[type[errors.LayerzooError], int]]:
    """Yield an error and its subclasses, with their depth in the tree."""
    yield error, depth
    for child in error.__subclasses__():
        if child.__module__ == _MODULE:
            yield from _tree(child, depth + 1)


def _error_parts(error: type[errors.LayerzooError]) -> Iterator[str]:
    documented = definition(f"{_MODULE}.{error.__name__}")
    bases = " and ".join(_base(base) for base in error.__bases__)
    yield f"## {error.__name__}"
    yield f"Derived from {bases}. Exit code {error.exit_code}."
    yield prose(documented.docstring.value) if documented.docstring else ""
    yield bullets(_attributes(error))


def _base(base: type) -> str:
    return link(base.__name__) if base.__module__ == _MODULE else f"`{base.__name__}`"


def _attributes(error: type[errors.LayerzooError]) -> Iterator[str]:
    """Document the attributes of an error, including inherited ones."""
    for owner in error.__mro__:
        if owner.__module__ == _MODULE:
            documented = definition(f"{_MODULE}.{owner.__name__}")
            if isinstance(documented, griffe.Class):
                yield from (attribute_line(attribute, documented) for attribute in _attributes_of_class(documented))


def _attributes_of_class(owner: griffe.Class) -> list[griffe.Attribute]:
    members = public_members(owner)
    return [member for member in members if isinstance(member, griffe.Attribute) and member.name != "exit_code"]
