"""The page of the errors."""

from __future__ import annotations

from collections.abc import Iterator

import griffe
from tools.reference.api import attribute_line
from tools.reference.markdown import bullets, link, page, prose
from tools.reference.source import definition, module, public_members

from layerzoo import errors

_MODULE = "layerzoo.errors"


def errors_page() -> str:
    """The tree, then each error with its exit code and what it carries."""
    docstring = module(_MODULE).docstring
    tree = list(_tree(errors.LayerzooError, 0))
    return page(
        "Errors",
        prose(docstring.value) if docstring else "",
        "\n".join(f"{'  ' * depth}- {link(each.__name__)} · exit code {each.exit_code}" for each, depth in tree),
        *(part for each, _ in tree for part in _error_parts(each)),
    )


def _tree(error: type[errors.LayerzooError], depth: int) -> Iterator[tuple[type[errors.LayerzooError], int]]:
    """An error and those below it, each with its depth."""
    yield error, depth
    for child in error.__subclasses__():
        if child.__module__ == _MODULE:
            yield from _tree(child, depth + 1)


def _error_parts(error: type[errors.LayerzooError]) -> Iterator[str]:
    found = definition(f"{_MODULE}.{error.__name__}")
    bases = " and ".join(_base(base) for base in error.__bases__)
    yield f"## {error.__name__}"
    yield f"Of {bases}. Exit code {error.exit_code}."
    yield prose(found.docstring.value) if found.docstring else ""
    yield bullets(_attributes(error))


def _base(base: type) -> str:
    return link(base.__name__) if base.__module__ == _MODULE else f"`{base.__name__}`"


def _attributes(error: type[errors.LayerzooError]) -> Iterator[str]:
    """What an error carries, and what it has of its bases."""
    for owner in error.__mro__:
        if owner.__module__ == _MODULE:
            found = definition(f"{_MODULE}.{owner.__name__}")
            if isinstance(found, griffe.Class):
                yield from (attribute_line(each, found) for each in _own_attributes(found))


def _own_attributes(found: griffe.Class) -> list[griffe.Attribute]:
    members = public_members(found)
    return [each for each in members if isinstance(each, griffe.Attribute) and each.name != "exit_code"]
